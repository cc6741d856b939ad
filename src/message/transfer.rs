//! Content-Transfer-Encodings undone while the bytes stream by (RFC 2045 §6.7, §6.8), as far as broken text lets them.

use super::layout::Encoding;
use std::borrow::Cow;

/// White space that may end a quoted-printable line and is then dropped; longer runs are text.
const MAX_HELD: usize = 1000;

/// Takes an encoded body in pieces of any size and appends what it says.
#[derive(Debug)]
pub struct Decoder {
    state: State,
}

#[derive(Debug)]
enum State {
    Identity,
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Decoder {
    /// For a body encoded so. [`Encoding::Unknown`] passes as it is.
    pub fn new(encoding: Encoding) -> Self {
        let state = match encoding {
            Encoding::Identity | Encoding::Unknown => State::Identity,
            Encoding::Base64 => State::Base64(Base64::default()),
            Encoding::QuotedPrintable => State::QuotedPrintable(QuotedPrintable::default()),
        };
        Self { state }
    }

    /// Decodes the next piece.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match &mut self.state {
            State::Identity => out.extend_from_slice(piece),
            State::Base64(state) => state.feed(piece, out),
            State::QuotedPrintable(state) => piece.iter().for_each(|&b| state.take(b, out)),
        }
    }

    /// What was held back, once everything has come.
    pub fn finish(self, out: &mut Vec<u8>) {
        if let State::QuotedPrintable(state) = self.state {
            out.extend(state.held);
        }
    }
}

/// A whole body at once.
pub fn decode(encoding: Encoding, body: &[u8]) -> Cow<'_, [u8]> {
    if matches!(encoding, Encoding::Identity | Encoding::Unknown) {
        return Cow::Borrowed(body);
    }
    let mut decoder = Decoder::new(encoding);
    let mut out = Vec::with_capacity(body.len());
    decoder.feed(body, &mut out);
    decoder.finish(&mut out);
    Cow::Owned(out)
}

/// Characters outside the alphabet are skipped, padding ends a group wherever it stands, the URL alphabet is understood.
#[derive(Debug, Default)]
pub(crate) struct Base64 {
    bits: u32,
    held: u32,
}

impl Base64 {
    pub(crate) fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        out.reserve(piece.len() / 4 * 3);
        for &c in piece {
            let value = match c {
                b'A'..=b'Z' => c - b'A',
                b'a'..=b'z' => c - b'a' + 26,
                b'0'..=b'9' => c - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                b'=' => {
                    (self.bits, self.held) = (0, 0);
                    continue;
                }
                _ => continue,
            };
            self.bits = self.bits << 6 | u32::from(value);
            self.held += 6;
            if self.held >= 8 {
                self.held -= 8;
                out.push((self.bits >> self.held) as u8);
                self.bits &= (1 << self.held) - 1;
            }
        }
    }
}

/// Holds back what may turn out to be an escape, a soft line break or white space at the end of a line.
#[derive(Debug, Default)]
struct QuotedPrintable {
    held: Vec<u8>,
}

impl QuotedPrintable {
    fn take(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (self.held.as_slice(), byte) {
            ([b'=', ..], b'\n') => self.held.clear(),
            ([b'=', rest @ ..], b' ' | b'\t' | b'\r') if rest.iter().all(u8::is_ascii_whitespace) && rest.len() < MAX_HELD => {
                self.held.push(byte);
            }
            ([b'='], _) if byte.is_ascii_hexdigit() => self.held.push(byte),
            ([b'=', high], _) if byte.is_ascii_hexdigit() && high.is_ascii_hexdigit() => {
                out.push(nibble(*high) << 4 | nibble(byte));
                self.held.clear();
            }
            ([b'=', ..], _) => {
                out.append(&mut self.held);
                self.take(byte, out);
            }
            (_, b'=') => {
                out.append(&mut self.held);
                self.held.push(byte);
            }
            (held, b' ' | b'\t') if held.len() < MAX_HELD => self.held.push(byte),
            (_, b'\r' | b'\n') => {
                self.held.clear();
                out.push(byte);
            }
            _ => {
                out.append(&mut self.held);
                out.push(byte);
            }
        }
    }
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A') + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quoted_printable() {
        for (body, expected) in [
            ("a=3Db=c3=BC", "a=b\u{fc}"),
            ("soft=\r\nline=  \r\n end", "softline end"),
            ("trailing \t\r\nspace  x\r\n", "trailing\r\nspace  x\r\n"),
            ("=XY=4 =", "=XY=4 ="),
            ("==41=\n", "=A"),
            ("=4=41", "=4A"),
            ("end  ", "end  "),
        ] {
            let decoded = decode(Encoding::QuotedPrintable, body.as_bytes());
            assert_eq!(super::super::words::lossless(&decoded), expected, "{body}");
        }
    }

    #[test]
    fn base64() {
        for (body, expected) in
            [("aGVs\r\nbG8=\r\n", "hello"), ("aGVsbG8", "hello"), ("aGk=aGk=", "hihi"), ("a*GV!sbG8=", "hello"), ("", "")]
        {
            assert_eq!(decode(Encoding::Base64, body.as_bytes()), expected.as_bytes(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_pieces(body in "[=A-F0-9 \t\r\nx]{0,60}", piece in 1usize..9) {
            for encoding in [Encoding::Base64, Encoding::QuotedPrintable, Encoding::Identity] {
                let (mut decoder, mut out) = (Decoder::new(encoding), Vec::new());
                body.as_bytes().chunks(piece).for_each(|piece| decoder.feed(piece, &mut out));
                decoder.finish(&mut out);
                prop_assert_eq!(out, decode(encoding, body.as_bytes()).into_owned());
            }
        }
    }
}
