//! Replies, written and read: multi-line (RFC 5321 §4.2), with enhanced status codes (RFC 3463, RFC 2034).
//!
//! The same value goes both ways: our server renders it, our client collects it from lines. Knows no command.

use std::fmt;

/// Longest reply line that we read, CRLF included. RFC 5321 §4.5.3.1.5 says 512; chatty servers write links and tracking numbers.
pub const MAX_LINE: usize = 2_048;
/// Most lines of one reply that we read: the longest EHLO answers have about thirty.
const MAX_LINES: usize = 100;
/// Our own lines are cut here, to keep RFC 5321 §4.5.3.1.5 with code and CRLF.
const MAX_TEXT: usize = 480;

/// `class "." subject "." detail` (RFC 3463 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Enhanced(pub u8, pub u16, pub u16);

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// The enhanced status code, if there is one.
    pub enhanced: Option<Enhanced>,
    /// At least one, without codes.
    pub lines: Vec<String>,
}

/// What a server says where a reply should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// No three digits and a separator, or lines of one reply with different codes.
    #[error("the server's answer makes no sense: {0}")]
    Garbage(String),
    /// More lines than any server has reason to send.
    #[error("the server's answer does not end")]
    Endless,
}

/// A reply's first digit (RFC 5321 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 2yz: done.
    Done,
    /// 3yz: go on.
    More,
    /// 4yz: later perhaps.
    Temporary,
    /// 5yz: never like this.
    Permanent,
}

impl Reply {
    /// One line. `enhanced` is written `5.7.1`; empty: none.
    pub fn new(code: u16, enhanced: &str, text: impl Into<String>) -> Self {
        Self { code, enhanced: Enhanced::parse(enhanced), lines: vec![text.into()] }
    }

    /// Several lines.
    pub fn lines(code: u16, enhanced: &str, lines: Vec<String>) -> Self {
        Self { code, enhanced: Enhanced::parse(enhanced), lines }
    }

    /// The first digit.
    pub fn class(&self) -> Class {
        match self.code {
            ..300 => Class::Done,
            300..400 => Class::More,
            400..500 => Class::Temporary,
            _ => Class::Permanent,
        }
    }

    /// As it goes on the wire, CRLF included. Control characters become spaces, and what is not ASCII `?` unless the client speaks
    /// SMTPUTF8 (RFC 6531 §3.7.4), so that nothing in a text can start a line of its own.
    pub fn encode(&self, utf8: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let last = self.lines.len().saturating_sub(1);
        for (at, line) in self.lines.iter().enumerate() {
            let separator = if at == last { ' ' } else { '-' };
            let status = self.enhanced.map(|e| format!("{e} ")).unwrap_or_default();
            let mut text = String::new();
            for c in line.chars() {
                let c = match c {
                    c if c.is_control() => ' ',
                    c if utf8 || c.is_ascii() => c,
                    '“' | '”' | '„' => '"',
                    '’' | '‘' => '\'',
                    '–' | '—' => '-',
                    _ => '?',
                };
                if text.len() + c.len_utf8() > MAX_TEXT {
                    break;
                }
                text.push(c);
            }
            out.extend_from_slice(format!("{}{separator}{status}{}\r\n", self.code, text.trim_end()).as_bytes());
        }
        out
    }
}

/// As it is shown to people and kept as the last reply: one line.
impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(out, " {enhanced}")?;
        }
        for line in self.lines.iter().filter(|line| !line.is_empty()) {
            write!(out, " {line}")?;
        }
        Ok(())
    }
}

impl Enhanced {
    /// `5.7.1`; the class can only be 2, 4 or 5 (RFC 3463 §2).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut number = || {
            let part = parts.next()?;
            (!part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u16>().ok()).flatten()
        };
        let (class, subject, detail) = (number()?, number()?, number()?);
        let class = u8::try_from(class).ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        parts.next().is_none().then_some(Self(class, subject, detail))
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Collects the lines of one reply after the other.
#[derive(Debug, Default)]
pub struct Collector {
    partial: Option<Reply>,
}

