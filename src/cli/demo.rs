//! `mailroom demo`: see [`crate::demo`].

use clap::Args;

use super::{Exit, Global};

/// `demo [--once]`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Do all of it, check that each thing was really seen, and end
    #[arg(long)]
    once: bool,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let _ = (arguments.once, global);
    super::planned::refuse("demo")
}
