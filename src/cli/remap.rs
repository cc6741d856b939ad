//! `mailroom remap`: today's mapping over journaled mail, and back.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::{Exit, Global, Office, show};
use crate::document;
use crate::inbound::again::Known;
use crate::inbound::remap::{Planned, plan};
use crate::store::journal::Entry;
use crate::store::{Store, StoreError};

/// `remap --since 7d [--dry-run|--undo]`
#[derive(Debug, Args)]
pub struct Arguments {
    /// How far back
    #[arg(long, value_name = "AGE", value_parser = document::duration, required_unless_present = "undo")]
    since: Option<Duration>,
    /// Only say what would move
    #[arg(long, conflicts_with = "undo")]
    dry_run: bool,
    /// Take the last remap back
    #[arg(long)]
    undo: bool,
}

/// Entries of the journal that are read at a time.
const PIECE: usize = 200;

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let office = Office::open_whole(global).await?;
    let (store, current) = (&office.store, office.current());
    let Some(since) = arguments.since.filter(|_| !arguments.undo) else { return undo(store).await };
    if current.config.storage.journal.is_none() {
        eprintln!("no journal is kept (storage.journal): there is nothing to look at");
    }
    let now = Timestamp::now().as_millisecond();
    let folders = store.upstream_folders().await?;
    let mut run = None;
    let mut groups: BTreeMap<String, u64> = BTreeMap::new();
    let (mut moved, mut notices, mut by_hand) = (0, 0, 0);
    let mut journal = Journal::since(now, since);
    while let Some(entries) = journal.next(store).await? {
        for entry in entries {
            let known = Known::journaled(store, &entry, folders.get(&entry.content).map(String::as_str)).await?;
            let planned = plan(current, &entry, &known, run.unwrap_or(0), now).map_err(anyhow::Error::msg)?;
            let Some(Planned { was, is, mut order }) = planned else { continue };
            if !arguments.dry_run {
                order.run = match run {
                    Some(run) => run,
                    None => *run.insert(store.remap_begin().await?),
                };
                let relocated = store.remap(order).await?;
                if relocated.by_hand {
                    by_hand += 1;
                    continue;
                }
                notices += relocated.notices;
            }
            moved += 1;
            *groups.entry(format!("{} → {}", was.words(), is.words())).or_default() += 1;
        }
    }
    for (way, count) in &groups {
        println!("{:>5}  {way}", count);
    }
    let mails = show::count(moved, "mail", "mails");
    match (arguments.dry_run, moved) {
        (_, 0) => println!("nothing is in the wrong place"),
        (true, _) => println!("{mails} would move; nothing was done"),
        (false, _) => println!("{mails} moved, {notices} of them had been read and left a notice; `mailroom remap --undo` takes it back"),
    }
    if by_hand > 0 {
        println!("{} left where somebody gave or dropped it by hand", show::count(by_hand, "mail", "mails"));
    }
    Ok(Exit::Done)
}

async fn undo(store: &Store) -> anyhow::Result<Exit> {
    let Some(undone) = store.remap_undo().await? else {
        println!("there is no remap that could be taken back");
        return Ok(Exit::Done);
    };
    println!("{} back where it was", show::count(undone.mails as u64, "mail is", "mails are"));
    if undone.forgotten > 0 {
        eprintln!("{} not: the journal has forgotten the original since", undone.forgotten);
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

/// The journal in pieces, without what somebody dropped by hand.
pub struct Journal {
    since: i64,
    after: i64,
}

impl Journal {
    /// What came in the last while.
    pub fn since(now: i64, age: Duration) -> Journal {
        Journal { since: now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)), after: 0 }
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self, store: &Store) -> Result<Option<Vec<Entry>>, StoreError> {
        let mut entries = store.journal(self.since, self.after, PIECE).await?;
        let Some(last) = entries.last() else { return Ok(None) };
        self.after = last.id;
        entries.retain(|entry| !entry.is_dropped());
        Ok(Some(entries))
    }
}
