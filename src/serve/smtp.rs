//! The SMTP server: submission by users who log in (RFC 6409), and on port 25 devices and mail for our own domains.
//!
//! Performs the steps of [`crate::smtp::session`]. Who may send what to whom is [`crate::outbound::submit`]'s business; here bytes are
//! taken in. A message is acknowledged when the store has it, not before.
//!
//! Only CR LF `.` CR LF ends DATA. A bare CR or LF of somebody who logged in is made a line end, and logged: old scanners write them.
//! From anyone else the message is refused, since such line ends serve to smuggle a second one past us (CVE-2023-51764 and its kin).

mod reception;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use super::auth::{self, Dialogue, Next};
use super::login::Refused;
use super::{Context, Peer, Stop, Stream};
use crate::outbound::intake::{Completion, Intake};
use crate::outbound::submit::{self, Submission, Submitter, limits};
use crate::smtp::command::{Command, MAX_LINE, Mail, Rcpt};
use crate::smtp::reply::Reply;
use crate::smtp::session::{Session, Step, Terms, too_large};
use crate::wire::dot::Unstuffer;
use crate::wire::{Connection, LineEnd, WireError};
use reception::Reception;

/// RFC 5321 §4.5.3.2.7: a server waits five minutes for a command.
const COMMAND: Duration = Duration::from_secs(300);
/// Whoever has not logged in by then occupies a place for nothing.
const LOG_IN: Duration = Duration::from_secs(120);
/// RFC 5321 §4.5.3.2.5: for each piece of a message.
const PIECE: Duration = Duration::from_secs(180);
/// For the client to take what we say.
const WRITE: Duration = Duration::from_secs(300);
/// A message that is too large is read to its end, so that the client hears why; but not for ever.
const PATIENCE_WITH_EXCESS: u64 = 4;

/// Which door the client came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Users.
    Submission,
    /// Devices and other servers, and users too.
    Mail,
}

/// Serves a client of `submission` or `submissions` until it is gone.
pub async fn serve(stream: Stream, peer: Peer, context: Arc<Context>, stop: Stop) {
    run(stream, peer, context, stop, Door::Submission).await;
}

/// Serves a client of `smtp` until it is gone.
pub async fn serve_mail(stream: Stream, peer: Peer, context: Arc<Context>, stop: Stop) {
    run(stream, peer, context, stop, Door::Mail).await;
}

async fn run(stream: Stream, peer: Peer, context: Arc<Context>, stop: Stop, door: Door) {
    let current = context.now();
    let stranger = match door {
        Door::Submission => None,
        Door::Mail => submit::stranger(&current, peer.ip()),
    };
    let terms = Terms {
        hostname: current.config.office.hostname.clone(),
        max_size: current.config.access.max_message_size,
        starttls: !peer.tls,
        plaintext_login: context.plaintext_login(peer.ip()),
        login: current.config.access.clients.iter().any(|net| net.contains(&peer.ip())),
        anonymous: stranger.is_some(),
        reports: stranger.as_ref().is_none_or(Submitter::is_trusted),
    };
    let max_size = terms.max_size;
    let server = Server {
        session: Session::new(terms, peer.tls, auth::mechanisms(&stream.channel()).collect()),
        connection: Connection::new(stream),
        submitter: stranger.clone(),
        stranger,
        intake: None,
        max_size,
        peer,
        context,
        stop,
    };
    match server.converse().await {
        Ok(()) | Err(WireError::Closed) => (),
        Err(error) => tracing::debug!(%error, "the session broke off"),
    }
}

struct Server {
    connection: Connection<Stream>,
    session: Session,
    /// Who hands mail in: known by address at first, by log-in later.
    submitter: Option<Submitter>,
    /// Who it is as long as nobody has logged in.
    stranger: Option<Submitter>,
    /// A message that comes by BDAT.
    intake: Option<Reception>,
    max_size: u64,
    peer: Peer,
    context: Arc<Context>,
    stop: Stop,
}

/// Whether the conversation goes on.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    Go,
    End,
}

