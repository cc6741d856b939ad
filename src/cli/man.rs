//! `mailroom man`

use clap::Args;

use super::Exit;

/// `man`
#[derive(Debug, Args)]
pub struct Arguments {}

/// Runs it.
pub fn run(_: Arguments) -> anyhow::Result<Exit> {
    super::planned::refuse("man")
}
