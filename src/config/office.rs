//! `[office]`, `[storage]` and `[log]`.

use super::Reading;
use super::providers::Profiles;
use crate::address::Domain;
use crate::document::{Table, Value};
use crate::mapping::user_name;
use crate::schedule::Schedule;
use crate::service::platform;
use std::path::PathBuf;
use std::time::Duration;

const DAY: u64 = 86_400;

/// Bounces, digests and notices are written in one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// `en`
    #[default]
    English,
    /// `de`
    German,
}

/// What happens when a user writes to our domain and nobody there has that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownLocal {
    /// 550 at submission, with the nearest name.
    Refuse,
    /// Out through the smarthost: the address may exist at the ISP.
    Send,
}

/// `implied_addresses`: at which domains `alice@…` is the user alice without being written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImpliedAddresses {
    /// At every domain of ours.
    All,
    /// At none.
    None,
    /// At these.
    At(Vec<Domain>),
}

/// `[office]`
#[derive(Debug, Clone)]
pub struct Office {
    /// Outside domains that are ours.
    pub domains: Vec<Domain>,
    /// `user@lan_domain` is always that user.
    pub lan_domain: Domain,
    /// In greetings, `Received` and the certificate.
    pub hostname: String,
    /// The user who gets alarms, digests, postmaster@ and abuse@.
    pub postmaster: String,
    /// For schedules; `None` is the system's.
    pub timezone: Option<jiff::tz::TimeZone>,
    /// Of bounces, digests and notices.
    pub language: Language,
    /// `None`: [`UnknownLocal::Send`] where no collector is multidrop for that domain, else [`UnknownLocal::Refuse`].
    pub unknown_local: Option<UnknownLocal>,
    /// Where a user's name alone makes an address.
    pub implied_addresses: ImpliedAddresses,
    /// Age at which mail leaves Trash; `None` is never.
    pub trash: Option<Duration>,
    /// Age at which mail leaves Junk; `None` is never.
    pub junk: Option<Duration>,
}

/// `storage.backup`
#[derive(Debug, Clone)]
pub struct Backup {
    /// Where to.
    pub dir: PathBuf,
    /// When.
    pub schedule: Schedule,
    /// How many are kept.
    pub keep: u32,
}

