//! The client for the ISP's side: RFC 1939, CAPA (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034), pipelined where the server offers it.
//!
//! Requests are queued ([`Client::retrieve`], [`Client::header`], [`Client::delete`], [`Client::check`]) and answered in order by
//! [`Client::next`]; a message's bytes then come in pieces. How many requests are on their way at once is the client's business: a window
//! of messages and bytes if the server pipelines, one otherwise. What is done with a message, and which one is wanted, is not.

use crate::config::{Endpoint, Tls};
use crate::schedule::Failure;
use crate::wire::dial::{self, DialError, Patience, Phase};
use crate::wire::sasl::{self, Mechanism, SaslError};
use crate::wire::{Connection, Instant, LineEnd, Stream, WireError, dot, redact};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use std::collections::{HashMap, VecDeque};

/// RFC 2449 §4 says 512 for replies; servers that quote addresses or URLs exceed it.
const MAX_LINE: usize = 4096;
/// A real CAPA has about twenty lines.
const MAX_CAPABILITIES: usize = 200;
/// A listing of more messages is no mailbox but an attack; the rest is seen when these are gone.
const MAX_LISTED: usize = 500_000;
/// RFC 1939 §7 allows 70 characters; servers with longer ones exist.
const MAX_UIDL: usize = 512;
/// Requests on their way at once: their lines, and the short answers to them, fit into any socket's buffers.
const WINDOW: usize = 256;
/// Bytes of messages on their way at once, by what LIST announced.
const WINDOW_BYTES: u64 = 4_000_000;
/// Challenges of one log-in.
const MAX_CHALLENGES: usize = 8;

/// Why a session ended, or what it could not do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection failed.
    #[error("{phase}: {source}")]
    Wire {
        /// When.
        phase: Phase,
        /// How.
        source: WireError,
    },
    /// The server said no.
    #[error("{}; the server said: {text}", refusal.in_words(what))]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Its words.
        text: String,
        /// Their class.
        refusal: Refusal,
    },
    /// What came can't be the answer to what was asked: the session can't go on.
    #[error("the server's answers are out of step with our requests: “{0}”")]
    OutOfStep(String),
    /// The log-in conversation failed on our side.
    #[error("logging in: {0}")]
    Sasl(#[from] SaslError),
}

/// Why a server says no, as far as it tells (RFC 2449 §8, RFC 3206).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `[IN-USE]`: another session has the mailbox.
    InUse,
    /// `[LOGIN-DELAY]`: too soon after the last one.
    LoginDelay,
    /// `[AUTH]`: name or password are wrong.
    Auth,
    /// `[SYS/TEMP]`
    Temporary,
    /// `[SYS/PERM]`
    Permanent,
    /// It did not say.
    Unknown,
}

impl Refusal {
    fn in_words(self, what: &str) -> String {
        match self {
            Self::InUse => "the mailbox is in use by another session".into(),
            Self::LoginDelay => "the provider wants a longer pause between log-ins".into(),
            Self::Auth => "the server refused user name or password".into(),
            Self::Temporary => format!("the server can't do this now ({what})"),
            Self::Unknown if what == LOG_IN => "the server refused the log-in, perhaps because of the password".into(),
            Self::Permanent | Self::Unknown => format!("the server refused {what}"),
        }
    }
}

impl ClientError {
    /// What it means for the next attempt.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Dial(_) | Self::Wire { .. } | Self::OutOfStep(_) => Failure::Network,
            Self::Refused { refusal: Refusal::InUse | Refusal::Temporary | Refusal::Permanent, .. } => Failure::Temporary,
            Self::Refused { refusal: Refusal::LoginDelay, .. } => Failure::Throttled,
            Self::Refused { refusal: Refusal::Auth, .. } => Failure::LogIn,
            Self::Refused { what: LOG_IN, refusal: Refusal::Unknown, .. } => Failure::LogInPerhaps,
            Self::Refused { .. } => Failure::Temporary,
            Self::Sasl(SaslError::Refused) => Failure::LogIn,
            Self::Sasl(_) => Failure::Temporary,
        }
    }
}

