//! `[[collector]]`

use super::Reading;
use super::providers::{Profile, Profiles};
use super::server::{Auth, Defaults, Endpoint, Tls};
use crate::address::{Address, Domain};
use crate::document::{Table, Value};
use crate::mapping::Target;
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FIVE_MINUTES: Duration = Duration::from_secs(300);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// POP3 or IMAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 1939
    Pop3,
    /// RFC 9051
    Imap,
}

/// `after`: what becomes of the upstream copy of a message that is safely here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// Deleted at once.
    Delete,
    /// Left alone.
    Keep,
    /// Deleted when it has been here this long.
    Age(Duration),
    /// IMAP: marked `\Seen`.
    Seen,
    /// IMAP: moved to this folder.
    Move(String),
}

/// `start`: which mail of a mailbox seen for the first time is fetched.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// All.
    All,
    /// Only what comes from now on.
    New,
    /// Not older than this.
    Age(Duration),
    /// Not older than this day.
    Date(jiff::civil::Date),
}

/// `deliver`: bind to a target, or by mapping.
#[derive(Debug, Clone, PartialEq)]
pub enum Deliver {
    /// Find out whom each message is for.
    Mapped,
    /// All of it to this target (bind).
    To(Target),
}

/// Where the header that carries the envelope recipient stands (envelope evidence; see [`crate::inbound::recipients`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anchor {
    /// Above the topmost `Received`; the first instance counts.
    Top,
    /// Inside the provider's own run of `Received` lines.
    Run,
    /// Appended at the end of the header; the last instance counts.
    Last,
}

/// `envelope = {…}`: a provider's habit, or the one that a collector pins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeHabit {
    /// The header's name.
    pub header: String,
    /// Its place.
    pub anchor: Anchor,
    /// Written before the address by qmail's virtual domains; one level is stripped. Empty: none.
    pub strip_prefix: String,
    /// This many instances are passed over first.
    pub skip: usize,
}

/// `[[collector]]`
#[derive(Debug, Clone)]
pub struct Collector {
    /// Its name, unique.
    pub name: String,
    /// `enabled`
    pub enabled: bool,
    /// The profile it took its defaults from.
    pub provider: Option<String>,
    /// `protocol`
    pub protocol: Protocol,
    /// Server.
    pub endpoint: Endpoint,
    /// Log-in name.
    pub username: String,
    /// The mailbox's own address.
    pub address: Option<Address>,
    /// How to log in.
    pub auth: Auth,
    /// One or several; the earliest counts.
    pub schedule: Vec<Schedule>,
    /// The provider's shortest polite interval; zero if none is known.
    pub minimum_interval: Duration,
    /// Hold IMAP IDLE.
    pub idle: bool,
    /// Upstream folder and the local folder that its mail goes to (`None`: as mapped, by default INBOX).
    pub folders: Vec<(String, Option<String>)>,
    /// What becomes of the upstream copy.
    pub after: After,
    /// The upstream folder for copies of what people send as this mailbox's address; `None`: no copies.
    pub sent: Option<String>,
    /// Bind or mapped.
    pub deliver: Deliver,
    /// For what no stage finds; default the tray.
    pub unclaimed: Target,
    /// Pinned envelope header.
    pub envelope: Option<EnvelopeHabit>,
    /// Envelope habits of the profile: they only order the evidence.
    pub habits: Vec<EnvelopeHabit>,
    /// Narrower than `office.domains`; empty: all of those.
    pub domains: Vec<Domain>,
    /// Larger mail becomes a stub, in bytes.
    pub max_size: u64,
    /// Which mail of a new mailbox is fetched.
    pub start: Start,
    /// The provider lists only a part of a full mailbox at a time: list again until nothing is left.
    pub partial_listing: bool,
    /// Line of its `[[collector]]` in the file, from 1.
    pub line: usize,
}

