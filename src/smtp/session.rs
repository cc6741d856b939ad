//! What a server does with a command, by the state that its client is in. Pure: it decides, others act.
//!
//! The mail transaction lives inside the state, so it can't be half reset; TLS, log-in and the client's name are facts about the
//! connection and stand outside (RFC 5321 §4.1.4, RFC 3207 §4.2, RFC 4954 §4). Knows neither users nor addresses of ours: whoever
//! performs a [`Step::Sender`] or [`Step::Recipient`] says whether it is welcome.
//!
//! | state | EHLO, HELO, RSET | MAIL | RCPT | DATA, BDAT | STARTTLS, AUTH |
//! |---|---|---|---|---|---|
//! | `Greeting` | Ready | 503 | 503 | 503 | 503 |
//! | `Ready` | Ready | Transaction | 503 | 503 | allowed |
//! | `Transaction`, no recipient | Ready | 503 | Transaction | 554 | 503 |
//! | `Transaction` | Ready | 503 | Transaction | receives, Ready | 503 |
//! | `Transaction`, after BDAT | Ready | 503 | 503 | BDAT only | 503 |

use crate::message::wish::Wish;
use crate::smtp::command::{Command, CommandError, Mail, Rcpt};
use crate::smtp::reply::Reply;

/// Recipients of one mail. RFC 5321 §4.5.3.1.8 asks for at least 100; a club's circular has several hundred.
pub const MAX_RECIPIENTS: usize = 1_000;
/// Mistakes on one connection before it is closed: a client that is wrong this often is no mail client.
const MAX_MISTAKES: u32 = 20;
/// Commands that lead nowhere between two mails before the connection is closed (RFC 5321 §4.5.1 wants NOOP and RSET free, not endless).
const MAX_IDLE_COMMANDS: u32 = 1_000;

/// What the listener allows.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What we call ourselves.
    pub hostname: String,
    /// Largest message, in bytes.
    pub max_size: u64,
    /// STARTTLS can be done here.
    pub starttls: bool,
    /// Passwords may be said without TLS.
    pub plaintext_login: bool,
    /// Somebody here may have a log-in; false for a server that only brings mail.
    pub login: bool,
    /// Mail may be handed in without log-in: the peer is a device or may deliver to us.
    pub anonymous: bool,
    /// Reports are written to whoever hands mail in without log-in; nobody outside ever gets one.
    pub reports: bool,
}

/// The mail transaction under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `MAIL FROM`
    pub mail: Mail,
    /// Those `RCPT TO` that were accepted.
    pub recipients: Vec<Rcpt>,
    /// A first `BDAT` came: only more of it may follow.
    chunking: bool,
}

/// Where the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nobody said EHLO yet, or TLS has just begun.
    Greeting,
    /// Between mails.
    Ready,
    /// Behind an accepted `MAIL FROM`.
    Transaction(Envelope),
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Say this and go on.
    Reply(Reply),
    /// Say this and hang up.
    Close(Reply),
    /// Say this, then do the TLS handshake, then [`Session::secured`].
    Starttls(Reply),
    /// Hold the SASL dialogue: mechanism and initial response in base64.
    Authenticate(String, Option<String>),
    /// Is this sender welcome? Then [`Session::sender`].
    Sender(Mail),
    /// Is this recipient welcome? Then [`Session::recipient`].
    Recipient(Rcpt),
    /// Say this, take the message up to the final dot, then [`Session::take`].
    Data(Reply),
    /// Take so many bytes; after the last ones [`Session::take`].
    Chunk(u64, bool),
    /// Take so many bytes, forget them, say this.
    Discard(u64, Reply),
}

/// One connection's state and facts.
#[derive(Debug, Clone)]
pub struct Session {
    terms: Terms,
    state: State,
    /// Name and whether EHLO was said.
    client: Option<(String, bool)>,
    tls: bool,
    /// SASL, best first.
    mechanisms: Vec<&'static str>,
    user: Option<String>,
    mistakes: u32,
    idle: u32,
}

impl Session {
    /// A new connection, over TLS from the start or not, with the ways to log in that it has.
    pub fn new(terms: Terms, tls: bool, mechanisms: Vec<&'static str>) -> Self {
        Self { terms, state: State::Greeting, client: None, tls, mechanisms, user: None, mistakes: 0, idle: 0 }
    }

    /// The first thing that the server says.
    pub fn greeting(&self) -> Reply {
        Reply::new(220, "", format!("{} ESMTP Mailroom", self.terms.hostname))
    }

    /// Who has logged in.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// What the client calls itself.
    pub fn client(&self) -> Option<&str> {
        self.client.as_ref().map(|(name, _)| name.as_str())
    }

    /// `with` of a `Received` line (RFC 3848, RFC 6531 §4.3).
    pub fn protocol(&self) -> String {
        let extended = self.client.as_ref().is_some_and(|(_, extended)| *extended);
        let utf8 = matches!(&self.state, State::Transaction(envelope) if envelope.mail.smtputf8);
        let base = if utf8 {
            "UTF8SMTP"
        } else if extended {
            "ESMTP"
        } else {
            "SMTP"
        };
        if !extended {
            return base.to_owned();
        }
        let secure = if self.tls { "S" } else { "" };
        let authenticated = if self.user.is_some() { "A" } else { "" };
        format!("{base}{secure}{authenticated}")
    }

