//! Commands whose feature is not built yet: their arguments are read, and the answer says so.

use std::path::PathBuf;

use clap::Args;

use super::Exit;

/// `import KIND …`
#[derive(Debug, Args)]
pub struct Import {
    /// What is brought in
    #[arg(value_parser = ["maildir", "mbox", "imap", "csv", "fetchmailrc", "getmailrc", "aliases"])]
    kind: String,
    /// Files, directories, or whatever the kind needs
    arguments: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// `export USER maildir|mbox`
#[derive(Debug, Args)]
pub struct Export {
    /// Whose mail
    user: String,
    /// The form
    #[arg(value_parser = ["maildir", "mbox"])]
    form: String,
    /// Where to
    target: Option<PathBuf>,
}

/// Says that the command is not built yet.
pub fn refuse(command: &str) -> anyhow::Result<Exit> {
    anyhow::bail!("`{command}` is not built yet in this version; nothing was done")
}