impl Collector {
    pub(super) fn read(table: &Table<'_>, profiles: &Profiles, domains: &[Domain], reading: &mut Reading) -> Option<Self> {
        let name = super::name(table, reading, "collector", "isp");
        let provider = table.get("provider").and_then(|value| profiles.find(&value));
        let words = [("pop3", Protocol::Pop3), ("imap", Protocol::Imap)];
        let protocol = match table.get("protocol") {
            Some(value) => value.word(&words),
            None => provider.and_then(Profile::usual_protocol).or_else(|| {
                table.missing("protocol", "protocol = \"pop3\" or protocol = \"imap\"");
                None
            }),
        };
        let server = provider.zip(protocol).and_then(|(profile, protocol)| profile.server(protocol));
        if let (Some(profile), Some(protocol), None, false) = (provider, protocol, server, table.has("host")) {
            let mark = table.key_mark("protocol").unwrap_or_else(|| table.mark());
            mark.wrong(format!("{} has no {} server that is known here; give host, or the other protocol", profile.name, protocol.name()));
        }
        let endpoint = match protocol {
            Some(protocol) if server.is_some() || table.has("host") || !table.has("provider") => {
                Endpoint::read(table, &protocol.defaults(server.map(|server| &server.endpoint)))
            }
            _ => Endpoint::skip(table),
        };
        let username = table.require("username", "username = \"office@isp.example\"").and_then(|value| value.parse(not_empty));
        let address = match table.get("address") {
            Some(value) => value.address(),
            None => username.as_deref().filter(|name| name.contains('@')).and_then(|name| Address::parse(name).ok()),
        };
        if !table.has("password") && !table.has("oauth2") && !table.has("auth") {
            table.missing("password", "password = { file = \"isp.pass\" }");
        }
        let auth = Auth::read(table);
        let minimum_interval = server.map_or(Duration::ZERO, |server| server.minimum_interval);
        let pop3 = protocol == Some(Protocol::Pop3);
        let target = |value: &Value<'_>, reading: &mut Reading| Target::read_each(value, &mut |target, mark| reading.mention(target, mark));
        let deliver = match table.get("deliver") {
            Some(value) if value.as_text() == Some("mapped") => Some(Deliver::Mapped),
            Some(value) => target(&value, reading).map(Deliver::To),
            None => Some(Deliver::Mapped),
        };
        let unclaimed = match table.get("unclaimed") {
            Some(value) => target(&value, reading),
            None => Some(Target::Hold),
        };
        let folders = folders(table, pop3);
        let sent = sent(table, protocol, address.as_ref(), &folders, provider);
        let fetched: Vec<String> = folders.iter().map(|(name, _)| name.clone()).collect();
        if let (Some(mark), Some(Deliver::To(_))) = (table.key_mark("unclaimed"), &deliver) {
            mark.warn("\"unclaimed\" does nothing here: \"deliver\" takes all of this mailbox", None);
        }
        let collector = Self {
            enabled: table.boolean("enabled").is_none_or(|f| f.value),
            provider: provider.map(|profile| profile.id.clone()),
            protocol: protocol.unwrap_or(Protocol::Pop3),
            address,
            schedule: schedules(table, minimum_interval),
            minimum_interval,
            idle: idle(table, pop3),
            folders,
            sent,
            after: after(table, pop3, &fetched).unwrap_or(After::Keep),
            envelope: table.get("envelope").and_then(|value| EnvelopeHabit::read(value.table()?)),
            habits: provider.map_or_else(Vec::new, |profile| profile.habits.clone()),
            domains: narrower(table, domains),
            max_size: table.size("max_size").map_or(100_000_000, |f| f.value),
            start: start(table),
            partial_listing: provider.is_some_and(|profile| profile.partial_listing),
            line: table.place().line,
            name: name?,
            endpoint: endpoint?,
            username: username?,
            auth: auth?,
            deliver: deliver?,
            unclaimed: unclaimed?,
        };
        Some(collector)
    }

    /// The name that the server is told: with OAuth it may be a shared mailbox, opened by who consented.
    pub fn log_in_as(&self) -> &str {
        self.auth.log_in_as(&self.username)
    }
}

