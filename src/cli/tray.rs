//! `mailroom tray`: mail that no mapping claims, and quarantine. Nothing leaves it unless somebody says so.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::time::Duration;

use super::always::{Always, Wanted};
use super::{Exit, Global, configuration, give, show, store_of};
use crate::config::Config;
use crate::document;
use crate::inbound::again::Known;
use crate::mapping::{Mailbox, is_like};
use crate::store::Store;
use crate::store::tray::{Held, Kind};

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
        /// Only these
        #[arg(value_name = "ID")]
        ids: Vec<i64>,
        #[command(flatten)]
        filter: Filter,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// What is known of it, and its header
    Show {
        /// Numbers of `tray list`
        #[arg(value_name = "ID")]
        ids: Vec<i64>,
        #[command(flatten)]
        filter: Filter,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Deliver to a user. Of a mail that was too large, the original is fetched for him; without a user, for whom the mapping says
    Give {
        /// Numbers of `tray list`, unless options choose; then the user, or shared:NAME
        #[arg(required = true, value_name = "ID… [USER]")]
        ids_and_user: Vec<String>,
        #[command(flatten)]
        filter: Filter,
        /// Also write the narrowest line that does it into the mapping file: this list, else this address, else this sender
        #[arg(long)]
        always: bool,
        /// What was given, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Deliver to nobody; the journal keeps the original for its time
    Drop {
        /// Numbers of `tray list`
        #[arg(value_name = "ID")]
        ids: Vec<i64>,
        #[command(flatten)]
        filter: Filter,
        /// Also write the narrowest line that does it into the mapping file: this list, else this address, else this sender
        #[arg(long)]
        always: bool,
        /// What was dropped, as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Filter {
    /// Whose From has this text or pattern (* and ?) in it
    #[arg(long, value_name = "P")]
    from: Option<String>,
    /// With an address that has this text or pattern in it
    #[arg(long, value_name = "P")]
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
        let has = |text: &str, wanted: &str| is_like(&format!("*{wanted}*"), text);
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
        Action::List { ids, filter, json } => {
            let everything = ids.is_empty() && !filter.is_set();
            let held = if everything { tray.iter().collect() } else { chosen(&tray, &ids, &filter)? };
            list(&held, json, &zone)
        }
        Action::Show { ids, filter, json } => show_all(&store, &chosen(&tray, &ids, &filter)?, json, &zone).await,
        Action::Give { ids_and_user, filter, always, json } => {
            let (last, ids) = ids_and_user.split_last().context("to whom?")?;
            let mut ids: Vec<i64> = ids.iter().map(|id| number(id)).collect::<Result<_, _>>()?;
            if let Some(id) = alone(&store, last).await? {
                ids.push(id);
                let held = chosen(&tray, &ids, &filter)?;
                anyhow::ensure!(!always && held.iter().all(|held| held.kind == Kind::Stub), "to whom? Name the user behind the numbers");
                want(&store, &held, None).await?;
                return report(&held, json, &zone, "asked for");
            }
            let held = chosen(&tray, &ids, &filter)?;
            let mailbox = give::reader(&store, last).await?;
            if always {
                learn(global, &store, &held, Wanted::For(&mailbox)).await?;
            }
            let (stubs, whole): (Vec<&Held>, Vec<&Held>) = held.iter().partition(|held| held.kind == Kind::Stub);
            want(&store, &stubs, Some(&mailbox)).await?;
            give(&store, &config, &whole, &mailbox).await?;
            report(&held, json, &zone, &format!("given to {last}"))
        }
        Action::Drop { ids, filter, always, json } => {
            let held = chosen(&tray, &ids, &filter)?;
            if always {
                learn(global, &store, &held, Wanted::Nobody).await?;
            }
            let journal = config.storage.journal;
            store.tray_drop(held.iter().map(|held| held.id).collect(), "the admin", journal.is_some()).await?;
            match journal {
                Some(age) => eprintln!("the journal keeps the originals for {} days; `give MESSAGE USER` brings one back", days(age)),
                None => eprintln!("no journal is kept: this was final"),
            }
            report(&held, json, &zone, "dropped")
        }
    }
}

fn days(age: Duration) -> u64 {
    age.as_secs() / 86_400
}

/// One line may serve several mails; if there is none for one of them, nothing is written at all.
async fn learn(global: &Global, store: &Store, held: &[&Held], wanted: Wanted<'_>) -> anyhow::Result<()> {
    let mut always = Always::begin(global, store).await?;
    for held in held {
        always.learn(held, wanted).await?;
    }
    always.write()
}

fn report(held: &[&Held], as_json: bool, zone: &TimeZone, what: &str) -> anyhow::Result<Exit> {
    if as_json {
        return list(held, true, zone);
    }
    println!("{} {what}", show::count(held.len() as u64, "mail", "mails"));
    Ok(Exit::Done)
}

fn number(text: &str) -> anyhow::Result<i64> {
    text.parse().with_context(|| format!("“{text}” is no number of `tray list` (the user comes last)"))
}

/// Those with these numbers, else those that the filter lets through; never all of them by an oversight.
fn chosen<'t>(tray: &'t [Held], ids: &[i64], filter: &Filter) -> anyhow::Result<Vec<&'t Held>> {
    let now = Timestamp::now().as_millisecond();
    if ids.is_empty() {
        anyhow::ensure!(filter.is_set(), "name numbers of `tray list`, or choose by --from, --to or --older");
        return Ok(tray.iter().filter(|held| filter.lets_through(held, now)).collect());
    }
    let find = |id: &i64| tray.iter().find(|held| held.id == *id).with_context(|| format!("there is no {id} in the tray"));
    let found: Vec<&Held> = ids.iter().map(find).collect::<Result<_, _>>()?;
    Ok(found.into_iter().filter(|held| filter.lets_through(held, now)).collect())
}

