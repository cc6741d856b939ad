//! Command lines, parsed (RFC 5321 §4.1, with the parameters of RFC 1870, 6152, 6531, 3461 and 4954).
//!
//! A line comes in without its CRLF and becomes a [`Command`] or says what is wrong with it; nothing here knows whether the command is
//! welcome at this point.

use crate::address::Address;
use crate::message::wish::{Notify, Return, Wish};
use crate::smtp::reply::Reply;
use crate::smtp::xtext;

/// Longest command line, CRLF included. RFC 5321 §4.5.3.1.4 says 512; RFC 4954 §4 raises it to this for AUTH's initial response.
pub const MAX_LINE: usize = 12_288;
/// What a client says about itself is kept for `Received` and the log: longer than any domain (RFC 5321 §4.5.3.1.2).
const MAX_HELLO: usize = 255;
/// RFC 3461 §4.4: `ENVID` has at most 100 characters.
const MAX_ENVID: usize = 100;
/// RFC 3461 §4.2: `ORCPT` has at most 500 characters.
const MAX_ORCPT: usize = 500;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `EHLO`: what the client calls itself.
    Ehlo(String),
    /// `HELO`: the same without extensions.
    Helo(String),
    /// `STARTTLS` (RFC 3207).
    Starttls,
    /// `AUTH` (RFC 4954): mechanism in upper case, and the initial response still in base64 (`=` is an empty one).
    Auth(String, Option<String>),
    /// `MAIL FROM`
    Mail(Mail),
    /// `RCPT TO`
    Rcpt(Rcpt),
    /// `DATA`
    Data,
    /// `BDAT` (RFC 3030): this many bytes follow; whether they are the last.
    Bdat(u64, bool),
    /// `RSET`
    Rset,
    /// `NOOP`
    Noop,
    /// `QUIT`
    Quit,
    /// `VRFY`
    Vrfy,
    /// `EXPN`
    Expn,
    /// `HELP`
    Help,
}

/// A reverse or forward path. A source route is dropped (RFC 5321 appendix C).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// `<>`
    Null,
    /// `<local@domain>`
    Mailbox(Address),
    /// `<postmaster>` (RFC 5321 §4.5.1), or a name that leaves the domain to us, as old LAN clients and devices write it.
    Bare(String),
}

/// `MAIL FROM:<path>` with what we know of its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Reverse path.
    pub from: Path,
    /// `SIZE=`: announced bytes (RFC 1870).
    pub size: Option<u64>,
    /// `BODY=8BITMIME` (RFC 6152).
    pub eight_bit: bool,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<Return>,
    /// `ENVID=`, decoded from xtext (RFC 3461 §4.4).
    pub envid: Option<String>,
}

/// `RCPT TO:<path>` with what we know of its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt {
    /// Forward path; never [`Path::Null`].
    pub to: Path,
    /// `NOTIFY=` and `ORCPT=`.
    pub wish: Wish,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// No verb that we know.
    Unknown,
    /// The verb is known, its argument is not right.
    Syntax(&'static str),
    /// An ESMTP parameter that we did not offer, or a value that it can't have.
    Parameter(String),
    /// The reverse path is no address: why.
    Sender(String),
    /// The forward path is no address: why.
    Recipient(String),
}

impl CommandError {
    /// What the client is told (RFC 5321 §4.2.4, RFC 3463).
    pub fn reply(&self) -> Reply {
        match self {
            CommandError::Unknown => Reply::new(500, "5.5.2", "I don't know that command"),
            CommandError::Syntax(expected) => Reply::new(501, "5.5.4", format!("Write: {expected}")),
            CommandError::Parameter(name) => Reply::new(555, "5.5.4", format!("I don't take the parameter {name}")),
            CommandError::Sender(why) => Reply::new(553, "5.1.7", format!("The sender is no mail address: {why}")),
            CommandError::Recipient(why) => Reply::new(553, "5.1.3", format!("The recipient is no mail address: {why}")),
        }
    }
}

impl Command {
    /// Parses one line without its CRLF.
    pub fn parse(line: &[u8]) -> Result<Command, CommandError> {
        let Ok(line) = std::str::from_utf8(line) else { return Err(CommandError::Unknown) };
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(CommandError::Unknown);
        }
        let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim_matches([' ', '\t']);
        let alone = |command, expected| if rest.is_empty() { Ok(command) } else { Err(CommandError::Syntax(expected)) };
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => hello(rest).map(Command::Ehlo),
            "HELO" => hello(rest).map(Command::Helo),
            "STARTTLS" => alone(Command::Starttls, "STARTTLS"),
            "AUTH" => auth(rest),
            "MAIL" => mail(rest),
            "RCPT" => rcpt(rest),
            "DATA" => alone(Command::Data, "DATA"),
            "BDAT" => bdat(rest),
            "RSET" => alone(Command::Rset, "RSET"),
            "NOOP" => Ok(Command::Noop),
            "QUIT" => alone(Command::Quit, "QUIT"),
            "VRFY" => Ok(Command::Vrfy),
            "EXPN" => Ok(Command::Expn),
            "HELP" => Ok(Command::Help),
            _ => Err(CommandError::Unknown),
        }
    }
}