impl Collector {
    /// Takes one line without its line end; gives the reply when it is whole.
    ///
    /// `Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF` (RFC 5321 §4.2).
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let garbage = || ReplyError::Garbage(excerpt(line));
        let (digits, rest) = line.split_at_checked(3).ok_or_else(garbage)?;
        let code = match digits {
            [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
            }
            _ => return Err(garbage()),
        };
        let (more, text) = match rest {
            [] => (false, &[][..]),
            [b' ', text @ ..] => (false, text),
            [b'-', text @ ..] => (true, text),
            _ => return Err(garbage()),
        };
        let text = printable(text);
        let (enhanced, text) = match text.split_once(' ').unwrap_or((&text, "")) {
            (word, rest) if Enhanced::parse(word).is_some_and(|e| u16::from(e.0) == code / 100) => (Enhanced::parse(word), rest.to_owned()),
            _ => (None, text),
        };
        let mut reply = self.partial.take().unwrap_or(Reply { code, enhanced, lines: Vec::new() });
        if reply.code != code {
            return Err(garbage());
        }
        if reply.lines.len() == MAX_LINES {
            return Err(ReplyError::Endless);
        }
        reply.lines.push(text);
        if more {
            self.partial = Some(reply);
            return Ok(None);
        }
        Ok(Some(reply))
    }
}

/// Hostile bytes, fit for a log or a bounce.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn excerpt(line: &[u8]) -> String {
    printable(&line[..line.len().min(80)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: Result<Option<Reply>, ReplyError>) {
        let mut collector = Collector::default();
        let mut got = Ok(None);
        for line in lines {
            got = collector.line(line.as_bytes());
        }
        assert_eq!(got, expected, "{lines:?}");
    }

    #[test]
    fn reads_replies() {
        check(&["250 2.1.0 Ok"], Ok(Some(Reply::new(250, "2.1.0", "Ok"))));
        check(&["250"], Ok(Some(Reply::new(250, "", ""))));
        check(&["220 mx ESMTP"], Ok(Some(Reply::new(220, "", "mx ESMTP"))));
        check(&["550-5.1.1 No such", "550 5.1.1 user"], Ok(Some(Reply::lines(550, "5.1.1", vec!["No such".into(), "user".into()]))));
        check(&["250-SIZE 1000"], Ok(None));
        // A class that contradicts the code is text.
        check(&["550 2.0.0 odd"], Ok(Some(Reply::new(550, "", "2.0.0 odd"))));
        check(&["250-a", "251 b"], Err(ReplyError::Garbage("251 b".into())));
        check(&["hello"], Err(ReplyError::Garbage("hello".into())));
        check(&["2500 x"], Err(ReplyError::Garbage("2500 x".into())));
        check(&["99"], Err(ReplyError::Garbage("99".into())));
    }

    #[test]
    fn an_endless_reply_is_cut() {
        let mut collector = Collector::default();
        let results: Vec<_> = (0..=MAX_LINES).map(|_| collector.line(b"250-more")).collect();
        assert_eq!(results.last(), Some(&Err(ReplyError::Endless)));
        assert!(results[..MAX_LINES].iter().all(|r| *r == Ok(None)));
    }

    #[test]
    fn writes_replies() {
        let reply = Reply::lines(550, "5.7.1", vec!["You may send as:".into(), "alice@example.com".into()]);
        assert_eq!(reply.encode(false), b"550-5.7.1 You may send as:\r\n550 5.7.1 alice@example.com\r\n");
        assert_eq!(Reply::new(250, "", "“x”\r\n250 é").encode(false), b"250 \"x\"  250 ?\r\n");
        assert_eq!(Reply::new(250, "", "é").encode(true), "250 é\r\n".as_bytes());
        assert!(Reply::new(250, "2.0.0", "x".repeat(9000)).encode(true).len() <= 512);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let reply = Reply::lines(452, "4.3.1", vec!["a".into(), "b c".into()]);
        let wire = String::from_utf8(reply.encode(false)).unwrap();
        check(&wire.lines().collect::<Vec<_>>(), Ok(Some(reply)));
    }
}