/// The last word, if it is a number and not a user of that name.
async fn alone(store: &Store, last: &str) -> anyhow::Result<Option<i64>> {
    let Ok(id) = last.parse() else { return Ok(None) };
    Ok(store.account(&Mailbox::User(last.to_owned())).await?.is_none().then_some(id))
}

/// Asks for the originals of stubs. A gateway that runs fetches them now.
async fn want(store: &Store, stubs: &[&Held], mailbox: Option<&Mailbox>) -> anyhow::Result<()> {
    for stub in stubs {
        store.tray_want(stub.id, mailbox, "the admin").await?;
    }
    let mut collectors: Vec<&str> = stubs.iter().filter_map(|stub| stub.collector.as_deref()).collect();
    collectors.sort_unstable();
    collectors.dedup();
    if collectors.is_empty() {
        return Ok(());
    }
    if store.gateway_runs() {
        store.request_post("fetch", json!({ "names": collectors })).await?;
        eprintln!("the gateway fetches the original now; `mailroom trace` shows when it is there");
    } else {
        eprintln!("the original comes with the next fetch: mailroom fetch {}", collectors.join(" "));
    }
    Ok(())
}

async fn give(store: &Store, config: &Config, held: &[&Held], mailbox: &Mailbox) -> anyhow::Result<()> {
    for held in held {
        let known = Known::read(store, held.content, held.collector.as_deref(), None).await?;
        let now = Timestamp::now().as_millisecond();
        let deposit = known.copy_for(config, mailbox, None, &format!("tray-{}", held.id), held.received, now);
        store.tray_give(held.id, vec![deposit], "the admin").await?;
    }
    Ok(())
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
        let chosen = chosen(&tray, ids, &filter).map(|held| held.iter().map(|held| held.id).collect::<Vec<_>>());
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
        check(&[], Filter { from: Some("b?b@*".into()), ..none() }, Some(&[2]));
        check(&[], Filter { to: Some("*@y".into()), ..none() }, Some(&[1, 2]));
        check(&[1, 2], Filter { to: Some("sales@*".into()), ..none() }, Some(&[1]));
    }
}
