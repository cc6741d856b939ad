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
            // DSN (RFC 3461) is not offered: whoever asks for it all the same must not believe that it will be kept.
            State::Ready if mail.ret.is_some() => Step::Reply(CommandError::Parameter("RET".into()).reply()),
            State::Ready if mail.envid.is_some() => Step::Reply(CommandError::Parameter("ENVID".into()).reply()),
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
            State::Transaction(_) if rcpt.notify.is_some() => Step::Reply(CommandError::Parameter("NOTIFY".into()).reply()),
            State::Transaction(_) if rcpt.orcpt.is_some() => Step::Reply(CommandError::Parameter("ORCPT".into()).reply()),
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
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms {
            hostname: "mail.office.lan".into(),
            max_size: 50_000_000,
            starttls: true,
            plaintext_login: false,
            login: true,
            anonymous: false,
        }
    }

    fn say(session: &mut Session, line: &str) -> Step {
        match session.step(Command::parse(line.as_bytes())) {
            Step::Sender(mail) => Step::Reply(session.sender(mail)),
            Step::Recipient(rcpt) => Step::Reply(session.recipient(rcpt)),
            step => step,
        }
    }

    fn code(step: &Step) -> u16 {
        match step {
            Step::Reply(reply) | Step::Close(reply) | Step::Starttls(reply) | Step::Data(reply) | Step::Discard(_, reply) => reply.code,
            _ => 0,
        }
    }

    /// Lines, each with the code that answers it.
    fn check(session: &mut Session, dialogue: &[(&str, u16)]) {
        for (line, expected) in dialogue {
            let step = say(session, line);
            assert_eq!(code(&step), *expected, "{line}: {step:?}");
        }
    }

    #[test]
    fn one_mail_after_the_other() {
        let mut session = Session::new(terms(), true, vec!["PLAIN", "LOGIN"]);
        check(&mut session, &[("MAIL FROM:<a@b.example>", 503), ("EHLO pc", 250), ("MAIL FROM:<a@b.example>", 530)]);
        session.authenticated("alice".into());
        check(
            &mut session,
            &[
                ("RCPT TO:<x@y.example>", 503),
                ("DATA", 503),
                ("MAIL FROM:<a@b.example>", 250),
                ("MAIL FROM:<a@b.example>", 503),
                ("DATA", 554),
                ("RCPT TO:<x@y.example>", 250),
                ("STARTTLS", 503),
                ("AUTH PLAIN", 503),
                ("DATA", 354),
            ],
        );
        assert_eq!(session.take().map(|e| e.recipients.len()), Some(1));
        check(&mut session, &[("DATA", 503), ("MAIL FROM:<a@b.example>", 250), ("RSET", 250), ("RCPT TO:<x@y.example>", 503)]);
    }

    #[test]
    fn log_in_only_over_tls() {
        let mut session = Session::new(terms(), false, vec!["PLAIN", "LOGIN"]);
        check(&mut session, &[("EHLO pc", 250), ("AUTH PLAIN AGEAYg==", 538), ("MAIL FROM:<a@b.example>", 530), ("STARTTLS", 220)]);
        session.secured(vec!["PLAIN", "LOGIN"]);
        check(&mut session, &[("AUTH PLAIN AGEAYg==", 503), ("EHLO pc", 250), ("STARTTLS", 503), ("AUTH CRAM-MD5", 504)]);
        assert_eq!(say(&mut session, "AUTH PLAIN AGEAYg=="), Step::Authenticate("PLAIN".into(), Some("AGEAYg==".into())));
    }

    #[test]
    fn extensions_follow_the_connection() {
        let mut plain = Session::new(terms(), false, vec!["PLAIN", "LOGIN"]);
        let Step::Reply(reply) = say(&mut plain, "EHLO pc") else { panic!() };
        assert!(reply.lines.contains(&"STARTTLS".to_owned()) && !reply.lines.iter().any(|l| l.starts_with("AUTH")));
        let mut secure = Session::new(terms(), true, vec!["PLAIN", "LOGIN"]);
        let Step::Reply(reply) = say(&mut secure, "EHLO pc") else { panic!() };
        assert!(!reply.lines.contains(&"STARTTLS".to_owned()) && reply.lines.contains(&"AUTH PLAIN LOGIN".to_owned()));
        assert_eq!(say(&mut secure, "HELO pc"), Step::Reply(Reply::new(250, "", "mail.office.lan greets pc")));
    }

    #[test]
    fn chunks_exclude_data() {
        let mut session = Session::new(Terms { anonymous: true, ..terms() }, false, vec!["PLAIN", "LOGIN"]);
        check(&mut session, &[("BDAT 5", 503), ("EHLO pc", 250), ("MAIL FROM:<a@b.example>", 250), ("BDAT 5", 554)]);
        check(&mut session, &[("RCPT TO:<x@y.example>", 250)]);
        assert_eq!(say(&mut session, "BDAT 5"), Step::Chunk(5, false));
        check(&mut session, &[("DATA", 503), ("RCPT TO:<z@y.example>", 503)]);
        assert_eq!(say(&mut session, "BDAT 0 LAST"), Step::Chunk(0, true));
    }

    #[test]
    fn an_announced_size_above_the_limit_is_refused_at_once() {
        let mut session = Session::new(Terms { anonymous: true, ..terms() }, true, vec!["PLAIN", "LOGIN"]);
        check(
            &mut session,
            &[("EHLO pc", 250), ("MAIL FROM:<a@b.example> SIZE=50000001", 552), ("MAIL FROM:<a@b.example> SIZE=50000000", 250)],
        );
    }

    #[test]
    fn what_is_not_offered_is_refused() {
        let mut session = Session::new(Terms { anonymous: true, ..terms() }, true, vec!["PLAIN", "LOGIN"]);
        check(&mut session, &[("EHLO pc", 250), ("MAIL FROM:<a@b.example> RET=HDRS", 555), ("MAIL FROM:<a@b.example> ENVID=1", 555)]);
        check(&mut session, &[("MAIL FROM:<a@b.example>", 250), ("RCPT TO:<x@y.example> NOTIFY=NEVER", 555)]);
        check(&mut session, &[("RCPT TO:<x@y.example> ORCPT=rfc822;x@y.example", 555), ("RCPT TO:<x@y.example>", 250)]);
    }

    #[test]
    fn endless_mistakes_end_the_connection() {
        let mut session = Session::new(terms(), true, vec!["PLAIN", "LOGIN"]);
        let steps: Vec<_> = (0..=MAX_MISTAKES).map(|_| say(&mut session, "GET / HTTP/1.1")).collect();
        assert!(matches!(steps.last(), Some(Step::Close(reply)) if reply.code == 421));
        assert!(steps[..MAX_MISTAKES as usize].iter().all(|step| code(step) == 500));
    }

    proptest::proptest! {
        /// Whatever is said, data is only taken inside a transaction with a recipient, and nobody without log-in gets that far.
        #[test]
        fn no_data_without_log_in_and_recipients(script in proptest::collection::vec(0usize..10, 0..60), login_at in 0usize..60) {
            let lines = ["EHLO pc", "HELO pc", "MAIL FROM:<a@b.example>", "RCPT TO:<x@y.example>", "DATA", "BDAT 3 LAST", "RSET",
                "STARTTLS", "NOOP", "QUIT"];
            let mut session = Session::new(terms(), false, vec!["PLAIN", "LOGIN"]);
            for (at, line) in script.into_iter().enumerate() {
                if at == login_at {
                    session.authenticated("alice".into());
                }
                match say(&mut session, lines[line]) {
                    Step::Data(_) | Step::Chunk(..) => {
                        proptest::prop_assert!(session.user().is_some());
                        let envelope = session.take();
                        proptest::prop_assert!(envelope.is_some_and(|e| !e.recipients.is_empty()));
                    }
                    Step::Starttls(_) => session.secured(vec!["PLAIN", "LOGIN"]),
                    _ => {}
                }
            }
        }
    }
}
