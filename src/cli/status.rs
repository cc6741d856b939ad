//! `mailroom status`: collectors, queue, tray, users and disk at a glance. Works with broken files too: that is when it is asked for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use comfy_table::{Table, presets};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Exit, Global, config_file, log, show};
use crate::config::{Config, EnvelopeHabit, Level, Log};
use crate::gateway::backup::BACKUP_ERROR;
use crate::gateway::{ALL_RIGHTS, CONFIGURATION_ERROR, LoadError, START_ERROR, files};
use crate::inbound::habits;
use crate::inbound::recipients::probe::Probe;
use crate::mapping::Mailbox;
use crate::oauth::{self, Consent, Health};
use crate::store::absence::{Away, Copies};
use crate::store::collectors::CollectorState;
use crate::store::queue::{Queued, State};
use crate::store::reconciliation::Reconciliation;
use crate::store::{Account, Store};

/// `status [--json]`
#[derive(Debug, Args)]
pub struct Arguments {
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    log::start(&Log { level: Level::Warn, json: false }, global.verbose);
    let status = Status::look(global).await?;
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&status.json())?),
        false => print!("{}", status.text()),
    }
    Ok(Exit::Done)
}

struct Status {
    error: Option<String>,
    running: bool,
    /// Why the last start failed, if nothing runs since.
    start_error: Option<String>,
    /// The gateway that runs has kept root's rights.
    all_rights: bool,
    /// Why the last backup of the schedule failed.
    backup_error: Option<String>,
    collectors: Vec<Collector>,
    log_ins: Vec<LogIn>,
    queue: Vec<Queued>,
    tray: u64,
    users: Vec<Account>,
    away: Arc<[Away]>,
    copies: Vec<Copies>,
    used: u64,
    free: u64,
    journal: u64,
    zone: TimeZone,
    now: i64,
}

struct Collector {
    name: String,
    state: &'static str,
    seen: CollectorState,
    /// What became of everything that was ever listed.
    books: Option<Reconciliation>,
    /// What is known of its headers, if they decide whom its mail is for.
    probe: Option<Probe>,
}

impl Collector {
    /// What is wrong with it, in plain words.
    fn trouble(&self) -> Vec<String> {
        let lost = self.probe.as_ref().and_then(Probe::lost).map(|habit| {
            format!(
                "most mail comes without the header {} now, which told whom it was for: the provider seems to have changed it",
                habit.header
            )
        });
        self.seen
            .suspended
            .iter()
            .chain(self.seen.last_error.iter().filter(|_| self.seen.suspended.is_none()))
            .cloned()
            .chain(lost)
            .collect()
    }

    fn envelope(&self) -> Value {
        let Some(probe) = &self.probe else { return Value::Null };
        let (hits, of) = probe.hit_rate();
        let header = |habit: Option<&EnvelopeHabit>| habit.map(|habit| habit.header.clone());
        json!({ "found": header(probe.found()), "lost": header(probe.lost()), "none": probe.found_nothing(), "hits": hits, "of": of })
    }
}

/// A person's log-in at a provider that gives tokens.
struct LogIn {
    login: String,
    provider: String,
    health: Health,
}

impl Status {
    async fn look(global: &Global) -> anyhow::Result<Status> {
        let file = config_file(global)?;
        let loaded = files::gather(&file).and_then(|texts| files::parse(&file, texts));
        let (config, mut error) = match loaded {
            Ok(loaded) => (Some(loaded), None),
            Err(error) => (None, Some(error)),
        };
        let path = match (&config, &error) {
            (Some(loaded), _) => loaded.config.storage.path.clone(),
            (None, Some(LoadError(problems))) => {
                files::storage_path_of_broken(&file).filter(|path| path.is_dir()).ok_or_else(|| LoadError(problems.clone()))?
            }
            (None, None) => anyhow::bail!("the configuration vanished"),
        };
        let store = Store::open(&path).with_context(|| format!("the store in {} does not open", path.display()))?;
        let config: Option<Config> = match config {
            Some(loaded) => {
                let config = loaded.config.clone();
                error = files::compile(loaded, &store).await.and_then(|compiled| files::require_whole(&compiled)).err();
                Some(config)
            }
            None => None,
        };
        let running = store.gateway_runs();
        let error = match (running, error) {
            // What the running gateway could not load is known to it alone, if the files were mended half-way since.
            (true, None) => store.setting(CONFIGURATION_ERROR).await?,
            (_, error) => error.map(|error| error.to_string()),
        };
        let users = store.accounts().await?.into_iter().filter(|account| matches!(account.mailbox, Mailbox::User(_))).collect();
        Ok(Status {
            error,
            running,
            all_rights: running && store.setting(ALL_RIGHTS).await?.is_some(),
            backup_error: store.setting(BACKUP_ERROR).await?,
            start_error: if running { None } else { store.setting(START_ERROR).await? },
            collectors: collectors(config.as_ref(), &store, running).await?,
            log_ins: log_ins(config.as_ref(), &store).await?,
            queue: store.queue().await?,
            tray: store.tray_count().await?,
            users,
            away: store.vacations().await?,
            copies: store.copy_readers().await?,
            used: bytes_in(&path),
            free: store.free_bytes()?,
            journal: store.journal_bytes().await?,
            zone: config.and_then(|config| config.office.timezone).unwrap_or_else(TimeZone::system),
            now: Timestamp::now().as_millisecond(),
        })
    }

