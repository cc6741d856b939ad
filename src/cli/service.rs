//! `mailroom service`: at system start. Not built yet.

use clap::{Args, Subcommand};

use super::{Exit, Global};

/// `service install|uninstall|start|stop|status`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Register it with the system
    Install,
    /// Take it out again
    Uninstall,
    /// Start it now
    Start,
    /// Stop it
    Stop,
    /// Whether it runs
    Status,
}

/// Runs it.
pub async fn run(arguments: Arguments, _: &Global) -> anyhow::Result<Exit> {
    let action = match arguments.action {
        Action::Install => "service install",
        Action::Uninstall => "service uninstall",
        Action::Start => "service start",
        Action::Stop => "service stop",
        Action::Status => "service status",
    };
    super::planned::refuse(action)
}