/// `[storage]`
#[derive(Debug, Clone)]
pub struct Storage {
    /// The store's directory.
    pub path: PathBuf,
    /// How long originals are kept; `None` is not at all.
    pub journal: Option<Duration>,
    /// How long held mail is kept; `None` is forever.
    pub tray: Option<Duration>,
    /// Free bytes below which fetching pauses and submission answers 452.
    pub min_free: u64,
    /// Regular backups.
    pub backup: Option<Backup>,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// `error`
    Error,
    /// `warn`
    Warn,
    /// `info`
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// error, warn, info, debug or trace.
    pub level: Level,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl Office {
    pub(super) fn read(table: &Table<'_>, profiles: &Profiles, reading: &mut Reading) -> Option<Self> {
        let domains: Vec<Domain> =
            table.one_or_more("domains").unwrap_or_default().iter().filter_map(|v| own_domain(v, profiles)).collect();
        let lan_domain = match table.get("lan_domain") {
            Some(value) => {
                let domain = value.domain();
                if domain.as_ref().is_some_and(|domain| domains.contains(domain)) {
                    value.mark().wrong_with(
                        "the LAN's own domain is one of the outside domains too",
                        "lan_domain names people inside only; choose another, such as \"office.lan\"",
                    );
                }
                domain
            }
            None => Domain::parse("office.lan").ok(),
        };
        let postmaster = table
            .require("postmaster", "postmaster = \"alice\", the user who gets alarms")
            .and_then(|v| v.parse(user_name).map(|name| (name, v)));
        if let Some((name, value)) = &postmaster {
            reading.name_user(name, value.place());
        }
        let hostname = table.get("hostname").map_or_else(|| Some(machine_name()), |v| v.domain().map(|d| d.as_str().to_owned()));
        let office = Self {
            lan_domain: lan_domain?,
            hostname: hostname?,
            postmaster: postmaster.map(|(name, _)| name).unwrap_or_default(),
            timezone: table.get("timezone").and_then(|v| {
                v.parse(|text| {
                    jiff::tz::TimeZone::get(text)
                        .map_err(|_| format!("\"{text}\" is no known time zone; write one such as \"Europe/Berlin\""))
                })
            }),
            language: table.word("language", &[("en", Language::English), ("de", Language::German)]).map(|f| f.value).unwrap_or_default(),
            unknown_local: table.word("unknown_local", &[("refuse", UnknownLocal::Refuse), ("send", UnknownLocal::Send)]).map(|f| f.value),
            implied_addresses: implied(table, &domains),
            trash: table.get("trash").and_then(|v| age_or(&v, "never")),
            junk: table.get("junk").and_then(|v| age_or(&v, "never")),
            domains,
        };
        Some(office)
    }
}

impl Storage {
    pub(super) fn read(table: &Table<'_>) -> Self {
        let default = Self::default();
        Self {
            path: table.path("path").map_or(default.path, |f| f.value),
            journal: match table.duration("journal") {
                Some(found) if found.value.is_zero() => {
                    found.mark.warn(
                        "no journal is kept: what a mapping discards, and what is dropped from the tray, can't be brought back",
                        None,
                    );
                    None
                }
                Some(found) => Some(found.value),
                None => default.journal,
            },
            tray: table.get("tray").and_then(|v| age_or(&v, "forever")),
            min_free: table.size("min_free").map_or(default.min_free, |f| f.value),
            backup: table.table("backup").and_then(Backup::read),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            path: platform::system_store(),
            journal: Some(Duration::from_secs(30 * DAY)),
            tray: None,
            min_free: 500_000_000,
            backup: None,
        }
    }
}

impl Backup {
    fn read(table: Table<'_>) -> Option<Self> {
        table.require("dir", "dir = \"/mnt/nas/mailroom\"");
        let keep = table.integer("keep", 1..=1000).map_or(7, |f| f.value);
        let schedule = table.get("schedule").map_or_else(|| Schedule::parse("0 3 * * *").ok(), |v| v.parse(Schedule::parse));
        let dir = table.path("dir");
        table.finish();
        Some(Self { dir: dir?.value, schedule: schedule?, keep: u32::try_from(keep).ok()? })
    }
}

impl Log {
    pub(super) fn read(table: Option<&Table<'_>>) -> Self {
        let levels =
            [("error", Level::Error), ("warn", Level::Warn), ("info", Level::Info), ("debug", Level::Debug), ("trace", Level::Trace)];
        Self {
            level: table.and_then(|t| t.word("level", &levels)).map_or(Level::Info, |f| f.value),
            json: table.and_then(|t| t.word("format", &[("text", false), ("json", true)])).is_some_and(|f| f.value),
        }
    }
}

/// An age, or the word for "not at all".
fn age_or(value: &Value<'_>, word: &str) -> Option<Duration> {
    match value.as_text() {
        Some(text) if text == word => None,
        _ => value.duration(),
    }
}

/// A domain that can be an office's own: not one where everybody has a mailbox.
fn own_domain(value: &Value<'_>, profiles: &Profiles) -> Option<Domain> {
    if value.as_text().is_some_and(|text| text.contains('@')) {
        value.mark().wrong_with(
            "this is an address, not a domain",
            "a mailbox's own address is the collector's \"address\"; [addresses] says whose it is",
        );
        return None;
    }
    let domain = value.domain()?;
    if let Some(profile) = profiles.of_domain(&domain) {
        value.mark().wrong_with(
            format!("{domain} belongs to {}, not to this office: mail to everybody else there would be kept here", profile.name),
            "leave it out; the collector's \"address\" is enough for your mailbox there",
        );
        return None;
    }
    Some(domain)
}

fn implied(table: &Table<'_>, domains: &[Domain]) -> ImpliedAddresses {
    let Some(value) = table.get("implied_addresses") else { return ImpliedAddresses::All };
    match value.as_boolean() {
        Some(true) => return ImpliedAddresses::All,
        Some(false) => return ImpliedAddresses::None,
        None => {}
    }
    let Some(list) = value.as_list() else {
        value.wrong_type("true, false or a list of domains");
        return ImpliedAddresses::None;
    };
    let known = |value: &Value<'_>| {
        let domain = value.domain()?;
        if !domains.contains(&domain) {
            value.mark().wrong_with(format!("{domain} is none of this office's domains"), "add it to domains first");
        }
        Some(domain)
    };
    ImpliedAddresses::At(list.iter().filter_map(known).collect())
}

/// The machine's name, if mail can be signed with it.
fn machine_name() -> String {
    let name = gethostname::gethostname().to_string_lossy().into_owned();
    Domain::parse(&name).map_or_else(|_| "localhost".to_owned(), |domain| domain.as_str().to_owned())
}