/// [`ClientError::Refused::what`] of a log-in.
const LOG_IN: &str = "the log-in";

/// One message of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number; good for this session only.
    pub number: u32,
    /// As announced: a hint.
    pub size: u64,
    /// Its unique id, if the server has such.
    pub uidl: Option<String>,
}

/// What LIST and UIDL brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// By number.
    pub messages: Vec<Listed>,
    /// Lines that could not be read, and were passed over.
    pub malformed: usize,
}

/// The answer to the oldest request that has none yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A message or header begins: call [`Client::piece`] until it says that it has ended.
    Begins(u32),
    /// The server won't give it.
    Refused(u32, String),
    /// Marked for deletion.
    Deleted(u32),
    /// Not marked for deletion.
    NotDeleted(u32, String),
    /// [`Client::check`]: everything before this was well framed.
    InStep,
}

#[derive(Debug, Clone, Copy)]
enum Request {
    Retrieve { number: u32, size: u64 },
    Header(u32),
    Delete(u32),
    Check,
}

/// A session with a POP3 server.
pub struct Client {
    connection: Connection<Stream>,
    patience: Patience,
    capabilities: Capabilities,
    timestamp: Option<Bytes>,
    pipelining: bool,
    waiting: VecDeque<Request>,
    sent: VecDeque<Request>,
    sent_bytes: u64,
    body: Option<Body>,
    ended: Option<u32>,
}

