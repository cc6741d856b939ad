//! `mailroom run`: the gateway in the foreground.

use std::io::Write;

use clap::Args;

use super::{Exit, Global, config_file, log};
use crate::config::{Level, Log};
use crate::gateway::{Gateway, LoadError, Options, StartError, files};
use crate::service::{Told, platform};

/// `run [--last-good]`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Start with the last configuration that loaded, if the files are broken
    #[arg(long)]
    last_good: bool,
    /// The system's service manager starts this: report to it
    #[arg(long, hide = true)]
    service: bool,
}

/// Runs it until it is told to stop.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    if arguments.service {
        platform::connect_service().map_err(anyhow::Error::msg)?;
    }
    let file = config_file(global)?;
    // Before anything is logged: the log is configured in the file that may be what has to be logged about.
    let configured = files::gather(&file).and_then(|texts| files::parse(&file, texts)).map(|loaded| loaded.config.log);
    log::start(&configured.unwrap_or(Log { level: Level::Info, json: false }), global.verbose);
    let mut signals = platform::Signals::new()?;
    let gateway = match Gateway::start(Options { file, last_good: arguments.last_good }).await {
        Ok(gateway) => gateway,
        Err(StartError::Load(error)) => return Err(anyhow::Error::new::<LoadError>(error)),
        Err(error) => return Err(error.into()),
    };
    let mut out = std::io::stdout();
    writeln!(out, "{}", gateway.ready_line()).and_then(|()| out.flush())?;
    platform::announce_ready();
    let beat = platform::watchdog_interval();
    loop {
        let alive = async {
            match beat {
                Some(interval) => tokio::time::sleep(interval).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            told = signals.next() => match told {
                Told::Stop => break,
                Told::Reload => gateway.reload(),
            },
            () = alive => platform::announce_alive(),
        }
    }
    platform::announce_stopping();
    gateway.stop().await;
    Ok(Exit::Done)
}