    /// Whether the transaction asked for SMTPUTF8, so that replies may hold UTF-8.
    pub fn utf8(&self) -> bool {
        matches!(&self.state, State::Transaction(envelope) if envelope.mail.smtputf8)
    }

    /// What to do with one line.
    pub fn step(&mut self, command: Result<Command, CommandError>) -> Step {
        let step = match command {
            Ok(command) => self.perform(command),
            Err(error) => Step::Reply(error.reply()),
        };
        match &step {
            Step::Reply(reply) | Step::Discard(_, reply) if reply.code >= 500 => self.mistake(step),
            Step::Reply(_) => {
                self.idle += 1;
                if self.idle > MAX_IDLE_COMMANDS {
                    return Step::Close(Reply::new(421, "4.7.0", "Enough; connect again when there is mail"));
                }
                step
            }
            _ => step,
        }
    }

    fn perform(&mut self, command: Command) -> Step {
        match command {
            Command::Ehlo(name) => self.hello(name, true),
            Command::Helo(name) => self.hello(name, false),
            Command::Noop => Step::Reply(Reply::new(250, "2.0.0", "Ok")),
            Command::Rset => {
                if self.state != State::Greeting {
                    self.state = State::Ready;
                }
                Step::Reply(Reply::new(250, "2.0.0", "Forgotten"))
            }
            Command::Quit => Step::Close(Reply::new(221, "2.0.0", "Bye")),
            Command::Help => Step::Reply(Reply::new(214, "2.0.0", "EHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP QUIT")),
            // RFC 5321 §3.5.3: who is here is nobody's business before a RCPT.
            Command::Vrfy => Step::Reply(Reply::new(252, "2.5.0", "Send it and see")),
            Command::Expn => Step::Reply(Reply::new(502, "5.5.1", "Not here")),
            Command::Starttls => self.starttls(),
            Command::Auth(mechanism, initial) => self.auth(mechanism, initial),
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(rcpt) => self.rcpt(rcpt),
            Command::Data => match &self.state {
                State::Transaction(envelope) if envelope.chunking => out_of_order("BDAT, since you began with it"),
                State::Transaction(envelope) if envelope.recipients.is_empty() => Step::Reply(no_recipients()),
                State::Transaction(_) => Step::Data(Reply::new(354, "", "Go on; end with a dot on a line of its own")),
                _ => out_of_order("MAIL FROM and RCPT TO first"),
            },
            Command::Bdat(size, last) => match &mut self.state {
                State::Transaction(envelope) if envelope.recipients.is_empty() => Step::Discard(size, no_recipients()),
                State::Transaction(envelope) => {
                    envelope.chunking = true;
                    Step::Chunk(size, last)
                }
                _ => Step::Discard(size, Reply::new(503, "5.5.1", "MAIL FROM and RCPT TO first")),
            },
        }
    }

    /// The handshake is over, and these ways to log in are there now: all that was said before is forgotten (RFC 3207 §4.2).
    pub fn secured(&mut self, mechanisms: Vec<&'static str>) {
        self.tls = true;
        self.mechanisms = mechanisms;
        self.state = State::Greeting;
        self.client = None;
        self.user = None;
    }

    /// The SASL dialogue ended well.
    pub fn authenticated(&mut self, user: String) -> Reply {
        self.user = Some(user);
        Reply::new(235, "2.7.0", "Welcome")
    }

    /// Whether the connection has to end because of too many mistakes; `step` otherwise. For refusals that others decide.
    pub fn mistake(&mut self, step: Step) -> Step {
        self.mistakes += 1;
        if self.mistakes > MAX_MISTAKES {
            return Step::Close(Reply::new(421, "4.7.0", "Too many mistakes; good-bye"));
        }
        step
    }

    /// The sender of a [`Step::Sender`] is welcome.
    pub fn sender(&mut self, mail: Mail) -> Reply {
        self.state = State::Transaction(Envelope { mail, recipients: Vec::new(), chunking: false });
        self.idle = 0;
        Reply::new(250, "2.1.0", "Ok")
    }

    /// The recipient of a [`Step::Recipient`] is welcome.
    pub fn recipient(&mut self, rcpt: Rcpt) -> Reply {
        if let State::Transaction(envelope) = &mut self.state {
            envelope.recipients.push(rcpt);
        }
        Reply::new(250, "2.1.5", "Ok")
    }

    /// The transaction under way.
    pub fn envelope(&self) -> Option<&Envelope> {
        match &self.state {
            State::Transaction(envelope) => Some(envelope),
            _ => None,
        }
    }