impl Protocol {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Pop3 => "POP3",
            Protocol::Imap => "IMAP",
        }
    }

    /// Its port: RFC 1939 and RFC 9051, or RFC 8314 for TLS from the first byte.
    pub fn port(self, tls: Tls) -> u16 {
        match (self, tls) {
            (Protocol::Pop3, Tls::Implicit) => 995,
            (Protocol::Pop3, _) => 110,
            (Protocol::Imap, Tls::Implicit) => 993,
            (Protocol::Imap, _) => 143,
        }
    }

    fn defaults(self, endpoint: Option<&Endpoint>) -> Defaults<'_> {
        // The usual plain port without a word about TLS can only mean STARTTLS.
        let tls = |port| if matches!(port, Some(110 | 143)) { Tls::Starttls } else { Tls::Implicit };
        match self {
            Protocol::Pop3 => Defaults { endpoint, tls, port: |tls| Protocol::Pop3.port(tls), example: "pop.isp.example" },
            Protocol::Imap => Defaults { endpoint, tls, port: |tls| Protocol::Imap.port(tls), example: "imap.isp.example" },
        }
    }
}

impl EnvelopeHabit {
    /// Reads header, anchor, strip_prefix and skip.
    pub(super) fn read(table: Table<'_>) -> Option<Self> {
        let name = |text: &str| {
            let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
            if valid { Ok(text.to_owned()) } else { Err(format!("\"{text}\" is no header; write its name without the colon")) }
        };
        let header = table.require("header", "header = \"Envelope-To\"").and_then(|value| value.parse(name));
        let anchors = [("top", Anchor::Top), ("run", Anchor::Run), ("last", Anchor::Last)];
        let habit = Self {
            anchor: table.word("anchor", &anchors).map_or(Anchor::Top, |f| f.value),
            strip_prefix: table.text("strip_prefix").map_or_else(String::new, |f| f.value.to_owned()),
            skip: table.integer("skip", 0..=50).and_then(|f| usize::try_from(f.value).ok()).unwrap_or(0),
            header: header?,
        };
        table.finish();
        Some(habit)
    }
}

