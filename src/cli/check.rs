//! `mailroom check`

use clap::Args;

use super::{Exit, Global};

/// `check`
#[derive(Debug, Args)]
pub struct Arguments {
    /// To be described
    arguments: Vec<String>,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let _ = (arguments, global);
    super::planned::refuse("check")
}
