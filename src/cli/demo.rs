//! `mailroom demo`: see [`crate::demo`].

use clap::Args;

use super::{Exit, Global, log};
use crate::config::{Level, Log};

/// `demo [--once]`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Do all of it, check that each thing was really seen, and end
    #[arg(long)]
    once: bool,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    log::start(&Log { level: Level::Error, json: false }, global.verbose);
    Ok(if crate::demo::run(arguments.once).await? { Exit::Done } else { Exit::Failed })
}
