//! `mailroom tray`: mail that no mapping claims, and quarantine. Nothing leaves it unless somebody says so.

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::time::Duration;

use super::{Exit, Global, configuration, show, store_of, user};
use crate::address::Address;
use crate::config::Config;
use crate::document;
use crate::mapping::Mailbox;
use crate::message::trace::{Hop, Prefix};
use crate::store::tray::Held;
use crate::store::{Deposit, Store};

/// `tray`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What is in it, and why
    List {
        #[command(flatten)]
        filter: Filter,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// What is known of it, and its header
    Show {
        /// Numbers of `tray list`
        #[arg(required = true, value_name = "ID")]
        ids: Vec<i64>,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Deliver to a user
    Give {
        /// Numbers of `tray list`, unless options choose; then the user
        #[arg(required = true, value_name = "ID… USER")]
        ids_and_user: Vec<String>,
        #[command(flatten)]
        filter: Filter,
        /// Write a rule, so that such mail finds its way from now on
        #[arg(long)]
        always: bool,
    },
    /// Deliver to nobody; the journal keeps the original for its time
    Drop {
        /// Numbers of `tray list`
        #[arg(value_name = "ID")]
        ids: Vec<i64>,
        #[command(flatten)]
        filter: Filter,
        /// Write a rule, so that such mail is dropped from now on
        #[arg(long)]
        always: bool,
    },
}

#[derive(Debug, Args)]
struct Filter {
    /// Whose From has this text
    #[arg(long, value_name = "TEXT")]
    from: Option<String>,
    /// With an address that has this text
    #[arg(long, value_name = "TEXT")]
    to: Option<String>,
    /// Older than this
    #[arg(long, value_name = "AGE", value_parser = document::duration)]
    older: Option<Duration>,
}

impl Filter {
    fn is_set(&self) -> bool {
        self.from.is_some() || self.to.is_some() || self.older.is_some()
    }

    fn lets_through(&self, held: &Held, now: i64) -> bool {
        let has = |text: &str, wanted: &str| text.to_lowercase().contains(&wanted.to_lowercase());
        let age = Duration::from_millis(now.saturating_sub(held.received).try_into().unwrap_or(0));
        self.from.as_ref().is_none_or(|wanted| has(&held.from, wanted))
            && self.to.as_ref().is_none_or(|wanted| held.addresses.iter().any(|address| has(address, wanted)))
            && self.older.is_none_or(|older| age > older)
    }
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let config = configuration(global)?;
    let store = store_of(&config)?;
    let zone = config.office.timezone.clone().unwrap_or_else(TimeZone::system);
    let tray = store.tray().await?;
    match arguments.action {
        Action::List { filter, json } => {
            let now = Timestamp::now().as_millisecond();
            list(&tray.iter().filter(|held| filter.lets_through(held, now)).collect::<Vec<_>>(), json, &zone)
        }
        Action::Show { ids, json } => show_all(&store, &chosen(&tray, &ids, None)?, json, &zone).await,
        Action::Give { ids_and_user, filter, always } => {
            refuse_always(always)?;
            let (name, ids) = ids_and_user.split_last().context("to whom?")?;
            let ids: Vec<i64> = ids.iter().map(|id| number(id)).collect::<Result<_, _>>()?;
            give(&store, &config, &chosen(&tray, &ids, Some(&filter))?, name).await
        }
        Action::Drop { ids, filter, always } => {
            refuse_always(always)?;
            let ids = chosen(&tray, &ids, Some(&filter))?.into_iter().map(|held| held.id).collect();
            let dropped = store.tray_drop(ids, "the admin").await?;
            println!("{} dropped", show::count(dropped as u64, "mail", "mails"));
            if config.storage.journal.is_none() {
                eprintln!("no journal is kept: this was final");
            }
            Ok(Exit::Done)
        }
    }
}

fn refuse_always(always: bool) -> anyhow::Result<()> {
    anyhow::ensure!(!always, "`--always` is not built yet in this version; nothing was done");
    Ok(())
}

fn number(text: &str) -> anyhow::Result<i64> {
    text.parse().with_context(|| format!("“{text}” is no number of `tray list` (the user comes last)"))
}

/// Those with these numbers, else those that the filter lets through; never all of them by an oversight.
fn chosen<'t>(tray: &'t [Held], ids: &[i64], filter: Option<&Filter>) -> anyhow::Result<Vec<&'t Held>> {
    if let Some(filter) = filter.filter(|filter| filter.is_set() && ids.is_empty()) {
        let now = Timestamp::now().as_millisecond();
        return Ok(tray.iter().filter(|held| filter.lets_through(held, now)).collect());
    }
    anyhow::ensure!(!ids.is_empty(), "name numbers of `tray list`, or choose by --from, --to or --older");
    let find = |id: &i64| tray.iter().find(|held| held.id == *id).with_context(|| format!("there is no {id} in the tray"));
    ids.iter().map(find).collect()
}

