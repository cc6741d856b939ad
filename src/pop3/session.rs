//! A server's session (RFC 1939 §4 to §6): a line and the state give the next [`Step`]; whoever performs it tells the session what came of it.
//!
//! AUTHORIZATION → TRANSACTION → UPDATE. The maildrop is a snapshot taken at log-in: numbers and sizes stay as they are while it lasts.

use secrecy::SecretString;
use std::fmt::Write;

use super::command::{Command, SyntaxError};
use super::reply::{Code, Reply};

/// After so many faults (unknown commands, failed log-ins) in a row the client is no mail program.
const MAX_FAULTS: u32 = 10;

/// One client's session.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// TLS protects what is said.
    tls: bool,
    /// Log-in is allowed although TLS does not.
    plaintext_login: bool,
    mechanisms: Vec<&'static str>,
    faults: u32,
}

#[derive(Debug)]
enum State {
    /// With the name of a USER command that waits for its PASS.
    Authorization(Option<String>),
    /// A step was handed out that ends in [`Session::logged_in`] or [`Session::log_in_failed`].
    Checking,
    Transaction(Maildrop),
    /// QUIT was said.
    Over,
}

/// A message of the maildrop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// In bytes, as it is sent, stuffing aside.
    pub size: u64,
    /// For UIDL: 1 to 70 characters from `!` to `~` (RFC 1939 §7).
    pub uid: String,
}

#[derive(Debug)]
struct Maildrop {
    messages: Vec<Message>,
    deleted: Vec<bool>,
}

/// What has to be done next.
#[derive(Debug)]
pub enum Step {
    /// Say this.
    Reply(Reply),
    /// Say this, which ends with its own line end: a listing.
    Text(String),
    /// Check the log-in, then [`Session::logged_in`] or [`Session::log_in_failed`].
    LogIn {
        /// As the client wrote it.
        name: String,
        /// As the client wrote it.
        password: SecretString,
    },
    /// Hold this SASL dialogue (RFC 5034), then [`Session::logged_in`] or [`Session::log_in_failed`].
    Authenticate {
        /// In upper case; one that is offered.
        mechanism: &'static str,
        /// In base64, as the client wrote it.
        initial: Option<SecretString>,
    },
    /// Say this, then upgrade, then [`Session::secured`].
    StartTls(Reply),
    /// Send the message at this index of the maildrop: all of it, or its header and so many lines.
    Send(usize, Option<u64>),
    /// Delete the messages at these indices in one go, then say goodbye and close. RFC 1939 §6.
    Update(Vec<usize>),
    /// Say this and close.
    Close(Reply),
}

impl Session {
    /// A new session. `plaintext_login`: the client may log in without TLS. `mechanisms`: how, by SASL, in upper case.
    pub fn new(tls: bool, plaintext_login: bool, mechanisms: Vec<&'static str>) -> Session {
        Session { state: State::Authorization(None), tls, plaintext_login, mechanisms, faults: 0 }
    }

    /// The first line.
    pub fn greeting(&self) -> Reply {
        Reply::ok("Mailroom ready")
    }

    /// A line from the client, without its line end.
    pub fn line(&mut self, line: &[u8]) -> Step {
        match Command::parse(line) {
            Ok(command) => self.command(command),
            Err(error) => self.fault(error),
        }
    }

    /// The log-in was right; these are the user's messages.
    pub fn logged_in(&mut self, messages: Vec<Message>) -> Reply {
        self.faults = 0;
        let reply = Reply::ok(format!("{} messages", messages.len()));
        self.state = State::Transaction(Maildrop { deleted: vec![false; messages.len()], messages });
        reply
    }

    /// It was not; the client may try again, but not for ever.
    pub fn log_in_failed(&mut self, reply: Reply) -> Step {
        self.state = State::Authorization(None);
        self.faults += 1;
        if self.faults >= MAX_FAULTS { Step::Close(reply) } else { Step::Reply(reply) }
    }

    /// STLS succeeded: everything said before is forgotten (RFC 2595 §4).
    pub fn secured(&mut self, mechanisms: Vec<&'static str>) {
        *self = Session::new(true, self.plaintext_login, mechanisms);
    }

    fn may_log_in(&self) -> bool {
        self.tls || self.plaintext_login
    }

    fn fault(&mut self, error: SyntaxError) -> Step {
        self.faults += 1;
        let reply = Reply::err(error.to_string());
        if self.faults >= MAX_FAULTS { Step::Close(reply) } else { Step::Reply(reply) }
    }

