//! `mailroom mapping`

use clap::{Args, Subcommand};

use super::{Exit, Global};

/// `mapping`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// To be described
    Test { arguments: Vec<String> },
    /// To be described
    Diff { arguments: Vec<String> },
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let _ = (arguments.action, global);
    super::planned::refuse("mapping")
}
