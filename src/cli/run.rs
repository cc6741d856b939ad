//! `mailroom run`: the gateway in the foreground.

use clap::Args;

use super::{Exit, Global};

/// `run [--last-good]`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Start with the last configuration that loaded, if the files are broken
    #[arg(long)]
    last_good: bool,
}

/// Runs it until it is told to stop.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let _ = (arguments.last_good, global);
    super::planned::refuse("run")
}