/// `ehlo = "EHLO" SP ( Domain / address-literal )` (RFC 5321 §4.1.1.1).
/// Deviation: any one word is taken, since Windows machines and scanners say their bare or underscored names.
fn hello(rest: &str) -> Result<String, CommandError> {
    let word = rest.split([' ', '\t']).next().unwrap_or_default();
    if word.is_empty() || word.len() > MAX_HELLO {
        return Err(CommandError::Syntax("EHLO your.host.name"));
    }
    Ok(word.to_owned())
}

/// `"AUTH" SP mechanism [SP initial-response]` (RFC 4954 §4).
fn auth(rest: &str) -> Result<Command, CommandError> {
    let mut words = rest.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) => Ok(Command::Auth(mechanism.to_ascii_uppercase(), initial.map(str::to_owned))),
        _ => Err(CommandError::Syntax("AUTH mechanism [initial-response]")),
    }
}

/// `bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ]` (RFC 3030 §2).
fn bdat(rest: &str) -> Result<Command, CommandError> {
    let mut words = rest.split_ascii_whitespace();
    let size = words.next().filter(|w| w.bytes().all(|b| b.is_ascii_digit())).and_then(|w| w.parse().ok());
    match (size, words.next(), words.next()) {
        (Some(size), None, None) => Ok(Command::Bdat(size, false)),
        (Some(size), Some(last), None) if last.eq_ignore_ascii_case("LAST") => Ok(Command::Bdat(size, true)),
        _ => Err(CommandError::Syntax("BDAT size [LAST]")),
    }
}

/// `mail = "MAIL FROM:" Reverse-path [SP Mail-parameters]` (RFC 5321 §4.1.1.2).
fn mail(rest: &str) -> Result<Command, CommandError> {
    const EXPECTED: CommandError = CommandError::Syntax("MAIL FROM:<address>");
    let rest = after_keyword(rest, "FROM:").ok_or(EXPECTED)?;
    let (from, parameters) = path(rest).map_err(|error| error.map_or(EXPECTED, CommandError::Sender))?;
    let mut mail = Mail { from, size: None, eight_bit: false, smtputf8: false, ret: None, envid: None };
    for (name, value, whole) in each_parameter(parameters) {
        let refuse = || CommandError::Parameter(whole.to_owned());
        match (name.as_str(), value) {
            ("SIZE", Some(n)) if n.bytes().all(|b| b.is_ascii_digit()) => mail.size = Some(n.parse().map_err(|_| refuse())?),
            ("BODY", Some(body)) if body.eq_ignore_ascii_case("8BITMIME") => mail.eight_bit = true,
            ("BODY", Some(body)) if body.eq_ignore_ascii_case("7BIT") => {}
            ("SMTPUTF8", None) => mail.smtputf8 = true,
            ("RET", Some(what)) if mail.ret.is_none() => mail.ret = Some(Return::parse(what).ok_or_else(refuse)?),
            ("ENVID", Some(id)) if id.len() <= MAX_ENVID && mail.envid.is_none() => {
                mail.envid = Some(xtext::decode(id).ok_or_else(refuse)?);
            }
            // RFC 4954 §5: anybody may say it, and it means nothing to us.
            ("AUTH", Some(_)) => {}
            _ => return Err(refuse()),
        }
    }
    Ok(Command::Mail(mail))
}

/// `rcpt = "RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) [SP Rcpt-parameters]` (RFC 5321 §4.1.1.3).
fn rcpt(rest: &str) -> Result<Command, CommandError> {
    const EXPECTED: CommandError = CommandError::Syntax("RCPT TO:<address>");
    let rest = after_keyword(rest, "TO:").ok_or(EXPECTED)?;
    let (to, parameters) = path(rest).map_err(|error| error.map_or(EXPECTED, CommandError::Recipient))?;
    if to == Path::Null {
        return Err(CommandError::Recipient("it is empty".into()));
    }
    let mut rcpt = Rcpt { to, wish: Wish::default() };
    for (name, value, whole) in each_parameter(parameters) {
        let refuse = || CommandError::Parameter(whole.to_owned());
        match (name.as_str(), value) {
            ("NOTIFY", Some(list)) if rcpt.wish.notify.is_none() => rcpt.wish.notify = Some(Notify::parse(list).ok_or_else(refuse)?),
            ("ORCPT", Some(original)) if original.len() <= MAX_ORCPT && rcpt.wish.original.is_none() => {
                rcpt.wish.original = Some(original_recipient(original).ok_or_else(refuse)?);
            }
            _ => return Err(refuse()),
        }
    }
    Ok(Command::Rcpt(rcpt))
}

