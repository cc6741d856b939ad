//! What the server says: status lines, listings, and mail made ready for the wire.

use std::fmt;

use memchr::memchr;

/// `+OK` or `-ERR`, with an extended response code where there is one to tell (RFC 2449 §8, RFC 3206).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    ok: bool,
    code: Option<Code>,
    text: String,
}

/// Extended response codes (RFC 2449 §8.1, RFC 3206 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The name or password is wrong, or the user may not log in.
    Auth,
    /// It may work later; nothing is wrong with the request.
    SysTemp,
    /// It will not work until somebody changes something.
    SysPerm,
}

impl Reply {
    /// `+OK`
    pub fn ok(text: impl Into<String>) -> Reply {
        Reply { ok: true, code: None, text: text.into() }
    }

    /// `-ERR`
    pub fn err(text: impl Into<String>) -> Reply {
        Reply { ok: false, code: None, text: text.into() }
    }

    /// `-ERR [CODE]`
    pub fn refused(code: Code, text: impl Into<String>) -> Reply {
        Reply { ok: false, code: Some(code), text: text.into() }
    }

    /// Whether it is `+OK`.
    pub fn is_ok(&self) -> bool {
        self.ok
    }
}

/// With its CRLF. Texts are our own; a line end inside one could only come from a name and is shown as a space.
impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.ok { "+OK" } else { "-ERR" })?;
        match self.code {
            None => (),
            Some(Code::Auth) => out.write_str(" [AUTH]")?,
            Some(Code::SysTemp) => out.write_str(" [SYS/TEMP]")?,
            Some(Code::SysPerm) => out.write_str(" [SYS/PERM]")?,
        }
        if !self.text.is_empty() {
            write!(out, " {}", self.text.replace(['\r', '\n'], " "))?;
        }
        out.write_str("\r\n")
    }
}

/// Makes a message a multi-line response (RFC 1939 §3): stuffs dots, adds the final CRLF if it is missing, and the end. Fed in pieces.
///
/// Only CRLF ends a line, so a dot is stuffed only behind one. Clients that take a bare LF for a line end exist, however, and a stored
/// bare LF with a lone dot behind it would end the message for them in the middle and let the mail speak for the server.
/// Deviation: that one dot is stuffed too.
#[derive(Debug, Clone, Default)]
pub struct Stuffer {
    at: At,
}

/// Where the next byte stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// At the beginning of a line.
    #[default]
    Start,
    /// Somewhere in a line.
    Middle,
    /// Behind a CR.
    Cr,
    /// Behind a bare LF.
    BareLf,
    /// Behind a bare LF and a dot that was not written yet.
    BareLfDot,
}

impl Stuffer {
    /// The next piece of the message.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some(&first) = bytes.first() {
            self.at = match (self.at, first) {
                (At::BareLfDot, byte) => {
                    out.extend_from_slice(if matches!(byte, b'\r' | b'\n') { b".." } else { b"." });
                    At::Middle
                }
                (At::BareLf, b'.') => {
                    bytes = &bytes[1..];
                    At::BareLfDot
                }
                (At::Start, b'.') => {
                    out.extend_from_slice(b"..");
                    bytes = &bytes[1..];
                    At::Middle
                }
                (before, _) => {
                    // One whole line, or what there is of it.
                    let line = memchr(b'\n', bytes).map_or(bytes, |end| &bytes[..=end]);
                    out.extend_from_slice(line);
                    bytes = &bytes[line.len()..];
                    match line {
                        [b'\n'] if before == At::Cr => At::Start,
                        [.., b'\r', b'\n'] => At::Start,
                        [.., b'\n'] => At::BareLf,
                        [.., b'\r'] => At::Cr,
                        _ => At::Middle,
                    }
                }
            };
        }
    }

    /// The end of the message.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.at {
            At::Start => (),
            At::BareLfDot => out.extend_from_slice(b"..\r\n"),
            At::Middle | At::Cr | At::BareLf => out.extend_from_slice(b"\r\n"),
        }
        out.extend_from_slice(b".\r\n");
    }
}

