//! `mailroom secret`

use clap::{Args, Subcommand};

use super::{Exit, Global};

/// `secret`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// To be described
    Set { arguments: Vec<String> },
    /// To be described
    List { arguments: Vec<String> },
    /// To be described
    Remove { arguments: Vec<String> },
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let _ = (arguments.action, global);
    super::planned::refuse("secret")
}