    fn json(&self) -> Value {
        let time = |at: Option<i64>| at.map(|at| show::rfc3339(at, &self.zone));
        let collectors: Vec<Value> = self
            .collectors
            .iter()
            .map(|collector| {
                let Collector { name, state, seen, .. } = collector;
                let error = seen.suspended.as_ref().or(seen.last_error.as_ref());
                json!({ "name": name, "state": state, "last_run": time(seen.last_run), "next_run": time(seen.next_run), "last_error": error, 
                    "envelope": collector.envelope(), "faults": seen.faults, "reconciliation": collector.books })
            })
            .collect();
        let log_in = |LogIn { login, provider, health }: &LogIn| {
            let (since, expires) = (time(health.granted), time(health.expires));
            json!({ "login": login, "provider": provider, "since": since, "token_expires": expires, "error": health.trouble })
        };
        let log_ins: Vec<Value> = self.log_ins.iter().map(log_in).collect();
        let user = |user: &Account| {
            let away = self.away(user);
            let copies: Vec<&String> = self.copies(user).map(|copy| &copy.reader).collect();
            json!({
                "name": user.name(), "messages": user.messages, "bytes": user.bytes, "quota": user.quota,
                "away": away.is_some_and(|away| away.holds(self.now)), "away_from": time(away.and_then(|away| away.starts)),
                "away_until": time(away.and_then(|away| away.ends)), "copies_to": copies
            })
        };
        json!({
            "config": { "ok": self.error.is_none(), "error": self.error },
            "running": self.running,
            "all_rights": self.all_rights,
            "start_error": self.start_error,
            "backup_error": self.backup_error,
            "collectors": collectors,
            "oauth": log_ins,
            "queue": { "mails": self.queue.len(), "held": self.held(), "oldest": time(self.oldest()) },
            "tray": self.tray,
            "users": self.users.iter().map(user).collect::<Vec<_>>(),
            "storage": { "bytes": self.used, "free": self.free, "journal_bytes": self.journal },
        })
    }