/// `original-recipient-address = atom ";" xtext` (RFC 3461 §4.2). For people and reports: without xtext.
fn original_recipient(text: &str) -> Option<String> {
    let (kind, address) = text.split_once(';')?;
    let is_atom = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_atom.then(|| xtext::decode(address).map(|address| format!("{kind};{address}")))?
}

/// Behind `FROM:` or `TO:`. Deviation: a space before the path is passed over; old clients write one.
fn after_keyword<'a>(rest: &'a str, keyword: &str) -> Option<&'a str> {
    let (head, tail) = rest.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| tail.trim_start())
}

/// `Path = "<" [ A-d-l ":" ] Mailbox ">"` (RFC 5321 §4.1.2), and the parameters behind it. `Err(None)`: there is no path at all.
/// Deviation: angle brackets may be missing, as scanners forget them.
fn path(text: &str) -> Result<(Path, &str), Option<String>> {
    let (inner, rest) = match text.strip_prefix('<') {
        Some(text) => {
            let end = closing_bracket(text).ok_or_else(|| Some("the closing > is missing".to_owned()))?;
            (&text[..end], &text[end + 1..])
        }
        None if text.is_empty() => return Err(None),
        None => text.split_at(text.find([' ', '\t']).unwrap_or(text.len())),
    };
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return Err(Some(format!("\"{rest}\" stands behind it")));
    }
    let mailbox = match inner.strip_prefix('@').and_then(|route| route.split_once(':')) {
        Some((route, mailbox)) if !route.contains('"') => mailbox,
        _ => inner,
    };
    let path = if mailbox.is_empty() {
        Path::Null
    } else if mailbox.contains('@') {
        Path::Mailbox(Address::parse(mailbox).map_err(|error| Some(error.to_string()))?)
    } else if mailbox.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b)) {
        Path::Bare(mailbox.to_owned())
    } else {
        return Err(Some(format!("\"{mailbox}\" has no @")));
    };
    Ok((path, rest))
}

