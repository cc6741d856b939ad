//! `mailroom backup` and `mailroom restore`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::{Exit, Global, config_file, configuration, show, store};
use crate::gateway::backup::back_up;
use crate::store::{self, Store};

/// `backup DIR [--with-key]`
#[derive(Debug, Args)]
pub struct Backup {
    /// Where to: a new or empty directory
    dir: PathBuf,
    /// With the key that opens the stored passwords: then the copy has to be guarded like them
    #[arg(long)]
    with_key: bool,
}

/// `restore DIR`
#[derive(Debug, Args)]
pub struct Restore {
    /// Where from: what `backup` or [storage] backup made
    dir: PathBuf,
}

/// Runs `backup`.
pub async fn run(arguments: Backup, global: &Global) -> anyhow::Result<Exit> {
    let file = config_file(global)?;
    let dir = std::path::absolute(&arguments.dir)?;
    let bytes = back_up(&store(global)?, &file, &dir, arguments.with_key).await?;
    println!("{}: mail, users, queue and all else ({})", dir.display(), show::size(bytes));
    match arguments.with_key {
        true => println!("secret.key is in it: whoever has this copy has every stored password"),
        false => println!("secret.key is not in it: keep a copy elsewhere, or stored passwords have to be set anew after a restore"),
    }
    Ok(Exit::Done)
}

/// Runs `restore`.
pub async fn restore(arguments: Restore, global: &Global) -> anyhow::Result<Exit> {
    let path = configuration(global)?.storage.path;
    let dir = std::path::absolute(&arguments.dir)?;
    if path.join("mailroom.db").exists() {
        make_room(&path).await?;
    }
    let with_key = store::backup::restore(&dir, &path)?;
    // Migrates it, if this program is newer.
    let restored = Store::open(&path).with_context(|| format!("the store in {} does not open", path.display()))?;
    let users = restored.accounts().await?;
    let messages = users.iter().map(|user| user.messages).sum();
    println!(
        "{}: {}, {}",
        path.display(),
        show::count(users.len() as u64, "mailbox", "mailboxes"),
        show::count(messages, "message", "messages")
    );
    if !with_key && !restored.secrets().await?.is_empty() {
        println!(
            "The backup has no secret.key: put the old one into {}, or remove every stored password (`mailroom secret list`) and set it anew.",
            path.display()
        );
    }
    Ok(Exit::Done)
}

/// Looking at a store makes one: an empty one may be replaced, any other is refused.
async fn make_room(path: &std::path::Path) -> anyhow::Result<()> {
    let found = Store::open(path).with_context(|| format!("the store in {} does not open", path.display()))?;
    let lock = found.lock_run()?;
    let empty = found.accounts().await?.is_empty() && found.tray_count().await? == 0 && found.queue().await?.is_empty();
    anyhow::ensure!(
        empty,
        "the store in {} is not empty, and nothing is put over it: move it away, or name another storage.path",
        path.display()
    );
    drop((found, lock));
    for name in ["mailroom.db", "mailroom.db-wal", "mailroom.db-shm"] {
        match std::fs::remove_file(path.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} can't be removed", path.join(name).display()));
            }
            _ => {}
        }
    }
    Ok(())
}
