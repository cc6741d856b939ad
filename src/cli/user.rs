//! `mailroom user`

use clap::{Args, Subcommand};

use super::{Exit, Global};

/// `user`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// To be described
    Add { arguments: Vec<String> },
    /// To be described
    List { arguments: Vec<String> },
    /// To be described
    Passwd { arguments: Vec<String> },
    /// To be described
    Rename { arguments: Vec<String> },
    /// To be described
    Disable { arguments: Vec<String> },
    /// To be described
    Enable { arguments: Vec<String> },
    /// To be described
    Remove { arguments: Vec<String> },
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let _ = (arguments.action, global);
    super::planned::refuse("user")
}