    fn text(&self) -> String {
        let time = |at: i64| show::time(at, self.now, &self.zone);
        let mut text = match &self.error {
            None => "configuration  ok\n".to_owned(),
            Some(error) => format!(
                "configuration  does not load{}:\n{}\n",
                if self.running { "; the last good one is in force" } else { "" },
                indented(error)
            ),
        };
        text.push_str(match (self.running, self.all_rights) {
            (true, false) => "gateway        runs\n",
            (true, true) => "gateway        runs as root, which it should not: give the store to an account of its own\n",
            (false, _) => "gateway        does not run\n",
        });
        if let Some(error) = &self.start_error {
            text.push_str(&format!("  its last start failed: {error}\n"));
        }
        if let Some(error) = &self.backup_error {
            text.push_str(&format!("backup         the last one failed: {error}\n"));
        }
        let mut table = plain_table();
        for collector in &self.collectors {
            let Collector { name, state, seen, books, .. } = collector;
            let last = seen.last_run.map_or("never ran".into(), |at| format!("last run {}", time(at)));
            let next = seen.next_run.filter(|_| self.running).map_or(String::new(), |at| format!("next {}", time(at)));
            table.add_row(vec![format!("collector {name}"), (*state).to_owned(), last, next]);
            for trouble in collector.trouble() {
                table.add_row(vec![String::new(), trouble]);
            }
            if seen.faults > 0 {
                table.add_row(vec![
                    String::new(),
                    format!("{} ended by a fault of the program", show::count(seen.faults, "fetch", "fetches")),
                ]);
            }
            if let Some(books) = books {
                table.add_row(vec![String::new(), books.to_string()]);
            }
        }
        for LogIn { login, health, .. } in &self.log_ins {
            let since = health.granted.map_or(String::new(), |at| format!("since {}", time(at)));
            let token = health.expires.map_or(String::new(), |at| format!("token until {}", time(at)));
            let state = if health.trouble.is_none() { "ok" } else { "log-in needed" };
            table.add_row(vec![format!("oauth {login}"), state.to_owned(), since, token]);
            if let Some(trouble) = &health.trouble {
                table.add_row(vec![String::new(), trouble.clone()]);
            }
        }
        for user in &self.users {
            let quota = user.quota.map_or(String::new(), |quota| format!("of {}", show::size(quota)));
            let state = if user.disabled { "disabled" } else { "" };
            table.add_row(vec![
                format!("user {}", user.name()),
                show::count(user.messages, "message", "messages"),
                show::size(user.bytes),
                quota,
                state.into(),
            ]);
            let until = |ends: Option<i64>| ends.map_or(String::new(), |at| format!(" until {}", time(at)));
            if let Some(away) = self.away(user) {
                let from = away.starts.filter(|starts| *starts > self.now).map_or(String::new(), |at| format!(" from {}", time(at)));
                table.add_row(vec![String::new(), format!("away{from}{}", until(away.ends))]);
            }
            for copy in self.copies(user) {
                table.add_row(vec![String::new(), format!("copies to {}{}", copy.reader, until(copy.ends))]);
            }
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        text.push_str(&table.trim_fmt());
        let oldest = self.oldest().map_or(String::new(), |at| format!(", the oldest from {}", time(at)));
        let held = if self.held() > 0 { format!(", {} held", self.held()) } else { String::new() };
        text.push_str(&format!("\nqueue          {}{held}{oldest}\n", show::count(self.queue.len() as u64, "mail", "mails")));
        text.push_str(&format!("tray           {}\n", show::count(self.tray, "mail", "mails")));
        let (used, free, journal) = (show::size(self.used), show::size(self.free), show::size(self.journal));
        text.push_str(&format!("disk           {used} used, {journal} of it for the journal alone, {free} free\n"));
        text
    }

    /// Whether somebody is or will be away.
    fn away(&self, user: &Account) -> Option<&Away> {
        self.away.iter().find(|away| away.user == user.name() && away.ends.is_none_or(|ends| self.now < ends))
    }

    /// Who gets copies of somebody's mail.
    fn copies(&self, user: &Account) -> impl Iterator<Item = &Copies> {
        self.copies.iter().filter(move |copy| copy.user == user.name() && copy.ends.is_none_or(|ends| self.now < ends))
    }

    fn held(&self) -> usize {
        self.queue.iter().filter(|mail| mail.recipients.iter().any(|recipient| recipient.state == State::Held)).count()
    }

    fn oldest(&self) -> Option<i64> {
        self.queue.iter().map(|mail| mail.queued_at).min()
    }
}

/// Those of the configuration, in its order; those that ever ran, if it does not load.
async fn collectors(config: Option<&Config>, store: &Store, running: bool) -> anyhow::Result<Vec<Collector>> {
    let mut seen = store.collector_states().await?;
    let Some(config) = config else {
        let one = |(name, seen)| Collector { name, state: state(true, &seen, running), seen, books: None, probe: None };
        return Ok(seen.into_iter().map(one).collect());
    };
    let mut collectors = Vec::new();
    for collector in &config.collectors {
        let at = seen.iter().position(|(name, _)| *name == collector.name);
        let seen = at.map(|at| seen.swap_remove(at).1).unwrap_or_default();
        let probe = if habits::matter(collector) { Some(habits::read(store, collector).await?) } else { None };
        let books = store.reconcile(&collector.endpoint.host.to_ascii_lowercase(), collector.log_in_as()).await?;
        let state = state(collector.enabled, &seen, running);
        collectors.push(Collector { name: collector.name.clone(), state, seen, books: Some(books), probe });
    }
    Ok(collectors)
}

/// One for each person at each provider, with the trouble of whichever use has any.
async fn log_ins(config: Option<&Config>, store: &Store) -> anyhow::Result<Vec<LogIn>> {
    let mut found: BTreeMap<String, LogIn> = BTreeMap::new();
    for consent in config.map(Consent::all).unwrap_or_default() {
        let health = oauth::health(store, &consent).await?;
        let login = found.entry(consent.secret_name()).or_insert_with(|| LogIn {
            login: consent.login.clone(),
            provider: consent.provider.clone(),
            health: health.clone(),
        });
        login.health.trouble = login.health.trouble.take().or(health.trouble);
    }
    Ok(found.into_values().collect())
}

/// `waiting` is for its next try after a failure.
fn state(enabled: bool, seen: &CollectorState, running: bool) -> &'static str {
    match () {
        () if !enabled => "disabled",
        () if seen.suspended.is_some() => "suspended",
        () if running && seen.fetching_since.is_some() => "fetching",
        () if seen.failures > 0 => "waiting",
        () => "idle",
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_in(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect::<String>().trim_end().to_owned()
}
