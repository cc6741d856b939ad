//! `mailroom secret`: what is set is never shown again.

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use super::{Exit, Global, ask, show, store};

/// `secret`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Set or replace a secret; asks for it, or reads one line of standard input
    Set {
        /// What `{ secret = "NAME" }` calls it
        name: String,
        /// Read it from standard input even on a terminal
        #[arg(long, alias = "password-stdin")]
        stdin: bool,
    },
    /// Names, and when each was set
    List,
    /// Forget a secret
    Remove {
        /// Which
        name: String,
    },
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let store = store(global)?;
    match arguments.action {
        Action::Set { name, stdin } => {
            store.secret_set(&name, &ask::secret("secret", stdin)?).await?;
            println!("the secret {name} is set");
        }
        Action::List => {
            for (name, set) in store.secrets().await? {
                println!("{name}  set {}", show::rfc3339(set, &TimeZone::system()));
            }
        }
        Action::Remove { name } => {
            store.secret_remove(&name).await?;
            println!("the secret {name} is removed");
        }
    }
    Ok(Exit::Done)
}
