//! `mailroom.toml`, read and checked whole: text in, a [`Config`] or a list of [`Problem`]s out.
//!
//! Keeps no state and starts nothing; what needs a user list or the network is checked by those who have them.

pub mod providers;
pub mod secret;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use secret::SecretSource;

use crate::address::{Address, Domain};
use crate::document::Problem;
use crate::mapping::Target;
use crate::schedule::Schedule;

/// The whole of `mailroom.toml`, checked, with every default filled in and every path absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// `[office]`
    pub office: Office,
    /// `[storage]`
    pub storage: Storage,
    /// `[listen]`
    pub listen: Listen,
    /// `[tls]`: certificate and key files; none: the local CA.
    pub tls: Option<TlsFiles>,
    /// `[access]`
    pub access: Access,
    /// `[log]`
    pub log: Log,
    /// `[[device]]`
    pub devices: Vec<Device>,
    /// `[[collector]]`
    pub collectors: Vec<Collector>,
    /// `[[smarthost]]`
    pub smarthosts: Vec<Smarthost>,
}

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
}

/// `[listen]`: an empty list is off.
#[derive(Debug, Clone, Default)]
pub struct Listen {
    /// POP3 with STLS.
    pub pop3: Vec<SocketAddr>,
    /// POP3 over TLS.
    pub pop3s: Vec<SocketAddr>,
    /// IMAP with STARTTLS.
    pub imap: Vec<SocketAddr>,
    /// IMAP over TLS.
    pub imaps: Vec<SocketAddr>,
    /// Submission with STARTTLS.
    pub submission: Vec<SocketAddr>,
    /// Submission over TLS.
    pub submissions: Vec<SocketAddr>,
    /// Port 25.
    pub smtp: Vec<SocketAddr>,
    /// Web page, metrics, client autoconfiguration.
    pub admin: Vec<SocketAddr>,
}

/// `[tls]`
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM, leaf first.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// `[access]`
#[derive(Debug, Clone)]
pub struct Access {
    /// Who may connect at all.
    pub clients: Vec<ipnet::IpNet>,
    /// Who may deliver to our addresses without log-in.
    pub inbound: Vec<ipnet::IpNet>,
    /// Who may log in without TLS.
    pub plaintext_login: Vec<ipnet::IpNet>,
    /// Over all listeners.
    pub max_connections: usize,
    /// Bytes, for submission and APPEND.
    pub max_message_size: u64,
    /// Failed log-ins from one address in ten minutes before it waits.
    pub login_failures: u32,
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

/// `[[device]]`: a scanner or machine that can't log in.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its name in traces.
    pub name: String,
    /// Where it connects from.
    pub address: Vec<ipnet::IpNet>,
    /// Whom its mail comes from.
    pub sender: DeviceSender,
    /// The user who gets its bounces.
    pub bounces: Option<String>,
    /// Only to local users.
    pub local_only: bool,
}

/// `send_as` or `user` of a device.
#[derive(Debug, Clone)]
pub enum DeviceSender {
    /// An address without a mailbox of its own.
    SendAs(Address),
    /// As this user.
    User(String),
}

/// How the connection to a server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// TLS from the first byte.
    Implicit,
    /// STARTTLS or STLS, mandatory.
    Starttls,
    /// None; only with `insecure = true`.
    None,
}

/// Host, port, protection and trust of one server at the ISP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Protection.
    pub tls: Tls,
    /// A PEM file with extra trust roots.
    pub ca: Option<PathBuf>,
    /// SHA-256 of the server's SPKI, instead of a chain to a root.
    pub pin: Option<[u8; 32]>,
}

/// `auth` and its material.
#[derive(Debug, Clone)]
pub enum Auth {
    /// The best password mechanism that the server offers.
    Password(SecretSource),
    /// XOAUTH2 or OAUTHBEARER; refused at load until it is built.
    OAuth2,
}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Above the topmost `Received`; the first instance counts.
    Top,
    /// Inside the provider's own run of `Received` lines.
    Run,
    /// Appended at the end of the header; the last instance counts.
    Last,
}

/// `envelope = {…}`: a provider's habit, or the one that a collector pins.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// The provider's shortest polite interval.
    pub minimum_interval: Duration,
    /// Hold IMAP IDLE.
    pub idle: bool,
    /// Upstream folder and the local folder that its mail goes to (`None`: as mapped, by default INBOX).
    pub folders: Vec<(String, Option<String>)>,
    /// What becomes of the upstream copy.
    pub after: After,
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
    /// Line of its `[[collector]]` in the file, from 1.
    pub line: usize,
}

/// `login` of a smarthost.
#[derive(Debug, Clone)]
pub enum SmarthostLogin {
    /// None: it knows us by our address.
    None,
    /// User name and how to log in.
    Own(String, Auth),
    /// Those of the sending identity's own collector.
    Collector,
}

/// `[[smarthost]]`
#[derive(Debug, Clone)]
pub struct Smarthost {
    /// Its name, unique.
    pub name: String,
    /// `enabled`
    pub enabled: bool,
    /// Server.
    pub endpoint: Endpoint,
    /// Log-in.
    pub login: SmarthostLogin,
    /// Addresses and patterns that it lets us send as; empty: any.
    pub senders: Vec<String>,
    /// At most this many mails in that time.
    pub rate: Option<(u32, Duration)>,
    /// Connections at once.
    pub connections: usize,
    /// Waits between attempts; the last one repeats.
    pub retry: Vec<Duration>,
    /// Then it bounces to the local sender.
    pub expire: Duration,
    /// Line of its `[[smarthost]]` in the file, from 1.
    pub line: usize,
}

/// What a load found: the configuration, and what to warn about.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Not errors, but worth a word.
    pub warnings: Vec<Problem>,
    /// Every file that was read, with its text: what "the last good configuration" consists of.
    pub files: BTreeMap<PathBuf, String>,
}

/// The configuration and the mapping that are in force together. Whoever works by it holds an `Arc` for one message or command and
/// takes the next one from the gateway's watch channel.
#[derive(Debug)]
pub struct Current {
    /// `mailroom.toml`
    pub config: Config,
    /// `mappings/*.toml`
    pub mapping: crate::mapping::Mapping,
}

/// Reads and checks the configuration. `files` holds the texts of `file` itself (`mailroom.toml`) and of every `mappings/*.toml` and
/// `mappings/providers/*.toml` beside it, by absolute path: [`crate::gateway::files`] gathers them from the disk, or from the store for
/// `run --last-good`. Of the mapping files only the paths matter here; they are compiled by [`crate::mapping::Mapping::load`].
pub fn parse(file: &std::path::Path, files: BTreeMap<PathBuf, String>) -> Result<Loaded, Vec<Problem>> {
    todo!("{file:?} {files:?}")
}
