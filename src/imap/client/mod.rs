//! The client for the ISP's side: RFC 3501 and RFC 9051 as far as collecting mail needs them, with ESEARCH, UIDPLUS, MOVE and IDLE; and
//! putting a message into a folder.
//!
//! Messages are asked for in sets ([`Client::retrieve`]) and come through [`Client::next`] and [`Client::piece`], a literal of any size in
//! pieces. A FETCH that ends in NO, BAD or not at all is a failure, never a short success. Every line, literal and wait is bounded.

mod append;
mod error;
mod login;
mod mailbox;
mod retrieve;

pub use append::Append;
pub use error::ClientError;
pub use mailbox::{News, Removed, Selected, Sizes, Survey};

use super::fetch_response::{self, Fetched, SetLimit};
use crate::config::{Endpoint, Tls};
use crate::wire::dial::{self, Patience, Phase};
use crate::wire::{Connection, Instant, LineEnd, Stream, WireError, redact};
use bytes::Bytes;
use retrieve::Body;
use std::collections::{HashSet, VecDeque};

/// A response line; ours are short, and what servers say unasked is too.
const MAX_LINE: usize = 64 * 1024;
/// A search result: ten digits for each message.
const MAX_SEARCH_LINE: usize = 8 * 1024 * 1024;
/// Messages in one folder that we can deal with; more is an attack.
const MAX_MESSAGES: usize = 700_000;
/// A literal that nobody asked for, and that is passed over.
const MAX_UNASKED_LITERAL: u64 = 1024 * 1024;
/// Untagged responses to one command that is not about messages, and those between two messages.
const MAX_UNTAGGED: usize = 10_000;
/// Messages that nobody asked for, or that came before, while others are waited for.
const MAX_UNASKED: usize = 1000;
/// Literals in one response that nobody asked for.
const MAX_LITERALS: usize = 100;
/// A set in one command; RFC 7162 §4 advises clients to stay below 8000 bytes for the line, and each message may bring a response.
const MAX_SET: SetLimit = SetLimit { bytes: 1000, messages: 1000 };
/// FETCH commands on their way at once.
const COMMANDS_AHEAD: usize = 2;

/// What comes of [`Client::retrieve`] and [`Client::headers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Bytes begin, of this UID if it was told already: call [`Client::piece`] until they have ended; then [`Client::ended`] says whose
    /// they were.
    Begins(Option<u32>),
    /// The server won't give this one, or it is no longer there.
    Refused(u32, String),
    /// All that one command asked for has been answered.
    InStep,
    /// [`Client::ask_to_remove`]: these are gone. None: they are only marked yet, or the server did not want to.
    Removed(Vec<u32>),
}

/// A session with an IMAP server.
pub struct Client {
    connection: Connection<Stream>,
    patience: Patience,
    capabilities: HashSet<String>,
    logged_in: bool,
    leaving: bool,
    tag: u32,
    listed: Vec<u32>,
    waiting: VecDeque<Ask>,
    sent: VecDeque<(String, Ask)>,
    refused: VecDeque<Answer>,
    body: Option<Body>,
    ended: Fetched,
    /// Since the last message that was asked for.
    unasked: usize,
    /// When the answer began that is waited for, and how many bytes had come before it.
    pace: (Instant, u64),
}

/// One command whose answer [`Client::next`] reads.
#[derive(Debug)]
struct Ask {
    command: String,
    about: About,
}

#[derive(Debug)]
enum About {
    /// These messages; those that came are taken out.
    Messages(Vec<u32>),
    /// The removal of these.
    Removal(Vec<u32>),
    /// The end of the session.
    Leave,
}

