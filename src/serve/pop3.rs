//! The POP3 server: performs the steps of [`crate::pop3::session`] on a user's INBOX.
//!
//! A session owns the snapshot that it took at log-in. Several sessions of one user may run at once, each with its own.
//! Deviation from RFC 1939 §4, which asks for an exclusive lock: IMAP sessions change the same INBOX anyway, and a lock left behind by a
//! telephone that lost its network would keep everybody else out for ten minutes. A message that somebody else removed in the meantime
//! answers RETR with an error, and its deletion succeeds.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::auth::{self, Dialogue, Next};
use super::login::Refused;
use super::{Context, Peer, Stop, Stream};
use crate::pop3::command::{MAX_LINE, sasl_answer};
use crate::pop3::reply::{Code, Reply, Stuffer, Top};
use crate::pop3::session::{Message, Session, Step};
use crate::store::maildrop::Maildrop;
use crate::store::messages::StoredMessage;
use crate::store::{Account, StoreError};
use crate::wire::{Connection, LineEnd, WireError};

/// RFC 1939 §3: the inactivity timer is at least ten minutes.
const IDLE: Duration = Duration::from_secs(600);
/// Whoever has not logged in by then occupies a place for nothing.
const LOG_IN: Duration = Duration::from_secs(120);
/// For each piece that the client takes.
const WRITE: Duration = Duration::from_secs(300);
/// A message goes out in pieces of this size, so that a large one never stands in memory.
const PIECE: usize = 256 * 1024;

/// Serves one client until it is gone.
pub async fn serve(stream: Stream, peer: Peer, context: Arc<Context>, stop: Stop) {
    let server = Server {
        session: Session::new(peer.tls, context.plaintext_login(peer.ip()), auth::mechanisms(&stream.channel()).collect()),
        connection: Connection::new(stream),
        maildrop: None,
        ahead: Ahead::default(),
        peer,
        context,
        stop,
    };
    match server.run().await {
        Ok(()) | Err(WireError::Closed) => (),
        Err(error) => tracing::debug!(%error, "the session broke off"),
    }
}

struct Server {
    connection: Connection<Stream>,
    session: Session,
    /// What the session's indices mean.
    maildrop: Option<Maildrop>,
    ahead: Ahead,
    peer: Peer,
    context: Arc<Context>,
    stop: Stop,
}

/// Messages that are read before they are asked for.
#[derive(Default)]
struct Ahead {
    /// The index of the first.
    at: usize,
    read: VecDeque<Opened>,
    /// Those behind them.
    underway: Option<Opening>,
}

/// A message and its first bytes; `None`: it is gone.
type Opened = Option<(StoredMessage, Bytes)>;

/// Some messages, under way.
type Opening = Pin<Box<dyn Future<Output = Result<Vec<Opened>, StoreError>> + Send>>;

/// Whether the conversation goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    Go,
    End,
}

impl Server {
    async fn run(mut self) -> Result<(), WireError> {
        let greeting = self.session.greeting();
        self.say(&greeting);
        loop {
            let Some(line) = self.next_line().await? else { break };
            let step = self.session.line(&line);
            if let Step::StartTls(reply) = step {
                self = self.start_tls(&reply).await?;
                continue;
            }
            if self.perform(step).await? == Flow::End {
                break;
            }
        }
        self.flush().await?;
        self.connection.close(Instant::now() + WRITE).await;
        Ok(())
    }

    /// The next line; `None` if the session ends instead, and why has been said. What is queued goes out first, unless the client has sent
    /// more commands already (RFC 2449 §6.6).
    async fn next_line(&mut self) -> Result<Option<Bytes>, WireError> {
        if self.connection.is_full() || !self.connection.buffered().contains(&b'\n') {
            self.flush().await?;
            self.connection.rest();
        }
        let patience = if self.maildrop.is_some() { IDLE } else { LOG_IN };
        let line = self.connection.line(MAX_LINE, LineEnd::Tolerant, Instant::now() + patience);
        let line = tokio::select! {
            biased;
            line = line => Some(line),
            () = self.stop.requested() => None,
        };
        let goodbye = match line {
            Some(Ok(line)) => return Ok(Some(line)),
            Some(Err(WireError::LineTooLong(_))) => Reply::err("the line is too long"),
            Some(Err(WireError::TimedOut)) => Reply::err("you said nothing for too long"),
            Some(Err(error)) => return Err(error),
            None => Reply::refused(Code::SysTemp, "the server is stopping"),
        };
        self.say(&goodbye);
        Ok(None)
    }

