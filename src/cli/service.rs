//! `mailroom service`: at system start.

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::{Exit, Global, config_file, configuration};
use crate::gateway::files;
use crate::service::{Registration, Standing, platform};

/// `service install|uninstall|start|stop|status`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Register it with the system, or bring what is registered up to date; it starts with the system from then on
    Install,
    /// Stop it and take it out again; mail and files stay
    Uninstall,
    /// Start it now, and wait until it serves
    Start,
    /// Stop it, and wait until it has ended
    Stop,
    /// Whether it runs; exit code 1 if not
    Status,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let said = match arguments.action {
        Action::Install => platform::install(&registration(global)?),
        Action::Uninstall => platform::uninstall(),
        Action::Start => platform::start(),
        Action::Stop => platform::stop(),
        Action::Status => return platform::status().map(show).map_err(anyhow::Error::msg),
    };
    for line in said.map_err(anyhow::Error::msg)? {
        println!("{line}");
    }
    Ok(Exit::Done)
}

fn registration(global: &Global) -> anyhow::Result<Registration> {
    let config = configuration(global)?;
    Ok(Registration {
        program: std::env::current_exe().context("this program does not find itself")?,
        configuration: config_file(global)?,
        beside: files::beside(&config),
        backup: config.storage.backup.map(|backup| backup.dir),
        storage: config.storage.path,
    })
}

fn show(standing: Standing) -> Exit {
    match standing {
        Standing::Missing => println!("there is no service: `mailroom service install` makes it"),
        Standing::Stopped(None) => println!("stopped"),
        Standing::Stopped(Some(2)) => println!("stopped: it ended with code 2, and `mailroom check` says what is wrong with the files"),
        Standing::Stopped(Some(code)) => println!("stopped: it ended with code {code}, and its log says why"),
        Standing::Starting => println!("starting"),
        Standing::Running => println!("running"),
        Standing::Stopping => println!("stopping"),
    }
    if standing == Standing::Running { Exit::Done } else { Exit::Failed }
}