struct Body {
    number: u32,
    unstuffer: dot::Unstuffer,
    started: Instant,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Capabilities(HashMap<String, Vec<String>>);

impl Capabilities {
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl Client {
    /// Connects, reads the greeting, changes to TLS if the endpoint says so, asks for the capabilities.
    pub async fn connect(endpoint: &Endpoint, patience: Patience) -> Result<Self, ClientError> {
        let mut client = Self {
            connection: dial::open(endpoint, &patience).await?,
            patience,
            capabilities: Capabilities::default(),
            timestamp: None,
            pipelining: false,
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            body: None,
            ended: None,
        };
        let greeting = client.status("the connection", Phase::Greeting).await?;
        client.timestamp = apop_timestamp(&greeting);
        if endpoint.tls == Tls::Starttls {
            client.ask("STLS", "STLS", Phase::Tls).await?;
            client.connection = dial::upgrade(client.connection, endpoint, &client.patience).await?;
        }
        client.read_capabilities().await?;
        Ok(client)
    }

    /// Logs in by the best way that is offered. `pipeline` allows several requests at once, if the server offers that.
    pub async fn log_in(&mut self, user: &str, password: &SecretString, pipeline: bool) -> Result<(), ClientError> {
        self.connection.hush(true);
        let result = self.authenticate(user, password).await;
        self.connection.hush(false);
        result?;
        self.read_capabilities().await?;
        self.pipelining = pipeline && self.capabilities.has("PIPELINING");
        Ok(())
    }

    /// Whether several requests are sent at once.
    pub fn pipelines(&self) -> bool {
        self.pipelining
    }

    /// Seconds that the server wants between log-ins (`LOGIN-DELAY`).
    pub fn login_delay(&self) -> Option<u64> {
        self.capabilities.0.get("LOGIN-DELAY")?.first()?.parse().ok()
    }

    /// LIST and UIDL. Lines that can't be read are counted and passed over. A server without UIDL gives messages without ids.
    pub async fn list(&mut self) -> Result<Listing, ClientError> {
        let mut listing = Listing::default();
        if self.pipelining {
            self.connection.queue(b"LIST\r\nUIDL\r\n");
            self.flush(Phase::Command).await?;
        } else {
            self.say("LIST", Phase::Command).await?;
        }
        self.status("LIST", Phase::Command).await?;
        let mut at = HashMap::new();
        self.lines(MAX_LISTED, |line| match scan_listing(line) {
            Some((number, size)) if !at.contains_key(&number) => {
                at.insert(number, listing.messages.len());
                listing.messages.push(Listed { number, size, uidl: None });
            }
            _ => listing.malformed += 1,
        })
        .await?;
        if !self.pipelining {
            self.say("UIDL", Phase::Command).await?;
        }
        match self.status("UIDL", Phase::Command).await.map_err(|error| self.doubt(error)) {
            Ok(_) => {
                let malformed = &mut listing.malformed;
                let messages = &mut listing.messages;
                self.lines(MAX_LISTED, |line| match scan_uidl(line) {
                    Some((number, uidl)) if at.contains_key(&number) => messages[at[&number]].uidl = Some(uidl),
                    _ => *malformed += 1,
                })
                .await?;
            }
            Err(ClientError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        listing.messages.sort_by_key(|message| message.number);
        Ok(listing)
    }

    /// Asks for a whole message. `size` is what the listing says.
    pub fn retrieve(&mut self, number: u32, size: u64) {
        self.waiting.push_back(Request::Retrieve { number, size: size.min(WINDOW_BYTES) });
    }

    /// Asks for a message's header (`TOP n 0`).
    pub fn header(&mut self, number: u32) {
        self.waiting.push_back(Request::Header(number));
    }

    /// Asks to mark a message for deletion, which takes place when the session ends with [`Client::quit`].
    pub fn delete(&mut self, number: u32) {
        self.waiting.push_back(Request::Delete(number));
    }

    /// Asks for nothing: its answer shows that the message before it ended where it seemed to.
    pub fn check(&mut self) {
        self.waiting.push_back(Request::Check);
    }

    /// How many requests have no answer yet.
    pub fn pending(&self) -> usize {
        self.waiting.len() + self.sent.len()
    }

    /// The next answer; `None` if nothing was asked.
    pub async fn next(&mut self) -> Result<Option<Answer>, ClientError> {
        while self.body.is_some() {
            self.piece(&mut Vec::new()).await?;
        }
        self.send_waiting().await?;
        let Some(request) = self.sent.front().copied() else { return Ok(None) };
        let status = self.status("a request", Phase::Command).await;
        let status = if self.sent.len() > 1 { status.map_err(|error| self.doubt(error)) } else { status };
        self.sent.pop_front();
        if let Request::Retrieve { size, .. } = request {
            self.sent_bytes -= size;
        }
        let refused = match status {
            Ok(_) => None,
            Err(ClientError::Refused { text, .. }) => Some(text),
            Err(error) => return Err(error),
        };
        Ok(Some(match (request, refused) {
            (Request::Retrieve { number, .. } | Request::Header(number), None) => {
                self.body = Some(Body { number, unstuffer: dot::Unstuffer::default(), started: Instant::now(), bytes: 0 });
                Answer::Begins(number)
            }
            (Request::Retrieve { number, .. } | Request::Header(number), Some(text)) => Answer::Refused(number, text),
            (Request::Delete(number), None) => Answer::Deleted(number),
            (Request::Delete(number), Some(text)) => Answer::NotDeleted(number, text),
            (Request::Check, _) => Answer::InStep,
        }))
    }

    /// Adds the next decoded bytes of the message that [`Answer::Begins`] announced to `to`; false when it has ended.
    pub async fn piece(&mut self, to: &mut Vec<u8>) -> Result<bool, ClientError> {
        let Some(body) = &mut self.body else { return Ok(false) };
        if self.connection.buffered().is_empty() {
            let deadline = self.patience.transfer_deadline(body.started, body.bytes);
            self.connection.fill(deadline).await.map_err(|source| ClientError::Wire { phase: Phase::Transfer, source })?;
        }
        let taken = body.unstuffer.feed(self.connection.buffered(), |bytes| to.extend_from_slice(bytes));
        body.bytes += taken as u64;
        let done = body.unstuffer.is_done();
        self.connection.consume(taken);
        if done {
            self.ended = Some(body.number);
            self.body = None;
        }
        Ok(!done)
    }

    /// Whose bytes ended last.
    pub fn ended(&self) -> Option<u32> {
        self.ended
    }

    /// Ends the session; the server deletes what was marked. False if it says that it did not.
    pub async fn quit(mut self) -> Result<bool, ClientError> {
        match self.ask("QUIT", "the end of the session", Phase::Command).await {
            Ok(_) => {
                self.connection.close(self.patience.deadline(Phase::Tls)).await;
                Ok(true)
            }
            Err(ClientError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn send_waiting(&mut self) -> Result<(), ClientError> {
        let limit = if self.pipelining { WINDOW } else { 1 };
        let before = self.sent.len();
        // Refilled when half empty: one packet for many requests.
        if before > limit / 2 {
            return Ok(());
        }
        while let Some(request) = self.waiting.front().copied()
            && self.sent.len() < limit
            && (self.sent_bytes < WINDOW_BYTES || self.sent.is_empty())
        {
            self.waiting.pop_front();
            let line = match request {
                Request::Retrieve { number, size } => {
                    self.sent_bytes += size;
                    format!("RETR {number}\r\n")
                }
                Request::Header(number) => format!("TOP {number} 0\r\n"),
                Request::Delete(number) => format!("DELE {number}\r\n"),
                Request::Check => "NOOP\r\n".into(),
            };
            self.connection.queue(line.as_bytes());
            self.sent.push_back(request);
        }
        if self.sent.len() > before { self.flush(Phase::Command).await } else { Ok(()) }
    }

    async fn authenticate(&mut self, user: &str, password: &SecretString) -> Result<(), ClientError> {
        let offered = self.capabilities.0.get("SASL").cloned().unwrap_or_default();
        for mechanism in Mechanism::among(offered.iter().map(String::as_str)) {
            if matches!(mechanism, Mechanism::Plain | Mechanism::Login) && self.timestamp.is_some() {
                break;
            }
            if self.sasl(mechanism, user, password).await? {
                return Ok(());
            }
        }
        if let Some(timestamp) = self.timestamp.clone() {
            let digest = sasl::apop(&timestamp, password);
            match self.ask(&format!("APOP {} {digest}", plain(user)?), LOG_IN, Phase::Login).await {
                // Servers show a timestamp and have no APOP, or not for this user.
                Err(ClientError::Refused { refusal: Refusal::Unknown, .. }) => {}
                other => return other.map(|_| ()),
            }
        }
        let user_is_hidden = !self.capabilities.0.is_empty() && !self.capabilities.has("USER");
        if user_is_hidden {
            for mechanism in Mechanism::among(offered.iter().map(String::as_str)).into_iter().filter(|m| *m >= Mechanism::Plain) {
                if self.sasl(mechanism, user, password).await? {
                    return Ok(());
                }
            }
        }
        self.ask(&format!("USER {}", plain(user)?), LOG_IN, Phase::Login).await?;
        self.ask(&format!("PASS {}", plain(password.expose_secret())?), LOG_IN, Phase::Login).await?;
        Ok(())
    }

    /// False: the server does not do this mechanism after all, and has seen no password.
    async fn sasl(&mut self, mechanism: Mechanism, user: &str, password: &SecretString) -> Result<bool, ClientError> {
        let mut nonce = [0; 18];
        getrandom::fill(&mut nonce).map_err(|_| SaslError::Malformed("this machine has no random numbers"))?;
        let mut client = sasl::Client::new(mechanism, user, password.clone(), &nonce);
        self.say(&format!("AUTH {}", mechanism.name()), Phase::Login).await?;
        for round in 0..MAX_CHALLENGES {
            let line = self.line(Phase::Login).await?;
            if let Some(challenge) = line.strip_prefix(b"+ ").or_else(|| (line == b"+"[..]).then_some(&b""[..])) {
                let challenge = STANDARD.decode(challenge).map_err(|_| SaslError::Malformed("a challenge is not in Base64"))?;
                let answer = match client.initial().filter(|_| round == 0 && challenge.is_empty()) {
                    Some(initial) => initial,
                    None => client.answer(&challenge)?,
                };
                self.say(&STANDARD.encode(answer), Phase::Login).await?;
                continue;
            }
            return match status_of(&line, LOG_IN) {
                Ok(_) => {
                    client.finish()?;
                    Ok(true)
                }
                Err(ClientError::Refused { refusal: Refusal::Unknown, .. }) if round == 0 => Ok(false),
                Err(error) => Err(error),
            };
        }
        Err(SaslError::Malformed("too many challenges").into())
    }

    async fn read_capabilities(&mut self) -> Result<(), ClientError> {
        let mut found = HashMap::new();
        match self.ask("CAPA", "CAPA", Phase::Command).await {
            Ok(_) => {
                self.lines(MAX_CAPABILITIES, |line| {
                    let line = String::from_utf8_lossy(line).to_ascii_uppercase();
                    let mut words = line.split_ascii_whitespace().map(str::to_owned);
                    if let Some(name) = words.next() {
                        found.insert(name, words.collect());
                    }
                })
                .await?;
            }
            // Older than RFC 2449.
            Err(ClientError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        self.capabilities = Capabilities(found);
        Ok(())
    }

    /// A multi-line answer that is a list of short lines.
    async fn lines(&mut self, max: usize, mut each: impl FnMut(&[u8])) -> Result<(), ClientError> {
        let mut count = 0;
        loop {
            let line = self.line(Phase::Command).await?;
            if line == b"."[..] {
                return Ok(());
            }
            count += 1;
            if count > max {
                return Err(ClientError::OutOfStep(format!("more than {max} lines")));
            }
            each(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    /// Silence after several requests at once may mean that the server has lost all but the first, whatever it claims to offer.
    fn doubt(&self, error: ClientError) -> ClientError {
        match error {
            ClientError::Wire { source: WireError::TimedOut, .. } if self.pipelining => {
                ClientError::OutOfStep("no answer to requests that were sent together".into())
            }
            error => error,
        }
    }

    async fn ask(&mut self, command: &str, what: &'static str, phase: Phase) -> Result<Bytes, ClientError> {
        self.say(command, phase).await?;
        self.status(what, phase).await
    }

    async fn say(&mut self, command: &str, phase: Phase) -> Result<(), ClientError> {
        self.connection.queue(command.as_bytes());
        self.connection.queue(b"\r\n");
        self.flush(phase).await
    }

    async fn flush(&mut self, phase: Phase) -> Result<(), ClientError> {
        self.connection.flush(self.patience.deadline(phase)).await.map_err(|source| ClientError::Wire { phase, source })
    }

    async fn status(&mut self, what: &'static str, phase: Phase) -> Result<Bytes, ClientError> {
        let line = self.line(phase).await?;
        status_of(&line, what)?;
        Ok(line)
    }

    async fn line(&mut self, phase: Phase) -> Result<Bytes, ClientError> {
        let deadline = self.patience.deadline(phase);
        match self.connection.line(MAX_LINE, LineEnd::Tolerant, deadline).await {
            Err(WireError::LineTooLong(max)) => Err(ClientError::OutOfStep(format!("a line of more than {max} bytes"))),
            other => other.map_err(|source| ClientError::Wire { phase, source }),
        }
    }
}

/// `+OK` or `-ERR` (RFC 1939 §3), in any case.
fn status_of(line: &[u8], what: &'static str) -> Result<(), ClientError> {
    let begins = |word: &[u8]| {
        line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
            && line.get(word.len()).is_none_or(|next| next.is_ascii_whitespace())
    };
    if begins(b"+OK") {
        return Ok(());
    }
    if begins(b"-ERR") {
        let text = line[4..].trim_ascii();
        return Err(ClientError::Refused { what, text: redact::shown(text), refusal: refusal(text) });
    }
    Err(ClientError::OutOfStep(redact::shown(line)))
}

fn refusal(text: &[u8]) -> Refusal {
    let code = text.strip_prefix(b"[").and_then(|rest| rest.split(|b| *b == b']').next()).unwrap_or_default();
    let code = String::from_utf8_lossy(code).to_ascii_uppercase();
    match code.as_str() {
        "IN-USE" => Refusal::InUse,
        "LOGIN-DELAY" => Refusal::LoginDelay,
        "AUTH" => Refusal::Auth,
        "SYS/PERM" => Refusal::Permanent,
        code if code == "SYS/TEMP" || code.starts_with("SYS/") => Refusal::Temporary,
        _ => Refusal::Unknown,
    }
}

/// The msg-id in a greeting (RFC 1939 §7).
fn apop_timestamp(greeting: &Bytes) -> Option<Bytes> {
    let start = memchr::memchr(b'<', greeting)?;
    let end = start + memchr::memchr(b'>', &greeting[start..])?;
    let inside = &greeting[start + 1..end];
    (inside.contains(&b'@') && inside.iter().all(u8::is_ascii_graphic)).then(|| greeting.slice(start..=end))
}

/// `n size`, whatever follows.
fn scan_listing(line: &[u8]) -> Option<(u32, u64)> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let number = words.next()?.parse().ok().filter(|number| *number > 0)?;
    Some((number, words.next()?.parse().ok()?))
}

/// `n unique-id`. Ids with spaces or beyond ASCII exist; they are taken as they are.
fn scan_uidl(line: &[u8]) -> Option<(u32, String)> {
    let space = line.iter().position(u8::is_ascii_whitespace)?;
    let number = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    let uidl = line[space..].trim_ascii();
    (!uidl.is_empty() && uidl.len() <= MAX_UIDL).then(|| (number, String::from_utf8_lossy(uidl).into_owned()))
}

/// A name or password that would end the line could say a command of its own.
fn plain(text: &str) -> Result<&str, ClientError> {
    if text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Err(SaslError::Malformed("user name or password contain a line break").into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_lines() {
        for (line, expected) in [
            ("1 120", Some((1, 120))),
            ("2  200 octets", Some((2, 200))),
            ("0 5", None),
            ("x 5", None),
            ("3", None),
            ("3 -1", None),
            ("", None),
            ("4294967296 1", None),
        ] {
            assert_eq!(scan_listing(line.as_bytes()), expected, "{line}");
        }
        for (line, expected) in [
            ("1 abc", Some((1, "abc"))),
            ("2 a b", Some((2, "a b"))),
            ("3 ", None),
            ("3", None),
            ("x y", None),
            ("5 \u{e4}", Some((5, "ä"))),
        ] {
            assert_eq!(scan_uidl(line.as_bytes()), expected.map(|(n, u)| (n, u.to_owned())), "{line}");
        }
        assert_eq!(scan_uidl(format!("1 {}", "x".repeat(MAX_UIDL + 1)).as_bytes()), None);
    }

    #[test]
    fn status_lines() {
        for (line, expected) in [
            ("-ERR [IN-USE] locked", Refusal::InUse),
            ("-err [login-delay] slow down", Refusal::LoginDelay),
            ("-ERR [AUTH] no", Refusal::Auth),
            ("-ERR [SYS/TEMP] later", Refusal::Temporary),
            ("-ERR no", Refusal::Unknown),
            ("-ERR", Refusal::Unknown),
        ] {
            assert!(
                matches!(status_of(line.as_bytes(), LOG_IN), Err(ClientError::Refused { refusal, .. }) if refusal == expected),
                "{line}"
            );
        }
        assert!(status_of(b"+ok", LOG_IN).is_ok());
        for line in ["", "OK", "+OKAY", "Subject: x", "* OK", "."] {
            assert!(matches!(status_of(line.as_bytes(), LOG_IN), Err(ClientError::OutOfStep(_))), "{line}");
        }
    }

    #[test]
    fn timestamps() {
        let check = |greeting: &'static str| apop_timestamp(&Bytes::from_static(greeting.as_bytes()));
        assert_eq!(check("+OK ready <1.2@x>"), Some(Bytes::from_static(b"<1.2@x>")));
        for none in ["+OK ready", "+OK <no at>", "+OK <a@b", "+OK >a@b<", "+OK <a b@c>"] {
            assert_eq!(check(none), None, "{none}");
        }
    }
}