    fn command(&mut self, command: Command) -> Step {
        match command {
            Command::Capa => return Step::Text(self.capabilities()),
            Command::Quit => return self.quit(),
            Command::Lang(language) => return lang(language.as_deref()),
            _ => (),
        }
        match &mut self.state {
            State::Transaction(maildrop) => {
                self.faults = 0;
                maildrop.command(command)
            }
            _ => self.authorization(command),
        }
    }

    /// RFC 2449 §5
    fn capabilities(&self) -> String {
        let mut lines =
            vec!["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "LOGIN-DELAY 0", "UTF8 USER", "LANG"];
        let sasl = format!("SASL {}", self.mechanisms.join(" "));
        if !matches!(self.state, State::Transaction(_)) {
            if self.may_log_in() {
                lines.extend(["USER", &sasl]);
            }
            if !self.tls {
                lines.push("STLS");
            }
        }
        lines.push("IMPLEMENTATION Mailroom");
        format!("+OK what is offered here\r\n{}\r\n.\r\n", lines.join("\r\n"))
    }

    fn authorization(&mut self, command: Command) -> Step {
        let named = match &mut self.state {
            State::Authorization(named) => named.take(),
            _ => None,
        };
        match command {
            Command::User(_) | Command::Pass(_) | Command::Auth(Some(_), _) if !self.may_log_in() => {
                Step::Reply(Reply::refused(Code::Auth, "log in over TLS only: say STLS first"))
            }
            Command::User(name) => {
                self.state = State::Authorization(Some(name));
                Step::Reply(Reply::ok("and the password?"))
            }
            Command::Pass(password) => match named {
                Some(name) => self.check(name, password),
                None => Step::Reply(Reply::err("say USER first")),
            },
            Command::Auth(None, _) => Step::Text(match self.may_log_in() {
                true => format!("+OK\r\n{}\r\n.\r\n", self.mechanisms.join("\r\n")),
                false => "+OK\r\n.\r\n".into(),
            }),
            Command::Auth(Some(mechanism), initial) => match self.mechanisms.iter().find(|offered| **offered == mechanism) {
                Some(mechanism) => {
                    self.state = State::Checking;
                    Step::Authenticate { mechanism, initial }
                }
                None => Step::Reply(Reply::err("this mechanism is not offered")),
            },
            Command::Stls if self.tls => Step::Reply(Reply::err("TLS is on already")),
            Command::Stls => Step::StartTls(Reply::ok("begin TLS")),
            // Deviation from RFC 6856 §2.1: mail is never downgraded nor kept back, so the command changes nothing. Raw 8-bit text comes
            // from senders who never heard of it; a surrogate would break signatures, and a refusal would hide the mail for good from a
            // program without UTF8, which is nearly every one.
            Command::Utf8 => Step::Reply(Reply::ok("UTF-8 it is")),
            _ => Step::Reply(Reply::err("log in first")),
        }
    }

    fn check(&mut self, name: String, password: SecretString) -> Step {
        self.state = State::Checking;
        Step::LogIn { name, password }
    }

    fn quit(&mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Transaction(maildrop) => Step::Update(maildrop.marked()),
            _ => Step::Close(Reply::ok("goodbye")),
        }
    }
}

/// RFC 6856 §3: our replies are in English; `*` asks for what there is.
fn lang(language: Option<&str>) -> Step {
    match language {
        None => Step::Text("+OK languages\r\nen English\r\n.\r\n".into()),
        Some("*") => Step::Reply(Reply::ok("en English it is")),
        Some(tag) if tag.split('-').next().is_some_and(|primary| primary.eq_ignore_ascii_case("en")) => {
            Step::Reply(Reply::ok("en English it is"))
        }
        Some(_) => Step::Reply(Reply::err("only English is spoken here")),
    }
}

