//! What a client says: one line to one [`Command`].

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::SecretString;

/// Longest command line without its CRLF. RFC 2449 §4 asks for 255; AUTH's initial responses and generous clients need more (RFC 5034 §4).
pub const MAX_LINE: usize = 12_288;

/// A command, with arguments in range but not yet checked against any mailbox.
#[derive(Debug, Clone)]
pub enum Command {
    /// RFC 2449 §5
    Capa,
    /// The name, as it was sent.
    User(String),
    /// The password, spaces included (RFC 1939 §7).
    Pass(SecretString),
    /// The mechanism in upper case and its initial response, still in base64 (RFC 5034 §4). Without a mechanism: which are there?
    Auth(Option<String>, Option<SecretString>),
    /// RFC 2595 §4
    Stls,
    /// RFC 1939 §5
    Stat,
    /// Of one message, or of all.
    List(Option<usize>),
    /// Of one message, or of all.
    Uidl(Option<usize>),
    /// Message, and lines of its body.
    Top(usize, u64),
    /// Message.
    Retr(usize),
    /// Message.
    Dele(usize),
    /// Takes every DELE back.
    Rset,
    /// Nothing.
    Noop,
    /// RFC 6856 §2
    Utf8,
    /// `LANG [tag]` (RFC 6856 §3)
    Lang(Option<String>),
    /// The end.
    Quit,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// No such command here.
    #[error("unknown command")]
    Unknown,
    /// An argument that has to be a message number is something else.
    #[error("a message number is needed")]
    Number,
    /// Too few or too many words.
    #[error("wrong number of arguments")]
    Arguments,
    /// Not UTF-8, or control characters in it.
    #[error("the line contains bytes that have no place in a command")]
    Bytes,
}

impl Command {
    /// Parses a line without its line end: `keyword *(SP argument)` (RFC 1939 §3); the keyword's case doesn't matter.
    pub fn parse(line: &[u8]) -> Result<Command, SyntaxError> {
        let line = std::str::from_utf8(line).map_err(|_| SyntaxError::Bytes)?;
        if line.chars().any(char::is_control) {
            return Err(SyntaxError::Bytes);
        }
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        let bare = |command: Command| match words.is_empty() {
            true => Ok(command),
            false => Err(SyntaxError::Arguments),
        };
        match keyword.to_ascii_uppercase().as_str() {
            "CAPA" => bare(Command::Capa),
            "STLS" => bare(Command::Stls),
            "STAT" => bare(Command::Stat),
            "RSET" => bare(Command::Rset),
            "NOOP" => bare(Command::Noop),
            "QUIT" => bare(Command::Quit),
            "UTF8" => bare(Command::Utf8),
            "LANG" => match words[..] {
                [] => Ok(Command::Lang(None)),
                [tag] => Ok(Command::Lang(Some(tag.to_owned()))),
                _ => Err(SyntaxError::Arguments),
            },
            "USER" if rest.trim().is_empty() => Err(SyntaxError::Arguments),
            "USER" => Ok(Command::User(rest.trim().to_owned())),
            "PASS" => Ok(Command::Pass(SecretString::from(rest))),
            "AUTH" => match words[..] {
                [] => Ok(Command::Auth(None, None)),
                [mechanism] => Ok(Command::Auth(Some(mechanism.to_ascii_uppercase()), None)),
                [mechanism, initial] => Ok(Command::Auth(Some(mechanism.to_ascii_uppercase()), Some(SecretString::from(initial)))),
                _ => Err(SyntaxError::Arguments),
            },
            "LIST" => Ok(Command::List(optional_number(&words)?)),
            "UIDL" => Ok(Command::Uidl(optional_number(&words)?)),
            "RETR" => Ok(Command::Retr(only_number(&words)?)),
            "DELE" => Ok(Command::Dele(only_number(&words)?)),
            "TOP" => match words[..] {
                [message, lines] => Ok(Command::Top(number(message)?, lines.parse().map_err(|_| SyntaxError::Number)?)),
                _ => Err(SyntaxError::Arguments),
            },
            _ => Err(SyntaxError::Unknown),
        }
    }
}

/// A line that answers a SASL challenge: base64, or `None` for `*`, which cancels (RFC 5034 §4).
pub fn sasl_answer(line: &[u8]) -> Result<Option<Vec<u8>>, SyntaxError> {
    match line {
        b"*" => Ok(None),
        // An empty initial response is written as `=` (RFC 4954 §4, RFC 5034 §4).
        b"=" => Ok(Some(Vec::new())),
        line => BASE64_STANDARD.decode(line).map(Some).map_err(|_| SyntaxError::Bytes),
    }
}

fn optional_number(words: &[&str]) -> Result<Option<usize>, SyntaxError> {
    if words.is_empty() { Ok(None) } else { only_number(words).map(Some) }
}

fn only_number(words: &[&str]) -> Result<usize, SyntaxError> {
    match words {
        [word] => number(word),
        _ => Err(SyntaxError::Arguments),
    }
}

/// Digits only: `parse` would take `+1` as well.
fn number(word: &str) -> Result<usize, SyntaxError> {
    match word.bytes().all(|b| b.is_ascii_digit()) {
        true => word.parse().map_err(|_| SyntaxError::Number),
        false => Err(SyntaxError::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let shown = match Command::parse(line.as_bytes()) {
            Ok(command) => format!("{command:?}"),
            Err(error) => format!("{error:?}"),
        };
        assert_eq!(shown, expected, "{line:?}");
    }

    #[test]
    fn parses_commands() {
        check("CAPA", "Capa");
        check("quit", "Quit");
        check("QUIT ", "Quit");
        check("QUIT now", "Arguments");
        check("USER alice", "User(\"alice\")");
        check("USER Alice Smith", "User(\"Alice Smith\")");
        check("USER", "Arguments");
        check("LIST", "List(None)");
        check("LIST 3", "List(Some(3))");
        check("LIST x", "Number");
        check("LIST +3", "Number");
        check("LIST 1 2", "Arguments");
        check("UIDL 0", "Uidl(Some(0))");
        check("RETR 99999999999999999999999", "Number");
        check("RETR", "Arguments");
        check("TOP 1 0", "Top(1, 0)");
        check("TOP 1", "Arguments");
        check("TOP 1 -1", "Number");
        check("AUTH", "Auth(None, None)");
        check("auth plain", "Auth(Some(\"PLAIN\"), None)");
        check("XYZZY", "Unknown");
        check("", "Unknown");
        check("USER a\0b", "Bytes");
    }

    #[test]
    fn a_password_keeps_its_spaces_and_is_never_printed() {
        use secrecy::ExposeSecret;
        let Ok(Command::Pass(password)) = Command::parse(b"PASS  two  words ") else { panic!("no PASS") };
        assert_eq!(password.expose_secret(), " two  words ");
        check("PASS hunter2", "Pass(SecretBox<str>([REDACTED]))");
        check("AUTH PLAIN AGEAYg==", "Auth(Some(\"PLAIN\"), Some(SecretBox<str>([REDACTED])))");
    }

    #[test]
    fn sasl_answers() {
        assert_eq!(sasl_answer(b"*"), Ok(None));
        assert_eq!(sasl_answer(b"="), Ok(Some(vec![])));
        assert_eq!(sasl_answer(b"AGEAYg=="), Ok(Some(b"\0a\0b".to_vec())));
        assert_eq!(sasl_answer(b"!"), Err(SyntaxError::Bytes));
    }
}