/// The first `>` outside a `Quoted-string`.
fn closing_bracket(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// `esmtp-param = esmtp-keyword ["=" esmtp-value]` (RFC 5321 §4.1.2): name in upper case, value, and both as written.
fn each_parameter(text: &str) -> impl Iterator<Item = (String, Option<&str>, &str)> {
    text.split_ascii_whitespace().map(|whole| match whole.split_once('=') {
        Some((name, value)) => (name.to_ascii_uppercase(), Some(value), whole),
        None => (whole.to_ascii_uppercase(), None, whole),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Path {
        Path::Mailbox(Address::parse(text).unwrap())
    }

    fn check(line: &str, expected: Result<Command, CommandError>) {
        assert_eq!(Command::parse(line.as_bytes()), expected, "{line}");
    }

    fn check_rcpt(line: &str, to: Option<Path>) {
        let got = match Command::parse(line.as_bytes()) {
            Ok(Command::Rcpt(rcpt)) => Some(rcpt.to),
            _ => None,
        };
        assert_eq!(got, to, "{line}");
    }

    #[test]
    fn plain_commands() {
        check("ehlo [192.0.2.1]", Ok(Command::Ehlo("[192.0.2.1]".into())));
        check("HELO pc_7", Ok(Command::Helo("pc_7".into())));
        check("EHLO", Err(CommandError::Syntax("EHLO your.host.name")));
        check("auth plain AGEAYg==", Ok(Command::Auth("PLAIN".into(), Some("AGEAYg==".into()))));
        check("AUTH LOGIN", Ok(Command::Auth("LOGIN".into(), None)));
        check("DATA", Ok(Command::Data));
        check("DATA now", Err(CommandError::Syntax("DATA")));
        check("quit ", Ok(Command::Quit));
        check("NOOP anything", Ok(Command::Noop));
        check("BDAT 86 LAST", Ok(Command::Bdat(86, true)));
        check("BDAT 0", Ok(Command::Bdat(0, false)));
        check("BDAT +5", Err(CommandError::Syntax("BDAT size [LAST]")));
        check("BDAT 99999999999999999999", Err(CommandError::Syntax("BDAT size [LAST]")));
        check("GET / HTTP/1.1", Err(CommandError::Unknown));
        check("", Err(CommandError::Unknown));
        assert_eq!(Command::parse(b"NOOP \xff"), Err(CommandError::Unknown));
        assert_eq!(Command::parse(b"NOOP\rQUIT"), Err(CommandError::Unknown));
    }

    #[test]
    fn mail_parameters() {
        let plain = Mail { from: mailbox("alice@example.com"), size: None, eight_bit: false, smtputf8: false, ret: None, envid: None };
        check("MAIL FROM:<alice@example.com>", Ok(Command::Mail(plain.clone())));
        check("mail from: alice@example.com", Ok(Command::Mail(plain.clone())));
        check(
            "MAIL FROM:<alice@example.com> size=1000 BODY=8bitmime SMTPUTF8 RET=HDRS ENVID=QQ+2B1 AUTH=<>",
            Ok(Command::Mail(Mail {
                size: Some(1000),
                eight_bit: true,
                smtputf8: true,
                ret: Some(Return::Headers),
                envid: Some("QQ+1".into()),
                ..plain.clone()
            })),
        );
        check("MAIL FROM:<>", Ok(Command::Mail(Mail { from: Path::Null, ..plain.clone() })));
        check("MAIL FROM:<alice>", Ok(Command::Mail(Mail { from: Path::Bare("alice".into()), ..plain })));
        check("MAIL FROM:<a@b.example> SIZE=-1", Err(CommandError::Parameter("SIZE=-1".into())));
        check("MAIL FROM:<a@b.example> BODY=BINARYMIME", Err(CommandError::Parameter("BODY=BINARYMIME".into())));
        check("MAIL FROM:<a@b.example> ENVID=a+0D+0Ab", Err(CommandError::Parameter("ENVID=a+0D+0Ab".into())));
        check("MAIL FROM:", Err(CommandError::Syntax("MAIL FROM:<address>")));
        check("MAIL alice@example.com", Err(CommandError::Syntax("MAIL FROM:<address>")));
        assert!(matches!(Command::parse(b"MAIL FROM:<a@b.example"), Err(CommandError::Sender(_))));
    }

    #[test]
    fn forward_paths() {
        check_rcpt("RCPT TO:<postmaster>", Some(Path::Bare("postmaster".into())));
        check_rcpt("RCPT TO:<bob@[192.0.2.1]>", Some(mailbox("bob@[192.0.2.1]")));
        check_rcpt("RCPT TO:<\"bob > smith\"@example.com>", Some(mailbox("\"bob > smith\"@example.com")));
        check_rcpt("RCPT TO:<@relay.example,@b.example:bob@example.com>", Some(mailbox("bob@example.com")));
        check_rcpt("RCPT TO:<rüdiger@bücher.example>", Some(mailbox("rüdiger@bücher.example")));
        for refused in [
            "RCPT TO:<>",
            "RCPT TO:<bob@example.com>x",
            "RCPT TO:<bob@other.example@example.com>",
            "RCPT TO:<bob smith@example.com>",
            "RCPT TO:<other.example!bob>",
            "RCPT TO:<bob%other.example>",
            "RCPT TO:<bob@example.com\0>",
            "RCPT TO:<|/bin/sh@example.com x>",
        ] {
            check_rcpt(refused, None);
        }
    }

    #[test]
    fn rcpt_parameters() {
        let Ok(Command::Rcpt(rcpt)) = Command::parse(b"RCPT TO:<bob@example.com> NOTIFY=SUCCESS,delay ORCPT=rfc822;Bob+40x") else {
            panic!("refused");
        };
        assert_eq!(rcpt.wish.notify, Some(Notify { success: true, failure: false, delay: true }));
        assert_eq!(rcpt.wish.original.as_deref(), Some("rfc822;Bob@x"));
        for twice in ["NOTIFY=NEVER NOTIFY=NEVER", "ORCPT=rfc822;a ORCPT=rfc822;b", "ORCPT=;a", "ORCPT=a"] {
            assert!(
                matches!(Command::parse(format!("RCPT TO:<b@c.example> {twice}").as_bytes()), Err(CommandError::Parameter(_))),
                "{twice}"
            );
        }
        check("RCPT TO:<b@c.example> NOTIFY=NEVER,DELAY", Err(CommandError::Parameter("NOTIFY=NEVER,DELAY".into())));
        check("RCPT TO:<b@c.example> FOO", Err(CommandError::Parameter("FOO".into())));
    }

    proptest::proptest! {
        #[test]
        fn hostile_lines_never_panic(line: Vec<u8>, tail in "[ <>@:\"\\\\a=+;,%é]{0,40}") {
            let _ = Command::parse(&line);
            for verb in ["MAIL FROM:", "RCPT TO:<", "BDAT ", "AUTH ", "EHLO "] {
                let _ = Command::parse(format!("{verb}{tail}").as_bytes());
            }
        }
    }
}