/// Cuts what TOP sends: the header, the empty line, and so many lines of the body (RFC 1939 §7). Fed with the body in pieces.
#[derive(Debug, Clone)]
pub struct Top {
    lines: u64,
}

impl Top {
    /// So many lines.
    pub fn new(lines: u64) -> Top {
        Top { lines }
    }

    /// Whether nothing more is wanted.
    pub fn is_full(&self) -> bool {
        self.lines == 0
    }

    /// As much of this piece of the body as belongs to it.
    pub fn take<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let mut end = 0;
        while self.lines > 0 && end < piece.len() {
            match memchr(b'\n', &piece[end..]) {
                Some(at) => {
                    end += at + 1;
                    self.lines -= 1;
                }
                None => end = piece.len(),
            }
        }
        &piece[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        assert_eq!(Reply::ok("").to_string(), "+OK\r\n");
        assert_eq!(Reply::ok("2 messages").to_string(), "+OK 2 messages\r\n");
        assert_eq!(Reply::err("no such\r\n+OK message").to_string(), "-ERR no such  +OK message\r\n");
        assert_eq!(Reply::refused(Code::Auth, "wrong").to_string(), "-ERR [AUTH] wrong\r\n");
        assert_eq!(Reply::refused(Code::SysTemp, "later").to_string(), "-ERR [SYS/TEMP] later\r\n");
    }

    /// In one piece and byte by byte.
    fn check(message: &str, wire: &str) {
        let mut whole = Vec::new();
        let mut stuffer = Stuffer::default();
        stuffer.push(message.as_bytes(), &mut whole);
        stuffer.finish(&mut whole);
        assert_eq!(String::from_utf8(whole).unwrap(), wire, "{message:?}");
        let mut pieces = Vec::new();
        let mut stuffer = Stuffer::default();
        for byte in message.bytes() {
            stuffer.push(&[byte], &mut pieces);
        }
        stuffer.finish(&mut pieces);
        assert_eq!(String::from_utf8(pieces).unwrap(), wire, "{message:?} byte by byte");
    }

    #[test]
    fn stuffs_and_ends() {
        check("", ".\r\n");
        check("a\r\n", "a\r\n.\r\n");
        check("a", "a\r\n.\r\n");
        check(".", "..\r\n.\r\n");
        check(".\r\n", "..\r\n.\r\n");
        check("a\r\n.b\r\n..\r\n", "a\r\n..b\r\n...\r\n.\r\n");
        check("a\r\n\r\n.\r\n", "a\r\n\r\n..\r\n.\r\n");
        check("a\r", "a\r\r\n.\r\n");
        check("a\r\r\n.", "a\r\r\n..\r\n.\r\n");
        check("\r\n", "\r\n.\r\n");
        check("\n", "\n\r\n.\r\n");
    }

    #[test]
    fn a_lone_dot_behind_a_bare_line_feed_ends_no_message() {
        check("a\n.\r\nb\r\n", "a\n..\r\nb\r\n.\r\n");
        check("a\n.\nb\r\n", "a\n..\nb\r\n.\r\n");
        check("a\n.", "a\n..\r\n.\r\n");
        check("a\n.b\r\n", "a\n.b\r\n.\r\n");
        check("a\n..\r\n", "a\n..\r\n.\r\n");
    }

    #[test]
    fn top_counts_lines_over_pieces() {
        let mut top = Top::new(2);
        let cut: Vec<&[u8]> = [&b"one\r"[..], b"\ntw", b"o\r\nthree\r\n"].into_iter().map(|piece| top.take(piece)).collect();
        assert_eq!(cut.concat(), b"one\r\ntwo\r\n");
        assert!(top.is_full());
        assert_eq!(Top::new(0).take(b"one\r\n"), b"");
        assert_eq!(Top::new(9).take(b"one\r\ntwo"), b"one\r\ntwo");
    }
}
