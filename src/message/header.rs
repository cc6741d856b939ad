//! The header section as bytes: fields in order, each with its name, raw value and place (RFC 5322 §2.2, and §4 for what is obsolete).
//!
//! A line ends at LF, whatever stands before it, so CRLF, bare LF and CR CR LF messages all have the same fields; a bare CR is part of
//! its line, because nobody who wrote a header took it for a line end and somebody who hides a field behind one did. The section ends
//! with the first line that holds nothing but CRs, or with the message. Lines that are no field (an mbox `From ` line, text without a
//! colon, a name with a space or control character inside) are kept as fields without a name, so that nothing is lost and nothing is
//! found in them.

use super::words;
use memchr::memchr;
use std::borrow::Cow;
use std::ops::Range;

/// Fields that are told apart in one header: a mailing list's worst trace has about 200. What comes after is opaque.
pub const MAX_FIELDS: usize = 10_000;
/// Bytes of one header that are read. Servers accept no more than 100 kB or so; what lies beyond is opaque.
pub const MAX_BYTES: usize = 1 << 20;

/// A parsed header section that borrows its bytes.
#[derive(Debug, Clone)]
pub struct Header<'a> {
    fields: Vec<Field<'a>>,
    size: usize,
    ended: bool,
    truncated: bool,
}

/// One field, or one line that is none (its name is empty).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    /// As written, without the white space that obsolete syntax allows before the colon. Empty: this is no field.
    pub name: &'a [u8],
    /// Everything behind the colon, folded as it was found, without the final line end. The whole line if it is no field.
    pub value: &'a [u8],
    /// Where it stands in the bytes that were parsed, from its first byte to behind its line end.
    pub range: Range<usize>,
}

impl<'a> Header<'a> {
    /// Reads the header at the start of `message`; whatever follows it is not looked at. Never fails.
    pub fn parse(message: &'a [u8]) -> Self {
        let mut header = Header { fields: Vec::new(), size: message.len(), ended: false, truncated: false };
        let mut current: Option<Range<usize>> = None;
        let mut at = 0;
        while at < message.len() {
            let end = memchr(b'\n', &message[at..]).map_or(message.len(), |n| at + n + 1);
            let line = &message[at..end];
            if is_blank(line) {
                (header.size, header.ended) = (end, true);
                break;
            }
            match &mut current {
                Some(range) if is_folded(line) => range.end = end,
                _ => {
                    header.close(message, current.take());
                    current = Some(at..end);
                }
            }
            at = end;
        }
        header.close(message, current);
        header
    }

    fn close(&mut self, message: &'a [u8], range: Option<Range<usize>>) {
        let Some(range) = range else { return };
        if self.fields.len() == MAX_FIELDS || range.end > MAX_BYTES {
            self.truncated = true;
        } else {
            self.fields.push(Field::split(&message[range.clone()], range));
        }
    }

    /// All fields in order, lines that are none included.
    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// Bytes of the section, its blank line included.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether a blank line ended it; if not, the message has no body.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether a cap left fields out.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// The fields of that name, in order. Names compare without case.
    pub fn all<'s>(&'s self, name: &'s str) -> impl DoubleEndedIterator<Item = &'s Field<'a>> + 's {
        self.fields.iter().filter(move |field| field.is(name))
    }

    /// The topmost field of that name.
    pub fn first(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.is(name))
    }

    /// The topmost field of that name as decoded text; see [`Field::text`].
    pub fn text(&self, name: &str) -> Option<String> {
        self.first(name).map(Field::text)
    }
}

impl<'a> Field<'a> {
    fn split(line: &'a [u8], range: Range<usize>) -> Self {
        let value = without_line_end(line);
        // A BOM in front of the first field would make that field unfindable.
        let start = if range.start == 0 && value.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        let colon = memchr(b':', value).filter(|&colon| colon > start);
        let name = colon.map(|colon| value[start..colon].trim_ascii_end()).filter(|name| is_name(name));
        match (name, colon) {
            (Some(name), Some(colon)) => Field { name, value: &value[colon + 1..], range },
            _ => Field { name: b"", value, range },
        }
    }

    /// Whether it has that name, whatever the case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value on one line, without white space at its ends (RFC 5322 §2.2.3).
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        unfold(self.value)
    }

    /// The value as a person reads it: unfolded, encoded words decoded, nothing but printable characters and spaces.
    pub fn text(&self) -> String {
        words::decode(self.value)
    }
}

/// Finds the end of a header that arrives in pieces of any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndFinder {
    /// Nothing but CRs since the last line end.
    blank: bool,
}

impl Default for EndFinder {
    fn default() -> Self {
        Self { blank: true }
    }
}

impl EndFinder {
    /// Looks at the next piece. `Some(n)`: the header ends with the first `n` bytes of it, blank line included; don't feed any more.
    pub fn feed(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < piece.len() {
            if self.blank {
                match piece[at] {
                    b'\n' => return Some(at + 1),
                    b'\r' => {
                        at += 1;
                        continue;
                    }
                    _ => self.blank = false,
                }
            }
            match memchr(b'\n', &piece[at..]) {
                Some(n) => {
                    at += n + 1;
                    self.blank = true;
                }
                None => break,
            }
        }
        None
    }
}