    async fn perform(&mut self, step: Step) -> Result<Flow, WireError> {
        match step {
            Step::Reply(reply) => self.say(&reply),
            Step::Text(text) => self.connection.queue(text.as_bytes()),
            Step::LogIn { name, password } => {
                let outcome = self.context.login.check(self.peer.ip(), &name, &password).await.map_err(refusal);
                return Ok(self.log_in(outcome).await);
            }
            Step::Authenticate { mechanism, initial } => {
                self.connection.hush(true);
                let outcome = self.authenticate(mechanism, initial).await;
                self.connection.hush(false);
                return match outcome? {
                    Some(outcome) => Ok(self.log_in(outcome).await),
                    None => Ok(Flow::End),
                };
            }
            Step::Send(at, lines) => self.send_message(at, lines).await?,
            Step::Update(marked) => {
                let reply = self.update(&marked).await;
                self.say(&reply);
                return Ok(Flow::End);
            }
            Step::Close(reply) => {
                self.say(&reply);
                return Ok(Flow::End);
            }
            // Taken out by `run`: it replaces the connection.
            Step::StartTls(_) => return Ok(Flow::End),
        }
        Ok(Flow::Go)
    }

    /// Opens the mailbox of whom it is, or says why nobody comes in.
    async fn log_in(&mut self, outcome: Result<Account, Reply>) -> Flow {
        let opened = match outcome {
            Ok(account) => self.open_maildrop(account).await,
            Err(reply) => Err(reply),
        };
        let step = match opened {
            Ok(messages) => Step::Reply(self.session.logged_in(messages)),
            Err(reply) => self.session.log_in_failed(reply),
        };
        match step {
            Step::Close(reply) => {
                self.say(&reply);
                return Flow::End;
            }
            Step::Reply(reply) => self.say(&reply),
            _ => (),
        }
        Flow::Go
    }

    /// The SASL dialogue (RFC 5034 §4); `None` if the session ends in it.
    async fn authenticate(&mut self, mechanism: &str, initial: Option<SecretString>) -> Result<Option<Result<Account, Reply>>, WireError> {
        const NONSENSE: &str = "this log-in makes no sense";
        let Some(mut dialogue) = Dialogue::begin(mechanism, self.connection.get_ref().channel(), self.peer.ip()) else {
            return Ok(Some(Err(Reply::err("this mechanism is not offered"))));
        };
        let mut message = match initial.map(|initial| sasl_answer(initial.expose_secret().as_bytes())).transpose() {
            Ok(initial) => initial.flatten(),
            Err(error) => return Ok(Some(Err(Reply::err(error.to_string())))),
        };
        loop {
            let challenge = match dialogue.step(&self.context.login, message.as_deref()).await {
                Next::Ask(challenge) => challenge,
                Next::In(account) => return Ok(Some(Ok(*account))),
                Next::Refused(refused) => return Ok(Some(Err(refusal(refused)))),
                Next::Broken => return Ok(Some(Err(Reply::refused(Code::Auth, NONSENSE)))),
            };
            self.connection.queue(format!("+ {}\r\n", STANDARD.encode(challenge)).as_bytes());
            let Some(line) = self.next_line().await? else { return Ok(None) };
            message = match sasl_answer(&line) {
                Ok(Some(answer)) => Some(answer),
                Ok(None) => return Ok(Some(Err(Reply::err("cancelled")))),
                Err(error) => return Ok(Some(Err(Reply::err(error.to_string())))),
            };
        }
    }

    async fn open_maildrop(&mut self, account: Account) -> Result<Vec<Message>, Reply> {
        match self.context.store.maildrop(account.id).await {
            Ok(maildrop) => {
                tracing::info!(user = account.name(), messages = maildrop.messages.len(), "logged in");
                let messages = maildrop.messages.iter().map(|message| Message { size: message.size, uid: message.unique_id() }).collect();
                self.maildrop = Some(maildrop);
                Ok(messages)
            }
            Err(error) => {
                tracing::error!(user = account.name(), %error, "the mailbox does not open");
                Err(Reply::refused(Code::SysTemp, "the mailbox does not open, try again later"))
            }
        }
    }