impl Client {
    /// Connects, reads the greeting, changes to TLS if the endpoint says so, asks for the capabilities.
    pub async fn connect(endpoint: &Endpoint, patience: Patience) -> Result<Self, ClientError> {
        let mut client = Self {
            connection: dial::open(endpoint, &patience).await?,
            patience,
            capabilities: HashSet::new(),
            logged_in: false,
            leaving: false,
            tag: 0,
            listed: Vec::new(),
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            refused: VecDeque::new(),
            body: None,
            ended: Fetched::default(),
            unasked: 0,
            pace: (Instant::now(), 0),
        };
        client.greeting(endpoint.tls).await?;
        if endpoint.tls == Tls::Starttls {
            client.command("STARTTLS", "STARTTLS", Phase::Tls, |_| Ok(())).await?;
            client.connection = dial::upgrade(client.connection, endpoint, &client.patience).await?;
            client.capabilities.clear();
        }
        if client.capabilities.is_empty() {
            client.read_capabilities().await?;
        }
        Ok(client)
    }

    /// When the server's certificate ends, in seconds since 1970.
    pub fn certificate_ends(&self) -> Option<i64> {
        self.connection.get_ref().certificate_ends()
    }

    /// Whether the server offers something.
    pub fn offers(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    /// Asks to end the session behind everything else.
    pub fn ask_to_log_out(&mut self) {
        self.waiting.push_back(Ask { command: "LOGOUT".into(), about: About::Leave });
    }

    /// Ends the connection after [`Client::ask_to_log_out`].
    pub async fn close(mut self) {
        self.connection.close(self.patience.deadline(Phase::Tls)).await;
    }

    /// Says goodbye. What was expunged stays so, whatever the answer.
    pub async fn log_out(mut self) {
        let tag = self.queue("LOGOUT");
        if self.flush(Phase::Tls).await.is_ok() {
            self.left(&tag).await;
        }
    }

    /// LOGOUT was said; whatever the answer, it is over.
    async fn left(&mut self, tag: &str) {
        self.leaving = true;
        if self.answer(tag, "LOGOUT", Phase::Tls, |_| Ok(())).await.is_ok() {
            self.connection.close(self.patience.deadline(Phase::Tls)).await;
        }
    }

    /// Sends a command and reads its answer; `each` sees the untagged responses.
    async fn command(
        &mut self,
        command: &str,
        what: &'static str,
        phase: Phase,
        each: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<Bytes, ClientError> {
        let tag = self.next_tag();
        self.say(&format!("{tag} {command}"), phase).await?;
        self.answer(&tag, what, phase, each).await
    }

    async fn answer(
        &mut self,
        tag: &str,
        what: &'static str,
        phase: Phase,
        each: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<Bytes, ClientError> {
        self.answer_of(tag, what, phase, MAX_UNTAGGED, each).await
    }

    /// The answer to a command, of at most so many lines.
    async fn answer_of(
        &mut self,
        tag: &str,
        what: &'static str,
        phase: Phase,
        max: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<Bytes, ClientError> {
        for _ in 0..max {
            let line = self.line(MAX_SEARCH_LINE, phase).await?;
            if let Some(rest) = line.strip_prefix(b"* ") {
                each(rest)?;
                self.unasked(rest).await?;
                continue;
            }
            let text = tagged(&line, tag)?;
            status(text, what)?;
            return Ok(line.slice_ref(text));
        }
        Err(ClientError::OutOfStep("endless responses".into()))
    }

    /// An untagged response that is not read as a message: BYE ends the session, literals are passed over.
    async fn unasked(&mut self, response: &[u8]) -> Result<(), ClientError> {
        let word = response.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        if word.eq_ignore_ascii_case(b"BYE") {
            return if self.leaving { Ok(()) } else { Err(ClientError::Bye(redact::shown(response[3..].trim_ascii()))) };
        }
        if [&b"OK"[..], b"NO", b"BAD", b"PREAUTH"].iter().any(|status| word.eq_ignore_ascii_case(status)) {
            return Ok(());
        }
        let mut literal = fetch_response::trailing_literal(response);
        for _ in 0..MAX_LITERALS {
            let Some(length) = literal else { return Ok(()) };
            self.skip(length).await?;
            literal = fetch_response::trailing_literal(&self.line(MAX_LINE, Phase::Command).await?);
        }
        Err(ClientError::OutOfStep("endless literals".into()))
    }

    async fn skip(&mut self, length: u64) -> Result<(), ClientError> {
        if length > MAX_UNASKED_LITERAL {
            return Err(ClientError::OutOfStep(format!("a literal of {length} bytes that nobody asked for")));
        }
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        while left > 0 {
            let chunk = self.connection.chunk(left, self.deadline(Phase::Transfer)).await;
            left -= chunk.map_err(|source| ClientError::Wire { phase: Phase::Transfer, source })?.len();
        }
        Ok(())
    }

    fn next_tag(&mut self) -> String {
        self.tag += 1;
        format!("m{}", self.tag)
    }

    /// Puts a command into the next packet; its tag.
    fn queue(&mut self, command: &str) -> String {
        let tag = self.next_tag();
        self.connection.queue(format!("{tag} {command}\r\n").as_bytes());
        tag
    }

    async fn say(&mut self, line: &str, phase: Phase) -> Result<(), ClientError> {
        self.connection.queue(line.as_bytes());
        self.connection.queue(b"\r\n");
        self.flush(phase).await
    }

    async fn flush(&mut self, phase: Phase) -> Result<(), ClientError> {
        self.begin_answer();
        let deadline = self.patience.deadline(phase);
        self.connection.flush(deadline).await.map_err(|source| ClientError::Wire { phase, source })
    }

    /// What comes from now on is one answer, and has one deadline.
    fn begin_answer(&mut self) {
        self.pace = (Instant::now(), self.connection.received());
    }

    fn deadline(&self, phase: Phase) -> Instant {
        let (began, before) = self.pace;
        self.patience.answer_deadline(phase, began, self.connection.received().saturating_sub(before))
    }

    async fn line(&mut self, max: usize, phase: Phase) -> Result<Bytes, ClientError> {
        let deadline = self.deadline(phase);
        match self.connection.line(max, LineEnd::Tolerant, deadline).await {
            Err(WireError::LineTooLong(max)) => Err(ClientError::OutOfStep(format!("a line of more than {max} bytes"))),
            other => other.map_err(|source| ClientError::Wire { phase, source }),
        }
    }
}

/// The text behind `n FETCH `.
fn fetch_text(response: &[u8]) -> Option<&[u8]> {
    let space = memchr::memchr(b' ', response)?;
    let (number, rest) = response.split_at(space);
    let rest = rest.trim_ascii_start();
    let fetch = number.iter().all(u8::is_ascii_digit) && rest.get(..6).is_some_and(|word| word.eq_ignore_ascii_case(b"FETCH "));
    fetch.then(|| &rest[6..])
}

/// Whether a line ends the command with this tag.
fn is_tagged(line: &[u8], tag: &str) -> bool {
    line.strip_prefix(tag.as_bytes()).is_some_and(|rest| rest.starts_with(b" "))
}

/// The text behind the tag that is expected now.
fn tagged<'a>(line: &'a [u8], tag: &str) -> Result<&'a [u8], ClientError> {
    line.strip_prefix(tag.as_bytes())
        .and_then(|rest| rest.strip_prefix(b" "))
        .ok_or_else(|| ClientError::OutOfStep(format!("“{}”", redact::shown(line))))
}

/// The text behind OK; NO and BAD are errors.
fn status<'a>(text: &'a [u8], what: &'static str) -> Result<&'a [u8], ClientError> {
    let (word, rest) = text.split_at(memchr::memchr(b' ', text).unwrap_or(text.len()));
    let rest = rest.trim_ascii_start();
    if word.eq_ignore_ascii_case(b"OK") {
        return Ok(rest);
    }
    if word.eq_ignore_ascii_case(b"NO") || word.eq_ignore_ascii_case(b"BAD") {
        let code = fetch_response::response_code(rest).map(|(code, _)| code).unwrap_or_default();
        return Err(ClientError::Refused { what, text: redact::shown(rest), code });
    }
    Err(ClientError::OutOfStep(format!("“{}”", redact::shown(text))))
}