pub(super) fn not_empty(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("this is empty".to_owned()),
        _ if text.contains(char::is_control) => Err("there is a control character in this".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn schedules(table: &Table<'_>, minimum: Duration) -> Vec<Schedule> {
    let Some(values) = table.one_or_more("schedule") else { return vec![Schedule::Every(FIVE_MINUTES.max(minimum))] };
    let read = |value: &Value<'_>| {
        let schedule = value.parse(Schedule::parse)?;
        if let Schedule::Every(interval) = schedule
            && interval < minimum
        {
            let minimum = crate::document::duration_text(minimum);
            value.mark().warn(format!("this provider wants at least {minimum} between two log-ins, so that is what it gets"), None);
        }
        Some(schedule)
    };
    if values.is_empty() {
        table.mark().wrong_with("\"schedule\" is an empty list", "leave it out for every 5 minutes, or write enabled = false");
    }
    values.iter().filter_map(read).collect()
}

fn idle(table: &Table<'_>, pop3: bool) -> bool {
    let idle = table.boolean("idle");
    if let Some(found) = idle.filter(|found| pop3 && found.value) {
        found.mark.wrong_with("POP3 has no IDLE", "leave it out, or use protocol = \"imap\"");
    }
    !pop3 && idle.is_none_or(|found| found.value)
}

fn folders(table: &Table<'_>, pop3: bool) -> Vec<(String, Option<String>)> {
    let Some(value) = table.get("folders") else { return vec![("INBOX".to_owned(), None)] };
    if pop3 {
        value.mark().wrong_with("POP3 knows no folders", "leave it out, or use protocol = \"imap\"");
    }
    let folders: Vec<(String, Option<String>)> = match value.as_table() {
        Some(table) => {
            let entries = table.entries();
            let entry = |(upstream, local): &(crate::document::Found<'_, &str>, Value<'_>)| {
                Some((upstream.value.to_owned(), Some(local.parse(not_empty)?)))
            };
            entries.iter().filter_map(entry).collect()
        }
        None => value.one_or_more().iter().filter_map(|folder| Some((folder.parse(not_empty)?, None))).collect(),
    };
    if folders.is_empty() {
        value.mark().wrong_with("\"folders\" names no folder", "write folders = [\"INBOX\"], or leave it out");
    }
    folders
}

fn sent(
    table: &Table<'_>,
    protocol: Option<Protocol>,
    address: Option<&Address>,
    fetched: &[(String, Option<String>)],
    provider: Option<&Profile>,
) -> Option<String> {
    let value = table.get("sent")?;
    let folder = value.parse(not_empty)?;
    let mark = value.mark();
    if protocol == Some(Protocol::Pop3) {
        mark.wrong_with("POP3 puts nothing into a mailbox", "leave it out, or use protocol = \"imap\"");
    }
    if fetched.iter().any(|(name, _)| name.eq_ignore_ascii_case(&folder)) {
        mark.wrong_with(
            format!("\"{folder}\" is fetched too, so every copy would come back as new mail"),
            "take it out of folders, or name another one",
        );
    }
    if address.is_none() {
        mark.wrong_with("nobody can send as this mailbox: it has no address", "add address = \"office@isp.example\"");
    }
    if let Some(profile) = provider.filter(|profile| profile.keeps_sent) {
        mark.warn(format!("{} keeps what is sent through it by itself: with this, there are two copies", profile.name), None);
    }
    Some(folder)
}

fn after(table: &Table<'_>, pop3: bool, fetched: &[String]) -> Option<After> {
    let Some(value) = table.get("after") else { return Some(if pop3 { After::Age(WEEK) } else { After::Keep }) };
    let imap_only = |after: After| {
        if pop3 {
            value.mark().wrong_with("this works with IMAP only", "for POP3 write \"delete\", \"keep\" or an age such as \"7d\"");
            return None;
        }
        Some(after)
    };
    if let Some(table) = value.as_table() {
        let given = table.require("move", "move = \"Done\"");
        let folder = given.as_ref().and_then(|value| value.parse(not_empty));
        table.finish();
        let folder = folder?;
        if let Some(value) = given.filter(|_| fetched.iter().any(|name| name.eq_ignore_ascii_case(&folder))) {
            value.mark().wrong_with(
                format!("\"{folder}\" is fetched too, so what is moved there would be fetched again"),
                "take it out of folders, or name another one",
            );
        }
        return imap_only(After::Move(folder));
    }
    match value.text()? {
        "delete" => Some(After::Delete),
        "keep" => Some(After::Keep),
        "seen" => imap_only(After::Seen),
        text => match crate::document::duration(text) {
            Ok(Duration::ZERO) => Some(After::Delete),
            Ok(age) => Some(After::Age(age)),
            Err(_) => {
                value.mark().wrong_with(
                    format!("\"{text}\" is not one of the things that can happen to a fetched mail"),
                    "write \"delete\", \"keep\", an age such as \"7d\"; with IMAP also \"seen\" or { move = \"Done\" }",
                );
                None
            }
        },
    }
}

fn start(table: &Table<'_>) -> Start {
    let Some(value) = table.get("start") else { return Start::All };
    let written = value.as_date().or_else(|| value.text());
    match written {
        Some("all") | None => Start::All,
        Some("new") => Start::New,
        Some(text) => match (crate::document::duration(text), text.parse::<jiff::civil::Date>()) {
            (Ok(age), _) => Start::Age(age),
            (_, Ok(date)) => Start::Date(date),
            _ => {
                value.mark().wrong_with(
                    format!("\"{text}\" does not say which mail to start with"),
                    "write \"all\", \"new\", an age such as \"3d\", or a date such as \"2026-01-31\"",
                );
                Start::All
            }
        },
    }
}

fn narrower(table: &Table<'_>, ours: &[Domain]) -> Vec<Domain> {
    let read = |value: &Value<'_>| {
        let domain = value.domain()?;
        if !ours.contains(&domain) {
            value.mark().wrong_with(format!("{domain} is none of this office's domains"), "add it to domains in [office] first");
        }
        Some(domain)
    };
    table.one_or_more("domains").unwrap_or_default().iter().filter_map(read).collect()
}
