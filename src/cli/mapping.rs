//! `mailroom mapping`: do its own expectations hold, and what would another one have done?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::remap::Journal;
use super::{Exit, Global, Office, show};
use crate::document;
use crate::gateway::{LoadError, files};
use crate::inbound::again::Known;
use crate::inbound::expectations;
use crate::inbound::remap::Destination;
use crate::mapping::{Mailbox, Mapping};

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
        /// Mapping files: each instead of the one in force that has its name, or, if there is none, all instead of all
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// How far back
        #[arg(long, value_name = "AGE", default_value = "30d", value_parser = document::duration)]
        last: Duration,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    match arguments.action {
        Action::Test => test(global).await,
        Action::Diff { files, last, json } => diff(global, &files, last, json).await,
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

/// Messages that go the same way before and after.
#[derive(Default)]
struct Group {
    count: u64,
    /// The first of them.
    examples: Vec<Value>,
}

/// Examples of each group.
const EXAMPLES: usize = 3;

async fn diff(global: &Global, files: &[PathBuf], last: Duration, as_json: bool) -> anyhow::Result<Exit> {
    let office = Office::open_complete(global).await?;
    let (store, current) = (&office.store, office.current());
    let other = other_mapping(&office, files).await?;
    if current.config.storage.journal.is_none() {
        eprintln!("no journal is kept (storage.journal): there is nothing to compare");
    }
    let zone = current.config.office.timezone.clone().unwrap_or_else(TimeZone::system);
    let folders = store.upstream_folders().await?;
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    let (mut all, mut elsewhere) = (0, 0);
    let mut journal = Journal::since(Timestamp::now().as_millisecond(), last);
    while let Some(entries) = journal.next(store).await? {
        for entry in entries {
            let folder = folders.get(&entry.content).map(String::as_str);
            let known = Known::journaled(store, &entry, folder).await?;
            let before = Destination::of(&known.decide(&current.config, &current.mapping));
            let after = Destination::of(&known.decide(&current.config, &other));
            all += 1;
            if before == after {
                continue;
            }
            elsewhere += 1;
            let group = groups.entry((before.words(), after.words())).or_default();
            group.count += 1;
            if group.examples.len() < EXAMPLES {
                let from = known.facts.header().text("from").unwrap_or_default();
                group.examples.push(json!({
                    "received": show::rfc3339(entry.received, &zone), "from": from, "subject": known.facts.subject,
                    "message_id": known.facts.message_id, "id": entry.content.0
                }));
            }
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
    if as_json {
        let group = |((before, after), group): &((String, String), Group)| json!({ "before": before, "after": after, "count": group.count, "examples": group.examples });
        println!("{:#}", json!({ "mails": all, "elsewhere": elsewhere, "groups": groups.iter().map(group).collect::<Vec<_>>() }));
        return Ok(Exit::Done);
    }
    println!("{elsewhere} of {} would go elsewhere", show::count(all, "journaled mail", "journaled mails"));
    for ((before, after), group) in &groups {
        println!("{:>5}  {} → {}", group.count, show::safe(before), show::safe(after));
        for example in &group.examples {
            let text = |key: &str| show::safe(example[key].as_str().unwrap_or_default());
            println!("       {}  {}  {}", text("received"), text("from"), text("subject"));
        }
    }
    Ok(Exit::Done)
}

/// The mapping in force with the given files in it, for the same configuration and users.
async fn other_mapping(office: &Office, given: &[PathBuf]) -> anyhow::Result<Mapping> {
    let config = &office.current().config;
    let mut texts = Vec::new();
    for path in given {
        let text =
            std::fs::read_to_string(path).map_err(|error| LoadError::one(format!("{} can't be read: {error}", path.display()), None))?;
        texts.push((path.clone(), text));
    }
    let in_force = files::mapping_texts(&config.file, &office.compiled.texts);
    let name = |path: &Path| path.file_name().map(|name| name.to_owned());
    let replaces = |(path, _): &(PathBuf, String)| in_force.iter().any(|(known, _)| name(known) == name(path));
    if texts.iter().all(replaces) {
        let stays = in_force.iter().filter(|(known, _)| !given.iter().any(|path| name(path) == name(known)));
        texts.extend(stays.cloned());
    }
    let accounts = office.store.accounts().await?.into_iter();
    let users = accounts.filter_map(|account| match account.mailbox {
        Mailbox::User(name) => Some((name, account.full_name)),
        Mailbox::Shared(_) => None,
    });
    let (mapping, _) = Mapping::load(&texts, &files::mapping_office(config, users.collect())).map_err(LoadError)?;
    match mapping.unknown_users() {
        [] => Ok(mapping),
        unknown => Err(LoadError(unknown.to_vec()).into()),
    }
}