async fn give(store: &Store, config: &Config, held: &[&Held], name: &str) -> anyhow::Result<Exit> {
    user::require(store, name).await?;
    for held in held {
        let now = Timestamp::now().as_millisecond();
        let address = match name.contains('@') {
            true => Address::parse(name)?,
            false => Address::new(name, &config.office.lan_domain)?,
        };
        let id = format!("tray-{}", held.id);
        let hop = Hop { by: &config.office.hostname, with: "local", id: &id, recipient: Some(&address), date: now, ..Hop::default() };
        let prefix = Prefix { delivered_to: Some(&address), hop: Some(hop), ..Prefix::default() };
        let deposit = Deposit {
            mailbox: Mailbox::User(name.to_owned()),
            folder: None,
            prefix: Bytes::from(prefix.render()),
            flags: 0,
            internal_date: held.received,
            dedupe: None,
        };
        store.tray_give(held.id, vec![deposit], "the admin").await?;
    }
    println!("{} given to {name}", show::count(held.len() as u64, "mail", "mails"));
    Ok(Exit::Done)
}

fn json(held: &Held, zone: &TimeZone) -> Value {
    json!({
        "id": held.id, "received": show::rfc3339(held.received, zone), "from": held.from, "subject": held.subject,
        "addresses": held.addresses, "reason": held.reason, "kind": held.kind.as_str(), "size": held.size, "collector": held.collector
    })
}

fn text(held: &Held, zone: &TimeZone) -> String {
    let received = show::time(held.received, Timestamp::now().as_millisecond(), zone);
    let addresses = if held.addresses.is_empty() { String::new() } else { format!("  for {}", show::safe(&held.addresses.join(", "))) };
    format!(
        "{}  {received}  {}  {}  {}\n    {}: {}{addresses}\n",
        held.id,
        show::safe(&held.from),
        show::safe(&held.subject),
        show::size(held.size),
        held.kind.as_str(),
        show::safe(&held.reason)
    )
}

fn list(held: &[&Held], as_json: bool, zone: &TimeZone) -> anyhow::Result<Exit> {
    match as_json {
        true => println!("{}", serde_json::to_string_pretty(&held.iter().map(|held| json(held, zone)).collect::<Vec<_>>())?),
        false if held.is_empty() => println!("nothing"),
        false => held.iter().for_each(|held| print!("{}", text(held, zone))),
    }
    Ok(Exit::Done)
}

/// Of a header, this much is shown.
const MAX_HEADER: usize = 16 * 1024;

async fn show_all(store: &Store, held: &[&Held], as_json: bool, zone: &TimeZone) -> anyhow::Result<Exit> {
    let mut all = Vec::new();
    for held in held {
        let facts = store.facts(held.content).await?;
        let length = usize::try_from(facts.header_size).unwrap_or(MAX_HEADER).min(MAX_HEADER);
        let header = String::from_utf8_lossy(&store.content(held.content, 0, length).await?).into_owned();
        match as_json {
            true => {
                let mut object = json(held, zone);
                object["header"] = header.into();
                all.push(object);
            }
            false => {
                print!("{}", text(held, zone));
                header.lines().for_each(|line| println!("    {}", show::safe(line)));
            }
        }
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ContentId;
    use crate::store::tray::Kind;

    fn held(id: i64, from: &str, address: &str) -> Held {
        Held {
            id,
            content: ContentId(id),
            received: id * 86_400_000,
            kind: Kind::Held,
            reason: String::new(),
            addresses: vec![address.into()],
            from: from.into(),
            subject: String::new(),
            size: 0,
            collector: None,
        }
    }

    fn check(ids: &[i64], filter: Filter, expected: Option<&[i64]>) {
        let tray = [held(1, "Ann <ann@x>", "sales@y"), held(2, "bob@x", "info@y")];
        let chosen = chosen(&tray, ids, Some(&filter)).map(|held| held.iter().map(|held| held.id).collect::<Vec<_>>());
        assert_eq!(chosen.ok().as_deref(), expected);
    }

    #[test]
    fn chosen_by_number_or_filter_but_never_by_oversight() {
        let none = || Filter { from: None, to: None, older: None };
        check(&[2, 1], none(), Some(&[2, 1]));
        check(&[3], none(), None);
        check(&[], none(), None);
        check(&[], Filter { from: Some("ANN".into()), ..none() }, Some(&[1]));
        check(&[], Filter { to: Some("info@".into()), ..none() }, Some(&[2]));
        check(&[], Filter { older: Some(Duration::from_secs(86_400)), ..none() }, Some(&[1, 2]));
        check(&[], Filter { from: Some("zed".into()), ..none() }, Some(&[]));
    }
}
