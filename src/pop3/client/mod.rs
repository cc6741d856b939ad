//! The client for the ISP's side: RFC 1939, CAPA (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034), pipelined where the server offers it.
//!
//! Requests are queued ([`Client::retrieve`], [`Client::header`], [`Client::delete`], [`Client::check`]) and answered in order by
//! [`Client::next`]; a message's bytes then come in pieces. How many requests are on their way at once is the client's business: a window
//! of messages and bytes if the server pipelines, one otherwise. What is done with a message, and which one is wanted, is not.
//!
//! A whole session with a server that pipelines waits for the line six times: TCP, TLS, greeting and CAPA, log-in and listing, messages,
//! deletions and QUIT.

mod error;
mod listing;
mod login;

use crate::config::{Endpoint, Tls};
use crate::wire::dial::{self, Patience, Phase};
use crate::wire::sasl::Secret;
use crate::wire::{Connection, Instant, LineEnd, Stream, WireError, dot, redact};
use bytes::Bytes;
use error::status_of;
use std::collections::{HashMap, VecDeque};

pub use error::{ClientError, Refusal};
pub use listing::{Listed, Listing};

/// RFC 2449 §4 says 512 for replies; servers that quote addresses or URLs exceed it.
const MAX_LINE: usize = 4096;
/// A real CAPA has about twenty lines.
const MAX_CAPABILITIES: usize = 200;
/// Requests on their way at once: their lines, and the short answers to them, fit into any socket's buffers.
const WINDOW: usize = 256;
/// Bytes of messages on their way at once, by what LIST announced.
const WINDOW_BYTES: u64 = 4_000_000;
/// Said together with the last word of a log-in to a server that pipelines. STAT's answer looks like no other: in its place, it shows that
/// those before it belong where they came.
const AHEAD: &[u8] = b"CAPA\r\nLIST\r\nUIDL\r\nSTAT\r\n";

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
    /// [`Client::leave`]: the session has ended; false if the server did not delete what was marked.
    Left(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Retrieve { number: u32, size: u64 },
    Header(u32),
    Delete(u32),
    Check,
    Leave,
}

/// A session with a POP3 server.
pub struct Client {
    connection: Connection<Stream>,
    patience: Patience,
    capabilities: Capabilities,
    timestamp: Option<Bytes>,
    pipelining: bool,
    /// We may, if it offers that: before the log-in, or only behind it.
    may_pipeline: bool,
    /// [`AHEAD`] is on its way, or what is left of it.
    ahead: bool,
    /// It is not known yet that the server has no TOP.
    top: bool,
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
    /// Connects, reads the greeting, changes to TLS if the endpoint says so, asks for the capabilities. `pipeline` allows several requests at
    /// once, as far as the server offers that.
    pub async fn connect(endpoint: &Endpoint, patience: Patience, pipeline: bool) -> Result<Self, ClientError> {
        // Outside TLS, what is there before the greeting has been read may be anybody's.
        if pipeline && endpoint.tls == Tls::Implicit {
            match Self::greet(endpoint, patience, true, true).await {
                // Perhaps a server that wants to speak first.
                Err(ClientError::Wire { phase: Phase::Greeting | Phase::Command, source: WireError::Closed | WireError::Io(_) }) => {}
                other => return other,
            }
        }
        Self::greet(endpoint, patience, pipeline, false).await
    }

    /// `hasty`: asks for the capabilities before the greeting has come.
    async fn greet(endpoint: &Endpoint, patience: Patience, pipeline: bool, hasty: bool) -> Result<Self, ClientError> {
        let mut client = Self {
            connection: dial::open(endpoint, &patience).await?,
            patience,
            capabilities: Capabilities::default(),
            timestamp: None,
            pipelining: false,
            may_pipeline: false,
            ahead: false,
            top: true,
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            body: None,
            ended: None,
        };
        if hasty {
            client.say("CAPA", Phase::Greeting).await?;
        }
        let greeting = client.status(error::CONNECTION, Phase::Greeting).await?;
        client.timestamp = login::apop_timestamp(&greeting);
        if endpoint.tls == Tls::Starttls {
            client.ask("STLS", "STLS", Phase::Tls).await?;
            client.connection = dial::upgrade(client.connection, endpoint, &client.patience).await?;
        }
        client.pipelining = hasty;
        if !hasty {
            client.say("CAPA", Phase::Command).await?;
        }
        client.read_capabilities().await?;
        client.may_pipeline = pipeline;
        client.pipelining = pipeline && client.capabilities.has("PIPELINING");
        Ok(client)
    }

    /// Logs in by the best way that is offered.
    pub async fn log_in(&mut self, user: &str, secret: &Secret) -> Result<(), ClientError> {
        self.connection.hush(true);
        let result = match secret {
            Secret::Password(password) => self.authenticate(user, password).await,
            Secret::Token(token) => self.present(user, token).await,
        };
        self.connection.hush(false);
        result?;
        if !self.ahead {
            self.say("CAPA", Phase::Command).await?;
        }
        self.read_capabilities().await?;
        self.pipelining = self.may_pipeline && self.capabilities.has("PIPELINING");
        Ok(())
    }