impl Maildrop {
    fn command(&mut self, command: Command) -> Step {
        let outcome = match command {
            Command::Stat => {
                let (count, bytes) = self.present().fold((0, 0), |(count, bytes), (_, message)| (count + 1, bytes + message.size));
                Ok(Step::Reply(Reply::ok(format!("{count} {bytes}"))))
            }
            Command::List(None) => Ok(self.listing(|message| message.size.to_string())),
            Command::Uidl(None) => Ok(self.listing(|message| message.uid.clone())),
            Command::List(Some(n)) => self.at(n).map(|at| Step::Reply(Reply::ok(format!("{n} {}", self.messages[at].size)))),
            Command::Uidl(Some(n)) => self.at(n).map(|at| Step::Reply(Reply::ok(format!("{n} {}", self.messages[at].uid)))),
            Command::Retr(n) => self.at(n).map(|at| Step::Send(at, None)),
            Command::Top(n, lines) => self.at(n).map(|at| Step::Send(at, Some(lines))),
            Command::Dele(n) => self.at(n).map(|at| {
                self.deleted[at] = true;
                Step::Reply(Reply::ok("marked for deletion"))
            }),
            Command::Rset => {
                self.deleted.fill(false);
                Ok(Step::Reply(Reply::ok(format!("{} messages", self.messages.len()))))
            }
            Command::Noop => Ok(Step::Reply(Reply::ok(""))),
            _ => Err(Reply::err("you are logged in already")),
        };
        outcome.unwrap_or_else(Step::Reply)
    }

    /// The index of message `number`, from 1, unless it is marked as deleted.
    fn at(&self, number: usize) -> Result<usize, Reply> {
        match number.checked_sub(1).and_then(|at| Some((at, *self.deleted.get(at)?))) {
            Some((at, false)) => Ok(at),
            Some((_, true)) => Err(Reply::err("this message is marked for deletion")),
            None => Err(Reply::err(format!("there are only {} messages", self.messages.len()))),
        }
    }

    fn present(&self) -> impl Iterator<Item = (usize, &Message)> {
        self.messages.iter().zip(&self.deleted).enumerate().filter(|(_, (_, deleted))| !**deleted).map(|(at, (message, _))| (at, message))
    }

    fn marked(&self) -> Vec<usize> {
        self.deleted.iter().enumerate().filter(|(_, deleted)| **deleted).map(|(at, _)| at).collect()
    }