    /// RETR, or TOP with so many lines of the body. Once `+OK` is out the only way to report a failure is to hang up.
    async fn send_message(&mut self, at: usize, lines: Option<u64>) -> Result<(), WireError> {
        let store = self.context.store.clone();
        let opened = self.open(at).await;
        let (message, mut piece) = match opened {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.say(&Reply::err("this message was removed by another session"));
                return Ok(());
            }
            Err(error) => {
                tracing::error!(number = at + 1, %error, "a message can't be read");
                self.say(&Reply::refused(Code::SysTemp, "this message can't be read now"));
                return Ok(());
            }
        };
        self.say(&Reply::ok(format!("{} octets", message.size)));
        let mut top = lines.map(Top::new);
        let mut stuffer = Stuffer::default();
        let mut out = Vec::with_capacity(piece.len() + 64);
        let mut offset = 0;
        loop {
            let wanted = cut(&piece, offset, message.header_size, top.as_mut());
            stuffer.push(wanted.0, &mut out);
            stuffer.push(wanted.1, &mut out);
            offset += piece.len() as u64;
            let in_body = offset >= message.header_size;
            if offset >= message.size || (in_body && top.as_ref().is_some_and(Top::is_full)) {
                stuffer.finish(&mut out);
                return self.connection.pass(&out, Instant::now() + WRITE).await;
            }
            self.connection.pass(&out, Instant::now() + WRITE).await?;
            out.clear();
            piece = match store.message_bytes(&message, offset, PIECE).await {
                Ok(piece) if !piece.is_empty() => piece,
                other => {
                    tracing::error!(number = at + 1, offset, error = ?other.err(), "a message can't be read to its end: hanging up");
                    return Err(WireError::Closed);
                }
            };
        }
    }

    /// A message. Whoever has sent more commands wants the next ones, as a rule, so they are read while this one is sent.
    async fn open(&mut self, at: usize) -> Result<Opened, StoreError> {
        if self.ahead.at != at {
            self.ahead = Ahead { at, ..Ahead::default() };
        }
        if self.ahead.read.is_empty() {
            let Some(opening) = self.ahead.underway.take().or_else(|| self.reading(at, 1)) else { return Ok(None) };
            self.ahead.read = opening.await?.into();
        }
        let opened = self.ahead.read.pop_front().flatten();
        self.ahead.at = at + 1;
        if self.ahead.underway.is_none() {
            let commands = memchr::memchr_iter(b'\n', self.connection.buffered()).count();
            let read = self.ahead.read.len();
            self.ahead.underway = self.reading(at + 1 + read, commands.saturating_sub(read));
        }
        Ok(opened)
    }

    /// Begins to read some messages, at most so many; `None`: there are none.
    fn reading(&self, from: usize, most: usize) -> Option<Opening> {
        let maildrop = self.maildrop.as_ref()?;
        let uids: Vec<u32> = maildrop.messages.get(from..)?.iter().take(most).map(|message| message.uid).collect();
        (!uids.is_empty()).then(|| Box::pin(self.context.store.messages(maildrop.folder, uids, PIECE, PIECE)) as Opening)
    }

    /// QUIT: what is marked goes in one transaction, and only then is there a `+OK`.
    async fn update(&mut self, marked: &[usize]) -> Reply {
        let (Some(maildrop), false) = (&self.maildrop, marked.is_empty()) else { return Reply::ok("goodbye") };
        let doomed = marked.iter().map(|&at| maildrop.messages[at].uid).collect();
        match self.context.store.delete_messages(maildrop.folder, doomed).await {
            Ok(()) => {
                tracing::info!(messages = marked.len(), "deleted");
                Reply::ok("deleted, goodbye")
            }
            Err(error) => {
                tracing::error!(%error, "deleting failed");
                Reply::refused(Code::SysTemp, "nothing could be deleted, try again later")
            }
        }
    }

    async fn start_tls(mut self, reply: &Reply) -> Result<Server, WireError> {
        self.say(reply);
        self.flush().await?;
        let stream = self.connection.into_inner()?;
        let stream = self.context.upgrade(stream, &mut self.stop).await?;
        self.session.secured(auth::mechanisms(&stream.channel()).collect());
        Ok(Server { connection: Connection::new(stream), ..self })
    }

    fn say(&mut self, reply: &Reply) {
        self.connection.queue(reply.to_string().as_bytes());
    }

    async fn flush(&mut self) -> Result<(), WireError> {
        self.connection.flush(Instant::now() + WRITE).await
    }
}

/// The parts of a piece that are sent: all of the header, and of the body what TOP leaves of it.
fn cut<'a>(piece: &'a [u8], offset: u64, header_size: u64, top: Option<&mut Top>) -> (&'a [u8], &'a [u8]) {
    let Some(top) = top else { return (piece, &[]) };
    let header = usize::try_from(header_size.saturating_sub(offset)).unwrap_or(piece.len()).min(piece.len());
    let (header, body) = piece.split_at(header);
    (header, top.take(body))
}

fn refusal(refused: Refused) -> Reply {
    match refused {
        Refused::Wrong => Reply::refused(Code::Auth, "the name or the password is wrong"),
        Refused::Disabled => Reply::refused(Code::Auth, "this user is disabled: ask whoever looks after the mail here"),
        Refused::Throttled => Reply::refused(Code::SysTemp, "too many wrong log-ins from this address, wait ten minutes"),
        Refused::Temporary => Reply::refused(Code::SysTemp, "logging in is not possible now, try again later"),
    }
}