    /// When the server's certificate ends, in seconds since 1970.
    pub fn certificate_ends(&self) -> Option<i64> {
        self.connection.get_ref().certificate_ends()
    }

    /// Seconds that the server wants between log-ins (`LOGIN-DELAY`).
    pub fn login_delay(&self) -> Option<u64> {
        self.capabilities.0.get("LOGIN-DELAY")?.first()?.parse().ok()
    }

    /// Asks for a whole message. `size` is what the listing says.
    pub fn retrieve(&mut self, number: u32, size: u64) {
        self.waiting.push_back(Request::Retrieve { number, size: size.min(WINDOW_BYTES) });
    }

    /// Asks for a message's header (`TOP n 0`).
    pub fn header(&mut self, number: u32) {
        self.waiting.push_back(Request::Header(number));
    }

    /// Whether headers can be asked for, as far as is known.
    pub fn offers_top(&self) -> bool {
        self.top && (self.capabilities.0.is_empty() || self.capabilities.has("TOP"))
    }

    /// The server gives no headers, whatever it claims.
    pub fn distrust_top(&mut self) {
        self.top = false;
    }

    /// Asks to mark a message for deletion, which takes place when the session ends with [`Client::leave`].
    pub fn delete(&mut self, number: u32) {
        self.waiting.push_back(Request::Delete(number));
    }

    /// Asks for nothing new: its answer shows that the message before it ended where it seemed to, and that no answer came twice. STAT
    /// rather than NOOP, since its answer looks like no other (RFC 1939 §5).
    pub fn check(&mut self) {
        self.waiting.push_back(Request::Check);
    }

    /// Asks to end the session behind everything else; the server deletes what was marked then.
    pub fn leave(&mut self) {
        self.waiting.push_back(Request::Leave);
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
            Ok(line) if request == Request::Check && !listing::is_drop_listing(&line) => {
                return Err(ClientError::OutOfStep(redact::shown(&line)));
            }
            Ok(_) => None,
            Err(ClientError::Refused { text, .. }) if request == Request::Check && self.pipelining => {
                return Err(ClientError::OutOfStep(text));
            }
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
            (Request::Leave, refused) => Answer::Left(refused.is_none()),
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

    /// Ends the connection after [`Answer::Left`].
    pub async fn close(mut self) {
        self.connection.close(self.patience.deadline(Phase::Tls)).await;
    }

    async fn send_waiting(&mut self) -> Result<(), ClientError> {
        let limit = if self.pipelining { WINDOW } else { 1 };
        let before = self.sent.len();
        if before == 0 && !self.waiting.is_empty() {
            self.expect_silence()?;
        }
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
                Request::Check => "STAT\r\n".into(),
                Request::Leave => "QUIT\r\n".into(),
            };
            self.connection.queue(line.as_bytes());
            self.sent.push_back(request);
        }
        if self.sent.len() > before { self.flush(Phase::Command).await } else { Ok(()) }
    }

    /// The answer to CAPA.
    async fn read_capabilities(&mut self) -> Result<(), ClientError> {
        let mut found = HashMap::new();
        match self.status("CAPA", Phase::Command).await.map_err(|error| self.doubt(error)) {
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

    /// A multi-line answer that is a list of short lines. All of it has a deadline.
    async fn lines(&mut self, max: usize, mut each: impl FnMut(&[u8])) -> Result<(), ClientError> {
        let (began, before) = (Instant::now(), self.connection.received());
        let mut count = 0;
        loop {
            let deadline = self.patience.answer_deadline(Phase::Command, began, self.connection.received() - before);
            let line = self.line_until(Phase::Command, deadline).await?;
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
        self.expect_silence()?;
        self.connection.queue(command.as_bytes());
        self.connection.queue(b"\r\n");
        self.flush(phase).await
    }

    /// What is here before anything was asked would be taken for the next answer.
    fn expect_silence(&self) -> Result<(), ClientError> {
        let early = self.connection.buffered();
        if early.is_empty() { Ok(()) } else { Err(ClientError::OutOfStep(redact::shown(early))) }
    }

    async fn flush(&mut self, phase: Phase) -> Result<(), ClientError> {
        self.connection.flush(self.patience.deadline(phase)).await.map_err(|source| ClientError::Wire { phase, source })
    }

    async fn status(&mut self, what: &'static str, phase: Phase) -> Result<Bytes, ClientError> {
        let line = self.line(phase).await?;
        // A bare CR inside: the LF behind it has come as something else, and what seems to be one line is two. The second may be a message's first.
        if line.trim_ascii_end().contains(&b'\r') {
            return Err(ClientError::OutOfStep(redact::shown(&line)));
        }
        status_of(&line, what)?;
        Ok(line)
    }

    async fn line(&mut self, phase: Phase) -> Result<Bytes, ClientError> {
        self.line_until(phase, self.patience.deadline(phase)).await
    }

    async fn line_until(&mut self, phase: Phase, deadline: Instant) -> Result<Bytes, ClientError> {
        match self.connection.line(MAX_LINE, LineEnd::Tolerant, deadline).await {
            Err(WireError::LineTooLong(max)) => Err(ClientError::OutOfStep(format!("a line of more than {max} bytes"))),
            other => other.map_err(|source| ClientError::Wire { phase, source }),
        }
    }
}
