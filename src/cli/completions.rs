//! `mailroom completions`

use clap::Args;

use super::Exit;

/// `completions`
#[derive(Debug, Args)]
pub struct Arguments {}

/// Runs it.
pub fn run(_: Arguments) -> anyhow::Result<Exit> {
    super::planned::refuse("completions")
}