/// Takes the line ends out of a folded value and the white space off its ends.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect())
}

/// The line without its LF and the CRs before it.
pub(crate) fn without_line_end(line: &[u8]) -> &[u8] {
    let Some(mut line) = line.strip_suffix(b"\n") else { return line };
    while let Some(shorter) = line.strip_suffix(b"\r") {
        line = shorter;
    }
    line
}

/// Nothing but a line end.
pub(crate) fn is_blank(line: &[u8]) -> bool {
    line.ends_with(b"\n") && without_line_end(line).is_empty()
}

/// Whether the line belongs to the field above it.
pub(crate) fn is_folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// `field-name = 1*ftext` (RFC 5322 §3.6.8): printable ASCII without space and colon.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(message: &[u8], fields: &[(&str, &str)], size: usize) {
        let header = Header::parse(message);
        let found: Vec<_> = header
            .fields()
            .iter()
            .map(|f| (String::from_utf8_lossy(f.name).into_owned(), String::from_utf8_lossy(&f.unfolded()).into_owned()))
            .collect();
        let expected: Vec<_> = fields.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(message));
        assert_eq!(header.size(), size, "{:?}", String::from_utf8_lossy(message));
    }

    #[test]
    fn sections_of_all_kinds() {
        check(b"To: a\r\nCc:b\r\n\r\nbody", &[("To", "a"), ("Cc", "b")], 15);
        check(b"To: a\nCc: b\n\nbody", &[("To", "a"), ("Cc", "b")], 13);
        check(b"To: a\r\r\nCc: b\r\r\n\r\r\nbody", &[("To", "a"), ("Cc", "b")], 19);
        check(b"To: a\r\n b\r\n\tc\r\n\r\n", &[("To", "a b\tc")], 17);
        check(b"Subject : x\r\n\r\n", &[("Subject", "x")], 15);
        check(b"To: a\r\n \r\n b\r\n\r\n", &[("To", "a  b")], 16);
        check(b"", &[], 0);
        check(b"\r\n", &[], 2);
        check(b"\r\nTo: a\r\n", &[], 2);
        check(b"To: a", &[("To", "a")], 5);
        check(b"To: a\r\n\r", &[("To", "a"), ("", "")], 8);
        check(b" folded first\r\nTo: a\r\n\r\n", &[("", "folded first"), ("To", "a")], 24);
    }

    #[test]
    fn lines_that_are_no_field() {
        check(b"From a@b Mon Jan  1 00:00:00 2024\nTo: a\n\n", &[("", "From a@b Mon Jan  1 00:00:00 2024"), ("To", "a")], 41);
        check(b"no colon\r\nTo: a\r\n\r\n", &[("", "no colon"), ("To", "a")], 19);
        check(b": nameless\r\n\r\n", &[("", ": nameless")], 14);
        check(b"T\0o: a\r\n\r\n", &[("", "T\0o: a")], 10);
        check(b"To x: a\r\n\r\n", &[("", "To x: a")], 11);
        check(b"\xEF\xBB\xBFTo: a\r\n\r\n", &[("To", "a")], 12);
        check(b"X: a\rTo: b\r\n\r\n", &[("X", "aTo: b")], 14);
    }

    #[test]
    fn finds_fields_whatever_their_case() {
        let header = Header::parse(b"Received: 1\r\nTO: a\r\nreceived: 2\r\n\r\n");
        assert_eq!(header.first("to").map(|f| f.range.clone()), Some(13..20));
        assert_eq!(header.all("RECEIVED").map(|f| f.value).collect::<Vec<_>>(), [b" 1", b" 2"]);
    }

    #[test]
    fn caps_leave_the_rest_opaque() {
        let many = "X: y\r\n".repeat(MAX_FIELDS + 1) + "To: a\r\n\r\nbody";
        let header = Header::parse(many.as_bytes());
        assert_eq!((header.fields().len(), header.truncated(), header.size()), (MAX_FIELDS, true, many.len() - 4));
        let long = format!("X: {}\r\nTo: a\r\n\r\n", "y".repeat(MAX_BYTES));
        let header = Header::parse(long.as_bytes());
        assert_eq!((header.fields().len(), header.truncated(), header.size()), (0, true, long.len()));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces(message in "[\r\n :a\t]{0,60}", cut in 0usize..60) {
            let message = message.as_bytes();
            let header = Header::parse(message);
            let cut = cut.min(message.len());
            let mut finder = EndFinder::default();
            let end = finder.feed(&message[..cut]).or_else(|| finder.feed(&message[cut..]).map(|n| cut + n));
            prop_assert_eq!(end, header.ended().then_some(header.size()));
            let covered: usize = header.fields().iter().map(|f| f.range.len()).sum();
            prop_assert!(covered <= header.size());
        }
    }
}
