//! `mailroom mapping test`: do the mapping's own expectations hold?

use clap::{Args, Subcommand};

use super::{Exit, Global, Office};
use crate::inbound::expectations;

/// `mapping`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run the [[expect]] tests of the mapping files
    Test,
    /// What a changed mapping would have done to journaled mail
    Diff {
        /// Mapping files, instead of those in force
        files: Vec<std::path::PathBuf>,
        /// How far back
        #[arg(long, value_name = "AGE", default_value = "30d")]
        last: String,
    },
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    match arguments.action {
        Action::Test => test(global).await,
        Action::Diff { files, last } => {
            let _ = (files, last);
            super::planned::refuse("mapping diff")
        }
    }
}

async fn test(global: &Global) -> anyhow::Result<Exit> {
    let office = Office::open(global).await?;
    let count = office.current().mapping.expectations().len();
    let failures = expectations::failures(office.current(), &|file| std::fs::read(file));
    for failure in &failures {
        eprintln!("{failure}\n");
    }
    match failures.len() {
        0 if count == 0 => println!("the mapping files have no [[expect]]"),
        0 => println!("{count} of {count} expectations hold"),
        wrong => {
            println!("{} of {count} expectations hold", count - wrong);
            return Ok(Exit::Failed);
        }
    }
    Ok(Exit::Done)
}