    /// The message is in, or lost: ends the transaction.
    pub fn take(&mut self) -> Option<Envelope> {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Transaction(envelope) => Some(envelope),
            State::Greeting => {
                self.state = State::Greeting;
                None
            }
            State::Ready => None,
        }
    }

    fn hello(&mut self, name: String, extended: bool) -> Step {
        let mut lines = vec![format!("{} greets {name}", self.terms.hostname)];
        self.client = Some((name, extended));
        self.state = State::Ready;
        if extended {
            lines.extend(["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"].map(str::to_owned));
            lines.push(format!("SIZE {}", self.terms.max_size));
            if self.reports() {
                lines.push("DSN".into());
            }
            // RFC 9422.
            lines.push(format!("LIMITS RCPTMAX={MAX_RECIPIENTS}"));
            if self.terms.starttls && !self.tls {
                lines.push("STARTTLS".into());
            }
            if self.login_possible() {
                lines.push(format!("AUTH {}", self.mechanisms.join(" ")));
            }
        }
        Step::Reply(Reply::lines(250, "", lines))
    }

    /// Whether wishes for reports (RFC 3461) are kept.
    fn reports(&self) -> bool {
        self.terms.reports || self.user.is_some()
    }

    fn login_possible(&self) -> bool {
        self.terms.login && (self.tls || self.terms.plaintext_login)
    }

    fn starttls(&mut self) -> Step {
        match self.state {
            _ if self.tls => out_of_order("TLS is on already"),
            _ if !self.terms.starttls => Step::Reply(Reply::new(502, "5.5.1", "There is no TLS here")),
            State::Ready => Step::Starttls(Reply::new(220, "2.0.0", "Begin")),
            State::Greeting => out_of_order("EHLO first"),
            State::Transaction(_) => out_of_order("Not inside a mail"),
        }
    }

    fn auth(&mut self, mechanism: String, initial: Option<String>) -> Step {
        match self.state {
            _ if self.user.is_some() => out_of_order("You are logged in already"),
            State::Greeting => out_of_order("EHLO first"),
            State::Transaction(_) => out_of_order("Not inside a mail"),
            State::Ready if !self.terms.login => out_of_order("Nobody logs in from there"),
            State::Ready if !self.login_possible() => {
                Step::Reply(Reply::new(538, "5.7.11", "Log in over TLS: use STARTTLS first, or port 465"))
            }
            State::Ready if self.mechanisms.contains(&mechanism.as_str()) => Step::Authenticate(mechanism, initial),
            State::Ready => Step::Reply(Reply::new(504, "5.5.4", format!("Log in by {}", self.mechanisms.join(" or ")))),
        }
    }

    fn mail(&mut self, mail: Mail) -> Step {
        match self.state {
            State::Greeting => out_of_order("EHLO first"),
            State::Transaction(_) => out_of_order("One mail at a time; RSET begins anew"),
            State::Ready if self.user.is_none() && !self.terms.anonymous => {
                let how = if self.login_possible() { "Log in first" } else { "Use TLS, then log in" };
                Step::Reply(Reply::new(530, "5.7.0", format!("{how}, with the name and password of your mailbox here")))
            }
            // Whoever asks for what was not offered must not believe that it will be kept.
            State::Ready if mail.ret.is_some() && !self.reports() => Step::Reply(CommandError::Parameter("RET".into()).reply()),
            State::Ready if mail.envid.is_some() && !self.reports() => Step::Reply(CommandError::Parameter("ENVID".into()).reply()),
            State::Ready if mail.size.is_some_and(|size| size > self.terms.max_size) => Step::Reply(too_large(self.terms.max_size)),
            State::Ready => Step::Sender(mail),
        }
    }

    fn rcpt(&mut self, rcpt: Rcpt) -> Step {
        match &self.state {
            State::Transaction(envelope) if envelope.chunking => out_of_order("BDAT, since you began with it"),
            State::Transaction(envelope) if envelope.recipients.len() >= MAX_RECIPIENTS => Step::Reply(Reply::new(
                452,
                "4.5.3",
                format!("At most {MAX_RECIPIENTS} recipients a mail; send it to the others in another one"),
            )),
            State::Transaction(_) if rcpt.wish != Wish::default() && !self.reports() => {
                let name = if rcpt.wish.notify.is_some() { "NOTIFY" } else { "ORCPT" };
                Step::Reply(CommandError::Parameter(name.into()).reply())
            }
            State::Transaction(_) => Step::Recipient(rcpt),
            _ => out_of_order("MAIL FROM first"),
        }
    }
}

/// The refusal of a message above the limit (RFC 1870 §6), with the limit in words.
pub fn too_large(limit: u64) -> Reply {
    let shown = match limit {
        0..10_000 => format!("{limit} bytes"),
        10_000..10_000_000 => format!("{} KB", limit / 1_000),
        _ => format!("{} MB", limit / 1_000_000),
    };
    Reply::new(552, "5.3.4", format!("The message is too large; at most {shown} ({limit} bytes), attachments included"))
}

fn out_of_order(what: &str) -> Step {
    Step::Reply(Reply::new(503, "5.5.1", what))
}

fn no_recipients() -> Reply {
    Reply::new(554, "5.5.1", "Nobody would get it: no recipient was accepted")
}

#[cfg(test)]
mod tests;
