//! `mailroom queue`

use clap::{Args, Subcommand};

use super::{Exit, Global};

/// `queue`
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
    Retry { arguments: Vec<String> },
    /// To be described
    Hold { arguments: Vec<String> },
    /// To be described
    Release { arguments: Vec<String> },
    /// To be described
    Reroute { arguments: Vec<String> },
    /// To be described
    Delete { arguments: Vec<String> },
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let _ = (arguments.action, global);
    super::planned::refuse("queue")
}
