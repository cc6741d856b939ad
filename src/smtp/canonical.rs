//! Line ends as SMTP wants them: CRLF, and no CR or LF on its own (RFC 5321 §2.3.8). Pure, in pieces of any size.
//!
//! Servers that take a bare LF for a line end can be made to see two messages in one ("smuggling", CVE-2023-51764 and its kin). So
//! nothing leaves, and nothing of a careless LAN client comes in, without this; dot-stuffing comes after it.

/// Makes every CRLF, bare CR and bare LF one CRLF.
#[derive(Debug, Clone, Default)]
pub struct Canonical {
    after_cr: bool,
    in_line: bool,
    changed: bool,
}

impl Canonical {
    /// Takes the next bytes and appends what becomes of them. A CR at the very end waits for what follows it.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut rest = input;
        if self.after_cr && rest.first() == Some(&b'\n') {
            out.extend_from_slice(b"\r\n");
            (self.after_cr, self.in_line) = (false, false);
            rest = &rest[1..];
        }
        if !self.after_cr && is_canonical(rest) {
            out.extend_from_slice(rest);
            self.in_line = rest.last().map_or(self.in_line, |last| *last != b'\n');
            return;
        }
        while let Some(&first) = rest.first() {
            if self.after_cr {
                out.extend_from_slice(b"\r\n");
                self.after_cr = false;
                self.in_line = false;
                if first == b'\n' {
                    rest = &rest[1..];
                } else {
                    self.changed = true;
                }
                continue;
            }
            let length = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..length]);
            self.in_line |= length > 0;
            match rest.get(length) {
                Some(b'\r') => self.after_cr = true,
                Some(_) => {
                    out.extend_from_slice(b"\r\n");
                    self.in_line = false;
                    self.changed = true;
                }
                None => return,
            }
            rest = &rest[length + 1..];
        }
    }

    /// The end: a last line without its end gets one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.after_cr || self.in_line {
            self.changed = true;
            out.extend_from_slice(b"\r\n");
        }
        (self.after_cr, self.in_line) = (false, false);
    }

    /// Whether anything had to be changed so far.
    pub fn changed(&self) -> bool {
        self.changed
    }
}

/// Whether each CR has its LF and each LF its CR, as in nearly all that comes. Looks at all pairs without a branch, many at once.
fn is_canonical(bytes: &[u8]) -> bool {
    let Some((last, firsts)) = bytes.split_last() else { return true };
    let pairs = firsts.iter().zip(&bytes[1..]);
    let torn = pairs.fold(0, |torn, (first, second)| torn | (u8::from(*first == b'\r') ^ u8::from(*second == b'\n')));
    torn == 0 && bytes[0] != b'\n' && *last != b'\r'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &[u8], step: usize) -> Vec<u8> {
        let (mut canonical, mut out) = (Canonical::default(), Vec::new());
        text.chunks(step).for_each(|piece| canonical.feed(piece, &mut out));
        canonical.finish(&mut out);
        out
    }

    fn check(text: &str, expected: &str) {
        for step in 1..=text.len().max(1) {
            assert_eq!(String::from_utf8(canonical(text.as_bytes(), step)).unwrap(), expected, "{text:?} by {step}");
        }
    }

    #[test]
    fn every_line_end_becomes_crlf() {
        check("", "");
        check("a\r\nb\r\n", "a\r\nb\r\n");
        check("a\nb", "a\r\nb\r\n");
        check("a\rb\r", "a\r\nb\r\n");
        check("a\r\r\nb\n\r", "a\r\n\r\nb\r\n\r\n");
        check("a\n.\nMAIL FROM:<x@y>\n", "a\r\n.\r\nMAIL FROM:<x@y>\r\n");
        check("a\r.\r\n", "a\r\n.\r\n");
    }

    proptest::proptest! {
        #[test]
        fn nothing_stands_alone(text in "[a.\r\n]{0,60}", step in 1usize..9) {
            let out = String::from_utf8(canonical(text.as_bytes(), step)).unwrap();
            let left = out.replace("\r\n", "");
            proptest::prop_assert!(!left.contains(['\r', '\n']));
            proptest::prop_assert!(out.is_empty() || out.ends_with("\r\n"));
            proptest::prop_assert_eq!(canonical(out.as_bytes(), step), out.as_bytes());
        }
    }
}