    fn listing(&self, column: impl Fn(&Message) -> String) -> Step {
        let mut text = format!("+OK {} messages\r\n", self.present().count());
        for (at, message) in self.present() {
            // Writing to a string does not fail.
            let _ = write!(text, "{} {}\r\n", at + 1, column(message));
        }
        text.push_str(".\r\n");
        Step::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn show(step: Step) -> String {
        match step {
            Step::Reply(reply) => reply.to_string(),
            Step::Text(text) => text,
            Step::LogIn { name, password } => format!("log in {name}/{}", password.expose_secret()),
            Step::Authenticate { mechanism, initial } => {
                format!("authenticate {mechanism} {:?}", initial.as_ref().map(|initial| initial.expose_secret()))
            }
            Step::StartTls(reply) => format!("tls {reply}"),
            Step::Send(at, lines) => format!("send {at} {lines:?}"),
            Step::Update(marked) => format!("update {marked:?}"),
            Step::Close(reply) => format!("close {reply}"),
        }
    }

    fn check(session: &mut Session, line: &str, expected: &str) {
        assert_eq!(show(session.line(line.as_bytes())).trim_end(), expected, "{line}");
    }

    fn in_transaction(sizes: &[u64]) -> Session {
        let mut session = Session::new(true, false, vec!["PLAIN", "LOGIN"]);
        session.logged_in(sizes.iter().map(|&size| Message { size, uid: format!("u{size}") }).collect());
        session
    }

    #[test]
    fn logs_in_by_user_and_pass() {
        let mut session = Session::new(true, false, vec!["PLAIN", "LOGIN"]);
        check(&mut session, "PASS x", "-ERR say USER first");
        check(&mut session, "USER alice", "+OK and the password?");
        check(&mut session, "NOOP", "-ERR log in first");
        check(&mut session, "PASS x", "-ERR say USER first");
        check(&mut session, "USER alice", "+OK and the password?");
        check(&mut session, "PASS a b", "log in alice/a b");
    }

    /// A session that ends without QUIT has deleted nothing: commands that we don't know, one now and then, are no reason.
    #[test]
    fn faults_in_a_row_end_a_session_and_others_do_not() {
        let mut session = in_transaction(&[1]);
        for _ in 0..2 * MAX_FAULTS {
            assert!(show(session.line(b"XYZZY")).starts_with("-ERR"));
            check(&mut session, "NOOP", "+OK");
        }
        for _ in 1..MAX_FAULTS {
            assert!(show(session.line(b"XYZZY")).starts_with("-ERR"));
        }
        assert!(show(session.line(b"XYZZY")).starts_with("close -ERR"));
    }

    #[test]
    fn logs_in_by_sasl() {
        let mut session = Session::new(true, false, vec!["PLAIN", "LOGIN"]);
        check(&mut session, "AUTH", "+OK\r\nPLAIN\r\nLOGIN\r\n.");
        check(&mut session, "AUTH GSSAPI", "-ERR this mechanism is not offered");
        check(&mut session, "auth plain AGFsaWNlAHB3", "authenticate PLAIN Some(\"AGFsaWNlAHB3\")");
        session.log_in_failed(Reply::err("no"));
        check(&mut session, "AUTH LOGIN", "authenticate LOGIN None");
    }

    #[test]
    fn languages() {
        let mut session = Session::new(true, false, vec!["PLAIN"]);
        check(&mut session, "LANG", "+OK languages\r\nen English\r\n.");
        for well in ["LANG *", "LANG en", "lang EN-gb"] {
            check(&mut session, well, "+OK en English it is");
        }
        check(&mut session, "LANG de", "-ERR only English is spoken here");
        check(&mut session, "LANG de fr", "-ERR wrong number of arguments");
    }

    #[test]
    fn no_password_is_asked_for_without_tls() {
        let mut session = Session::new(false, false, vec!["PLAIN", "LOGIN"]);
        for line in ["USER alice", "PASS x", "AUTH PLAIN AGFsaWNlAHB3", "AUTH LOGIN"] {
            check(&mut session, line, "-ERR [AUTH] log in over TLS only: say STLS first");
        }
        assert!(!session.capabilities().contains("SASL"));
        assert!(session.capabilities().contains("STLS"));
        check(&mut session, "STLS", "tls +OK begin TLS");
        session.secured(vec!["SCRAM-SHA-256", "PLAIN"]);
        assert!(session.capabilities().contains("SASL SCRAM-SHA-256 PLAIN\r\n"));
        assert!(!session.capabilities().contains("STLS"));
        check(&mut session, "STLS", "-ERR TLS is on already");
    }

    #[test]
    fn stls_forgets_the_name_said_before() {
        let mut session = Session::new(false, true, vec!["PLAIN", "LOGIN"]);
        check(&mut session, "USER alice", "+OK and the password?");
        session.secured(vec!["SCRAM-SHA-256", "PLAIN"]);
        check(&mut session, "PASS x", "-ERR say USER first");
    }

    #[test]
    fn numbers_stay_while_messages_are_marked() {
        let mut session = in_transaction(&[10, 20, 30]);
        check(&mut session, "STAT", "+OK 3 60");
        check(&mut session, "DELE 2", "+OK marked for deletion");
        check(&mut session, "STAT", "+OK 2 40");
        check(&mut session, "LIST", "+OK 2 messages\r\n1 10\r\n3 30\r\n.");
        check(&mut session, "UIDL", "+OK 2 messages\r\n1 u10\r\n3 u30\r\n.");
        check(&mut session, "LIST 3", "+OK 3 30");
        check(&mut session, "UIDL 3", "+OK 3 u30");
        check(&mut session, "RETR 2", "-ERR this message is marked for deletion");
        check(&mut session, "DELE 2", "-ERR this message is marked for deletion");
        check(&mut session, "RETR 0", "-ERR there are only 3 messages");
        check(&mut session, "RETR 4", "-ERR there are only 3 messages");
        check(&mut session, "RETR 3", "send 2 None");
        check(&mut session, "TOP 1 5", "send 0 Some(5)");
        check(&mut session, "RSET", "+OK 3 messages");
        check(&mut session, "DELE 3", "+OK marked for deletion");
        check(&mut session, "DELE 1", "+OK marked for deletion");
        check(&mut session, "QUIT", "update [0, 2]");
    }

    #[test]
    fn quit_before_log_in_updates_nothing() {
        check(&mut Session::new(true, false, vec!["PLAIN", "LOGIN"]), "QUIT", "close +OK goodbye");
    }

    #[test]
    fn noise_ends_the_session() {
        let mut session = Session::new(true, false, vec!["PLAIN", "LOGIN"]);
        for _ in 1..MAX_FAULTS {
            check(&mut session, "GET / HTTP/1.1", "-ERR unknown command");
        }
        check(&mut session, "GET / HTTP/1.1", "close -ERR unknown command");
    }
}