impl Server {
    async fn converse(mut self) -> Result<(), WireError> {
        let greeting = self.session.greeting();
        self.say(&greeting);
        loop {
            let line = match self.next_line().await {
                Ok(Some(line)) => line,
                Ok(None) => {
                    self.say(&Reply::new(421, "4.3.2", "The server is stopping; try again soon"));
                    break;
                }
                Err(WireError::LineTooLong(_)) => {
                    self.say(&Reply::new(421, "4.5.2", "That line is too long; good-bye"));
                    break;
                }
                Err(WireError::BareLineEnd) => {
                    self.say(&Reply::new(421, "4.5.2", "A line has to end in CR LF; good-bye"));
                    break;
                }
                Err(WireError::TimedOut) => {
                    self.say(&Reply::new(421, "4.4.2", "You said nothing for too long; good-bye"));
                    break;
                }
                Err(error) => return Err(error),
            };
            let step = self.session.step(Command::parse(&line));
            if self.session.envelope().is_none() {
                self.intake = None;
            }
            if let Step::Starttls(reply) = step {
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

    /// The next line. What is queued goes out first, unless the client has sent more commands already (RFC 2920 §3.2).
    async fn next_line(&mut self) -> Result<Option<bytes::Bytes>, WireError> {
        if self.connection.is_full() || !self.connection.buffered().contains(&b'\n') {
            self.flush().await?;
            self.connection.rest();
        }
        let patience = if self.submitter.is_some() { COMMAND } else { LOG_IN };
        // A client that is known may be a scanner with its own idea of lines; nobody else may.
        let end = if self.submitter.as_ref().is_some_and(Submitter::is_trusted) { LineEnd::Tolerant } else { LineEnd::Strict };
        let line = self.connection.line(MAX_LINE, end, Instant::now() + patience);
        tokio::select! {
            biased;
            line = line => line.map(Some),
            () = self.stop.requested() => Ok(None),
        }
    }

    async fn perform(&mut self, step: Step) -> Result<Flow, WireError> {
        match step {
            Step::Reply(reply) => self.say(&reply),
            Step::Close(reply) => {
                self.say(&reply);
                return Ok(Flow::End);
            }
            Step::Authenticate(mechanism, initial) => return self.authenticate(&mechanism, initial).await,
            Step::Sender(mail) => return Ok(self.sender(mail).await),
            Step::Recipient(rcpt) => return Ok(self.recipient(rcpt).await),
            Step::Data(reply) => return self.data(&reply).await,
            Step::Chunk(size, last) => return self.chunk(size, last).await,
            Step::Discard(size, reply) => {
                if size > self.max_size.saturating_mul(PATIENCE_WITH_EXCESS) {
                    self.say(&Reply::new(421, "4.5.0", "That is too much to throw away; good-bye"));
                    return Ok(Flow::End);
                }
                let mut left = size;
                while left > 0 {
                    left -= self.piece(left).await?.len() as u64;
                }
                self.say(&reply);
            }
            // Taken out by `converse`: it replaces the connection.
            Step::Starttls(_) => return Ok(Flow::End),
        }
        Ok(Flow::Go)
    }

    async fn start_tls(mut self, reply: &Reply) -> Result<Server, WireError> {
        // What came behind the command was sent in the clear, by whoever could: not one byte of it counts, and no 220 invites more.
        if !self.connection.buffered().is_empty() {
            self.say(&Reply::new(501, "5.5.1", "Nothing may follow STARTTLS before TLS is there"));
            self.flush().await?;
            return Err(WireError::EarlyBytes);
        }
        self.say(reply);
        self.flush().await?;
        let stream = self.connection.into_inner()?;
        let stream = self.context.upgrade(stream, &mut self.stop).await.map_err(|error| {
            tracing::debug!(%error, "no TLS");
            WireError::Closed
        })?;
        self.session.secured(auth::mechanisms(&stream.channel()).collect());
        let submitter = self.stranger.clone();
        Ok(Server { connection: Connection::new(stream), submitter, ..self })
    }

    /// The SASL dialogue (RFC 4954 §4).
    async fn authenticate(&mut self, mechanism: &str, initial: Option<String>) -> Result<Flow, WireError> {
        let channel = self.connection.get_ref().channel();
        let Some(mut dialogue) = Dialogue::begin(mechanism, channel, self.peer.ip()) else {
            return Ok(self.refuse(Reply::new(504, "5.5.4", "There is no such way to log in here")));
        };
        self.connection.hush(true);
        let ended = self.converse_sasl(&mut dialogue, initial).await;
        self.connection.hush(false);
        let reply = match ended? {
            Some(Next::In(account)) => {
                tracing::info!(user = account.name(), mechanism, "logged in");
                self.submitter = Some(Submitter::User(account.name().to_owned()));
                let reply = self.session.authenticated(account.name().to_owned());
                self.say(&reply);
                return Ok(Flow::Go);
            }
            Some(Next::Refused(refused)) => refusal(refused),
            _ => Reply::new(501, "5.5.2", "The log-in was cancelled, or makes no sense"),
        };
        Ok(self.refuse(reply))
    }

    /// Challenges and answers up to the end. `None`: the client cancelled, or wrote no base64.
    async fn converse_sasl(&mut self, dialogue: &mut Dialogue, initial: Option<String>) -> Result<Option<Next>, WireError> {
        let mut message = match initial.as_deref() {
            None => None,
            Some("=") => Some(Vec::new()),
            Some(initial) => match STANDARD.decode(initial) {
                Ok(message) => Some(message),
                Err(_) => return Ok(None),
            },
        };
        loop {
            let challenge = match dialogue.step(&self.context.login, message.as_deref()).await {
                Next::Ask(challenge) => challenge,
                end => return Ok(Some(end)),
            };
            self.say(&Reply::new(334, "", STANDARD.encode(challenge)));
            self.flush().await?;
            let line = self.connection.line(MAX_LINE, LineEnd::Tolerant, Instant::now() + LOG_IN).await?;
            let Ok(answer) = STANDARD.decode(line.trim_ascii()) else { return Ok(None) };
            message = Some(answer);
        }
    }

    async fn sender(&mut self, mail: Mail) -> Flow {
        let Some(submitter) = &self.submitter else { return self.refuse(Reply::new(530, "5.7.0", "Log in first")) };
        let current = self.context.now();
        let min_free = current.config.storage.min_free;
        if self.context.store.free_bytes().is_ok_and(|free| free < min_free.saturating_add(mail.size.unwrap_or(0))) {
            tracing::warn!(min_free, "little disk space is left: no mail is taken");
            self.say(&Reply::new(452, "4.3.1", "The disk of the mail server is nearly full; try again later"));
            return Flow::Go;
        }
        let mut welcome = submit::check_sender(&current, submitter, &mail)
            .and_then(|()| limits::check_size(&current, submitter, mail.size, self.max_size));
        if welcome.is_ok() {
            let now = jiff::Timestamp::now().as_millisecond();
            welcome = limits::check_rate(&self.context.store, &current, submitter, now).await;
        }
        match welcome {
            Ok(()) => {
                let reply = self.session.sender(mail);
                self.say(&reply);
                Flow::Go
            }
            Err(reply) => self.refuse(reply),
        }
    }

    async fn recipient(&mut self, rcpt: Rcpt) -> Flow {
        let Some(submitter) = &self.submitter else { return self.refuse(Reply::new(530, "5.7.0", "Log in first")) };
        let utf8 = self.session.utf8();
        let current = self.context.now();
        let already = self.session.envelope().map_or(0, |envelope| envelope.recipients.len());
        let mut welcome =
            limits::check_recipients(&current, submitter, already).and_then(|()| submit::check_recipient(&current, submitter, &rcpt, utf8));
        if let Some(size) = self.session.envelope().and_then(|envelope| envelope.mail.size)
            && welcome.is_ok()
        {
            welcome = submit::check_size(&self.context.store, &current, submitter, &rcpt, size).await;
        }
        match welcome {
            Ok(()) => {
                let reply = self.session.recipient(rcpt);
                self.say(&reply);
                Flow::Go
            }
            Err(reply) => self.refuse(reply),
        }
    }

    /// A refusal that others decided counts among the client's mistakes.
    fn refuse(&mut self, reply: Reply) -> Flow {
        match self.session.mistake(Step::Reply(reply)) {
            Step::Close(reply) => {
                self.say(&reply);
                Flow::End
            }
            Step::Reply(reply) => {
                self.say(&reply);
                Flow::Go
            }
            _ => Flow::Go,
        }
    }

    fn reception(&self) -> Reception {
        let current = self.context.now();
        let office = &current.config.office;
        let completion = |submitter: &Submitter| Completion {
            author: self.session.envelope().and_then(|envelope| submitter.author(&current, &envelope.mail.from)),
            // A Message-ID is seen outside; the LAN's name says nothing there.
            domain: office.domains.first().unwrap_or(&office.lan_domain).clone(),
            now: jiff::Timestamp::now().as_millisecond(),
        };
        let ours = self.submitter.as_ref().filter(|submitter| submitter.is_trusted());
        let max_size = self.submitter.as_ref().map_or(self.max_size, |submitter| limits::max_size(&current, submitter, self.max_size));
        let intake = Intake::new(self.context.store.clone(), ours.map(completion));
        Reception::new(intake, max_size)
    }

    /// DATA: up to CR LF `.` CR LF.
    async fn data(&mut self, reply: &Reply) -> Result<Flow, WireError> {
        self.say(reply);
        self.flush().await?;
        let mut reception = self.reception();
        let mut unstuffer = Unstuffer::default();
        let mut plain = Vec::new();
        self.connection.expect_much();
        while !unstuffer.is_done() {
            if self.connection.buffered().is_empty() {
                self.connection.fill(Instant::now() + PIECE).await?;
            }
            let taken = unstuffer.feed(self.connection.buffered(), |bytes| plain.extend_from_slice(bytes));
            self.connection.consume(taken);
            reception.take(&plain).await;
            plain.clear();
            if reception.received > self.max_size.saturating_mul(PATIENCE_WITH_EXCESS) {
                self.say(&too_large(reception.max_size));
                return Ok(Flow::End);
            }
        }
        self.finish(reception).await
    }

    /// BDAT (RFC 3030): exactly so many bytes.
    async fn chunk(&mut self, size: u64, last: bool) -> Result<Flow, WireError> {
        let mut reception = match self.intake.take() {
            Some(reception) => reception,
            None => self.reception(),
        };
        if reception.received.saturating_add(size) > self.max_size.saturating_mul(PATIENCE_WITH_EXCESS) {
            self.say(&too_large(reception.max_size));
            return Ok(Flow::End);
        }
        let mut left = size;
        while left > 0 {
            let piece = self.piece(left).await?;
            left -= piece.len() as u64;
            reception.take(&piece).await;
        }
        if last || reception.is_hopeless() {
            return self.finish(reception).await;
        }
        self.intake = Some(reception);
        self.say(&Reply::new(250, "2.0.0", format!("{size} bytes")));
        Ok(Flow::Go)
    }

    async fn piece(&mut self, most: u64) -> Result<bytes::Bytes, WireError> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.connection.chunk(most, Instant::now() + PIECE).await
    }

    /// The message is in: whoever decides, decides.
    async fn finish(&mut self, reception: Reception) -> Result<Flow, WireError> {
        let protocol = self.session.protocol();
        let utf8 = self.session.utf8();
        let (Some(envelope), Some(submitter)) = (self.session.take(), &self.submitter) else { return Ok(Flow::Go) };
        let reply = match reception.finish(submitter).await {
            Ok(taken) => {
                let now = jiff::Timestamp::now().as_millisecond();
                let submission = Submission {
                    submitter,
                    envelope: &envelope,
                    taken,
                    client: self.session.client().unwrap_or_default(),
                    peer: self.peer.ip(),
                    protocol,
                    id: format!("{now:x}"),
                    now,
                };
                submit::submit(&self.context.store, &self.context.now(), submission).await
            }
            Err(reply) => reply,
        };
        self.connection.queue(&reply.encode(utf8));
        Ok(Flow::Go)
    }

    fn say(&mut self, reply: &Reply) {
        let utf8 = self.session.utf8();
        self.connection.queue(&reply.encode(utf8));
    }

    async fn flush(&mut self) -> Result<(), WireError> {
        self.connection.flush(Instant::now() + WRITE).await
    }
}

fn refusal(refused: Refused) -> Reply {
    match refused {
        Refused::Wrong => Reply::new(535, "5.7.8", "The name or the password is wrong"),
        Refused::Disabled => Reply::new(535, "5.7.13", "This user is disabled: ask whoever looks after the mail here"),
        Refused::Throttled => Reply::new(454, "4.7.0", "Too many wrong log-ins from this address; wait ten minutes"),
        Refused::Temporary => Reply::new(454, "4.7.0", "Logging in is not possible now; try again later"),
    }
}
