//! Dot-stuffing as POP3 (RFC 1939 §3) and SMTP (RFC 5321 §4.5.2) use it, in pieces of any size.
//!
//! Only CR LF `.` CR LF ends a message. Everything else is passed through byte for byte; a dot is taken away, or added, only behind
//! CR LF or at the very start.

/// Undoes dot-stuffing.
#[derive(Debug, Clone, Default)]
pub struct Unstuffer {
    state: Inside,
}

/// Where the unstuffer is: what it has seen and not yet handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Inside {
    #[default]
    LineStart,
    /// A dot at the start of a line, held back.
    Dot,
    /// A dot and a CR, both held back.
    DotCr,
    Text,
    /// A CR that was handed on.
    Cr,
    Done,
}

impl Unstuffer {
    /// Takes encoded bytes and hands the plain ones to `out`. Returns how many were taken: all of them, unless the end came before;
    /// then the rest belongs to what follows the message.
    pub fn feed(&mut self, input: &[u8], mut out: impl FnMut(&[u8])) -> usize {
        let mut at = 0;
        while at < input.len() {
            let byte = input[at];
            match (self.state, byte) {
                (Inside::Done, _) => return at,
                (Inside::LineStart, b'.') => {
                    self.state = Inside::Dot;
                    at += 1;
                }
                (Inside::Dot, b'\r') => {
                    self.state = Inside::DotCr;
                    at += 1;
                }
                (Inside::DotCr, b'\n') => {
                    self.state = Inside::Done;
                    return at + 1;
                }
                // The dot was a stuffed one. What follows it is looked at as text.
                (Inside::Dot, _) => self.state = Inside::Text,
                (Inside::DotCr, _) => {
                    out(b"\r");
                    self.state = Inside::Cr;
                }
                (Inside::Cr, b'\n') => {
                    out(b"\n");
                    self.state = Inside::LineStart;
                    at += 1;
                }
                // Nothing happens before the next line that starts with a dot.
                (Inside::LineStart | Inside::Text | Inside::Cr, _) => {
                    let rest = &input[at..];
                    let run = memchr::memmem::find(rest, b"\r\n.").map_or(rest, |found| &rest[..found + 2]);
                    out(run);
                    self.state = match run {
                        [.., b'\r', b'\n'] => Inside::LineStart,
                        [.., b'\r'] => Inside::Cr,
                        _ => Inside::Text,
                    };
                    at += run.len();
                }
            }
        }
        at
    }

    /// Whether CR LF `.` CR LF was seen.
    pub fn is_done(&self) -> bool {
        self.state == Inside::Done
    }
}

/// Adds dot-stuffing.
#[derive(Debug, Clone, Default)]
pub struct Stuffer {
    state: Outside,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Outside {
    #[default]
    LineStart,
    Text,
    Cr,
}

impl Stuffer {
    /// Takes plain bytes and hands the encoded ones to `out`.
    pub fn feed(&mut self, input: &[u8], mut out: impl FnMut(&[u8])) {
        let mut from = 0;
        let mut at = 0;
        while at < input.len() {
            match (self.state, input[at]) {
                (Outside::LineStart, b'.') => {
                    out(&input[from..at]);
                    out(b".");
                    from = at;
                    self.state = Outside::Text;
                    at += 1;
                }
                (Outside::Cr, b'\n') => {
                    self.state = Outside::LineStart;
                    at += 1;
                }
                _ => match memchr::memchr(b'\r', &input[at..]) {
                    Some(length) => {
                        self.state = Outside::Cr;
                        at += length + 1;
                    }
                    None => {
                        self.state = Outside::Text;
                        at = input.len();
                    }
                },
            }
        }
        out(&input[from..]);
    }

    /// The end of the message: adds a final CRLF if it is missing, and the terminator.
    pub fn finish(self) -> &'static [u8] {
        match self.state {
            Outside::LineStart => b".\r\n",
            Outside::Text | Outside::Cr => b"\r\n.\r\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unstuff(encoded: &[u8], step: usize) -> (Vec<u8>, usize, bool) {
        let (mut unstuffer, mut plain, mut taken) = (Unstuffer::default(), Vec::new(), 0);
        for piece in encoded.chunks(step) {
            let n = unstuffer.feed(piece, |b| plain.extend_from_slice(b));
            taken += n;
            if n < piece.len() {
                break;
            }
        }
        (plain, taken, unstuffer.is_done())
    }

    fn check(encoded: &str, plain: &str, rest: &str) {
        for step in 1..=encoded.len() {
            let (got, taken, done) = unstuff(encoded.as_bytes(), step);
            assert_eq!(String::from_utf8_lossy(&got), plain, "{encoded:?} by {step}");
            assert_eq!(&encoded[taken..], rest);
            assert!(done);
        }
    }

    #[test]
    fn unstuffs() {
        check(".\r\n", "", "");
        check("a\r\n.\r\n+OK", "a\r\n", "+OK");
        check("..\r\n...a\r\n.\r\n", ".\r\n..a\r\n", "");
        check(".a\r\n.\r\n", "a\r\n", "");
        check("a\r\r\n.\r\n", "a\r\r\n", "");
        check("\r\n\r\n.\r\n", "\r\n\r\n", "");
    }

    #[test]
    fn only_crlf_dot_crlf_ends() {
        for smuggled in ["a\n.\n", "a\n.\r\n", "a\r\n.\n", "a\r.\r", "a\r\n.\r.\r\n", "\n.\r\n", "a\r\n.\r\r\n"] {
            for step in 1..=smuggled.len() {
                assert!(!unstuff(smuggled.as_bytes(), step).2, "{smuggled:?} by {step}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_stuffed_comes_back(text in "[a.\r\n]{0,40}", step in 1usize..7) {
            let (mut stuffer, mut encoded) = (Stuffer::default(), Vec::new());
            for piece in text.as_bytes().chunks(step) {
                stuffer.feed(piece, |b| encoded.extend_from_slice(b));
            }
            encoded.extend_from_slice(stuffer.finish());
            let (plain, taken, done) = unstuff(&encoded, step);
            prop_assert!(done);
            prop_assert_eq!(taken, encoded.len());
            let complete = text.is_empty() || text.ends_with("\r\n");
            let expected = if complete { text.clone() } else { format!("{text}\r\n") };
            prop_assert_eq!(plain, expected.into_bytes());
        }
    }
}
