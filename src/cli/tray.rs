//! `mailroom tray`

use clap::{Args, Subcommand};

use super::{Exit, Global};

/// `tray`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// To be described
    List { arguments: Vec<String> },
    /// To be described
    Show { arguments: Vec<String> },
    /// To be described
    Give { arguments: Vec<String> },
    /// To be described
    Drop { arguments: Vec<String> },
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let _ = (arguments.action, global);
    super::planned::refuse("tray")
}
