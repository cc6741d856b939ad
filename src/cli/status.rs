//! `mailroom status`: collectors, queue, tray, users and disk at a glance.

use clap::Args;

use super::{Exit, Global};

/// `status [--json]`
#[derive(Debug, Args)]
pub struct Arguments {
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let _ = (arguments.json, global);
    super::planned::refuse("status")
}
