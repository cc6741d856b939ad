//! The tree of a message's parts (RFC 2045, RFC 2046), found while the bytes stream by in pieces of any size.
//!
//! What is kept is bounded whatever comes: the header in work, the first bytes of a line, and the parts found so far. Limits degrade
//! instead of failing: parts nested too deep, multiparts without a usable boundary and encoded messages become leaves, parts that say more
//! than is kept are described in short, and behind the last part that is counted everything is opaque. Only whole lines `--boundary` and
//! `--boundary--` (white space may follow) delimit, so that a boundary which begins like another is told apart from it.

use super::envelope::Envelope;
use super::header::{self, Header};
use super::layout::{Kind, Layout, Place};
use super::part::Part;
use memchr::{memchr, memchr_iter, memmem, memrchr};

/// Parts inside parts; Dovecot has the same limit. Deeper ones are `application/octet-stream`.
pub const MAX_DEPTH: usize = 100;
/// Parts of one message. A digest of a busy list has 200.
pub const MAX_PARTS: usize = 2_000;
/// RFC 2046 §5.1.1 allows 70.
pub(super) const MAX_BOUNDARY: usize = 200;
/// Bytes of a line that are looked at: a delimiter with its dashes and some white space.
const MAX_LINE: usize = MAX_BOUNDARY + 56;
/// Bytes of one part's header that are read. Only one is held at a time, so their sum needs no limit.
const MAX_PART_HEADER: usize = 32 * 1024;
/// Bytes that are kept of what all parts' fields say, beside the message's own; what does not fit is described in short
/// ([`Part::shorten`]), and stands where it stands. So a scan holds two headers, this, and [`MAX_PARTS`] short descriptions.
const MAX_KEPT: usize = 1 << 20;

/// The places of all parts.
pub fn layout(parts: &[Part]) -> Layout {
    Layout::new(parts.iter().map(|part| part.place).collect())
}

/// As much of a part's header as is read: whole fields. Whoever reads a header again has to read the same of it.
pub(super) fn part_header(header: &[u8]) -> &[u8] {
    let Some(read) = header.get(..MAX_PART_HEADER).filter(|read| read.len() < header.len()) else { return header };
    without_last_field(read)
}

/// Without the field that a limit cut in two.
fn without_last_field(header: &[u8]) -> &[u8] {
    let last = Header::parse(header).fields().last().map_or(0, |field| field.range.start);
    &header[..last]
}

/// Takes a message in pieces and gives its parts.
#[derive(Debug)]
pub struct Scanner {
    parts: Vec<Part>,
    open: Vec<Open>,
    /// The header of the innermost open part, while it lasts.
    header: Option<HeaderBytes>,
    /// The message's own header, once it has ended.
    root_header: Vec<u8>,
    line: Line,
    /// Where the current line starts.
    offset: u64,
    /// Line ends before it.
    lines: u64,
    /// Length of the line end right before it: 0, 1 or 2.
    line_end: u64,
    /// What [`MAX_KEPT`] leaves.
    budget: usize,
    /// [`MAX_PARTS`] is reached: nothing delimits any more.
    opaque: bool,
}

#[derive(Debug)]
struct Open {
    part: usize,
    /// `--boundary` of a multipart that has not been closed.
    delimiter: Option<Vec<u8>>,
    /// Line ends before its body.
    first_line: u64,
}

#[derive(Debug)]
struct HeaderBytes {
    bytes: Vec<u8>,
    limit: usize,
    total: u64,
}

impl HeaderBytes {
    fn extend(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        self.total += bytes.len() as u64;
    }

    /// Whole fields.
    fn finish(mut self) -> Vec<u8> {
        if self.total > self.bytes.len() as u64 {
            let whole = without_last_field(&self.bytes).len();
            self.bytes.truncate(whole);
        }
        self.bytes
    }
}

/// A line of which not everything has come yet.
#[derive(Debug, Default)]
struct Line {
    /// At most [`MAX_LINE`] bytes.
    prefix: Vec<u8>,
    length: u64,
    /// Its last two bytes.
    tail: [u8; 2],
    /// Something else than CR and LF is in it.
    written: bool,
}

impl Line {
    fn extend(&mut self, bytes: &[u8]) {
        let room = MAX_LINE.saturating_sub(self.prefix.len()).min(bytes.len());
        self.prefix.extend_from_slice(&bytes[..room]);
        self.length += bytes.len() as u64;
        self.written = self.written || bytes.iter().any(|b| !matches!(b, b'\r' | b'\n'));
        match *bytes {
            [] => {}
            [only] => self.tail = [self.tail[1], only],
            [.., before, last] => self.tail = [before, last],
        }
    }

    fn end_length(&self) -> u64 {
        match self.tail {
            [b'\r', b'\n'] => 2,
            [_, b'\n'] => 1,
            _ => 0,
        }
    }
}

impl Default for Scanner {
    fn default() -> Self {
        let mut scanner = Self {
            parts: Vec::new(),
            open: Vec::new(),
            header: None,
            root_header: Vec::new(),
            line: Line::default(),
            offset: 0,
            lines: 0,
            line_end: 0,
            budget: MAX_KEPT,
            opaque: false,
        };
        scanner.begin(None, 0, header::MAX_BYTES);
        scanner
    }
}

impl Scanner {
    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            if self.line.length == 0 && self.header.is_none() {
                rest = &rest[self.skip_body(rest)..];
            }
            let Some(end) = memchr(b'\n', rest) else {
                self.extend_line(rest);
                return;
            };
            let (line, behind) = rest.split_at(end + 1);
            self.extend_line(line);
            self.end_line();
            rest = behind;
        }
    }

    /// The parts in the order in which they start, and the message's own header (at most [`header::MAX_BYTES`] of it, whole fields).
    pub fn finish(mut self) -> (Vec<Part>, Vec<u8>) {
        if self.line.length > 0 {
            self.end_line();
        }
        self.line_end = 0;
        self.close(0);
        (self.parts, self.root_header)
    }

    /// Passes over whole lines that can't delimit; says how many bytes that were.
    fn skip_body(&mut self, bytes: &[u8]) -> usize {
        let delimited = !self.opaque && self.open.iter().any(|open| open.delimiter.is_some());
        let dashes = match delimited {
            true if bytes.starts_with(b"--") => Some(0),
            true => memmem::find(bytes, b"\n--").map(|end| end + 1),
            false => None,
        };
        let start = dashes.or_else(|| memrchr(b'\n', bytes).map(|end| end + 1)).unwrap_or(0);
        if start > 0 {
            let before = start.checked_sub(2).map(|at| bytes[at]);
            self.line_end = if before == Some(b'\r') { 2 } else { 1 };
            self.offset += start as u64;
            self.lines += memchr_iter(b'\n', &bytes[..start]).count() as u64;
        }
        start
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        self.line.extend(bytes);
        if let Some(header) = &mut self.header {
            header.extend(bytes);
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let delimiter = self.delimiter(&line);
        if let Some((level, _)) = delimiter {
            if let Some(header) = &mut self.header {
                let before = header.total - line.length;
                header.bytes.truncate(usize::try_from(before).unwrap_or(usize::MAX));
                header.total = before;
            }
            self.close(level + 1);
        }
        self.offset += line.length;
        self.line_end = line.end_length();
        self.lines += self.line_end.min(1);
        match delimiter {
            Some((level, true)) => self.open[level].delimiter = None,
            Some((level, false)) => self.begin_part(level),
            None if !line.written && self.line_end > 0 && self.header.is_some() => self.end_header(self.offset),
            None => {}
        }
    }

    /// The level of the open multipart that the line delimits, and whether it closes it (RFC 2046 §5.1.1).
    fn delimiter(&self, line: &Line) -> Option<(usize, bool)> {
        if self.opaque || !line.prefix.starts_with(b"--") || line.length > line.prefix.len() as u64 {
            return None;
        }
        let text = line.prefix.trim_ascii_end();
        self.open.iter().enumerate().rev().find_map(|(level, open)| {
            let behind = text.strip_prefix(open.delimiter.as_deref()?)?;
            (behind.is_empty() || behind == b"--").then_some((level, !behind.is_empty()))
        })
    }

    fn begin_part(&mut self, level: usize) {
        if self.parts.len() >= MAX_PARTS {
            self.opaque = true;
            return;
        }
        let parent = self.open[level].part;
        self.begin(Some(parent), self.offset, MAX_PART_HEADER);
    }

    fn begin(&mut self, parent: Option<usize>, start: u64, limit: usize) {
        let place = Place { parent, start, body: start, end: start, ..Place::default() };
        self.open.push(Open { part: self.parts.len(), delimiter: None, first_line: self.lines });
        self.parts.push(Part::at(place));
        self.header = Some(HeaderBytes { bytes: Vec::new(), limit, total: 0 });
    }

    /// The header of the innermost part ends here; a message inside begins at once.
    fn end_header(&mut self, at: u64) {
        let (Some(header), Some(open)) = (self.header.take(), self.open.last_mut()) else { return };
        open.first_line = self.lines;
        let index = open.part;
        let bytes = header.finish();
        let parent = self.parts[index].place.parent;
        let fields = Header::parse(&bytes);
        let is_digest = parent.is_some_and(|parent| self.parts[parent].media.is("multipart", "digest"));
        let is_message = parent.is_none_or(|parent| self.parts[parent].place.kind == Kind::Message);
        let part = &mut self.parts[index];
        part.place.body = at;
        part.describe(&fields, is_digest);
        if is_message {
            part.envelope = Some(Box::new(Envelope::of(&fields)));
        }
        let (depth_left, parts_left) = (self.open.len() < MAX_DEPTH, self.parts.len() < MAX_PARTS);
        let delimiter = self.parts[index].settle(depth_left, parts_left);
        let kind = self.parts[index].place.kind;
        if let Some(open) = self.open.last_mut() {
            open.delimiter = delimiter;
        }
        if parent.is_none() {
            self.root_header = bytes;
        } else {
            let part = &mut self.parts[index];
            match self.budget.checked_sub(part.weight()) {
                Some(left) => self.budget = left,
                None => part.shorten(),
            }
        }
        if kind == Kind::Message {
            self.begin(Some(index), at, MAX_PART_HEADER);
        }
    }

    /// Ends the open parts from that level on, in front of the current line and the line end before it.
    fn close(&mut self, level: usize) {
        let mut end = self.offset - self.line_end;
        while self.header.is_some() && self.open.len() > level {
            // A part that begins right here has no line end to give away, and neither have those around it.
            end = end.max(self.open.last().map_or(end, |open| self.parts[open.part].place.start));
            self.end_header(end);
        }
        while self.open.len() > level {
            let Some(open) = self.open.pop() else { return };
            let part = &mut self.parts[open.part];
            // A body that is empty keeps the line end that its header ended with, and then so do the parts around it.
            let cut = u64::from(end < self.offset && end >= part.place.body);
            end = end.max(part.place.body);
            part.place.end = end;
            part.lines = self.lines.saturating_sub(open.first_line).saturating_sub(cut);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::layout::Encoding;
    use proptest::prelude::*;

    fn scan(message: &[u8], piece: usize) -> Vec<Part> {
        let mut scanner = Scanner::default();
        message.chunks(piece.max(1)).for_each(|piece| scanner.feed(piece));
        scanner.finish().0
    }

    /// Type and body of each part, in order.
    fn check(message: &str, expected: &[(&str, &str)]) {
        let parts = scan(message.as_bytes(), usize::MAX);
        let shown = |part: &Part| {
            let body = &message[part.place.body as usize..part.place.end as usize];
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (format!("{}/{}", text(&part.media.main), text(&part.media.sub)), body.to_owned())
        };
        let found: Vec<_> = parts.iter().map(shown).collect();
        let expected: Vec<_> = expected.iter().map(|(t, b)| (t.to_string(), b.to_string())).collect();
        assert_eq!(found, expected, "{message}");
        for piece in 1..5 {
            assert_eq!(scan(message.as_bytes(), piece), parts, "{message} by {piece}");
        }
    }

    #[test]
    fn trees() {
        check("", &[("text/plain", "")]);
        check("To: a\r\n\r\nbody", &[("text/plain", "body")]);
        let multipart = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
        let body = "pre\r\n--b\r\n\r\none\r\n--b \t\r\nContent-Type: text/html\r\n\r\ntwo\r\n\r\n--b--\r\npost";
        check(&format!("{multipart}{body}"), &[("multipart/mixed", body), ("text/plain", "one"), ("text/html", "two\r\n")]);
        check(&format!("{multipart}--b\n\none\n--b--"), &[("multipart/mixed", "--b\n\none\n--b--"), ("text/plain", "one")]);
        check(
            &format!("{multipart}--b\r\n--b\r\nX: y\r\n--b--"),
            &[("multipart/mixed", "--b\r\n--b\r\nX: y\r\n--b--"), ("text/plain", ""), ("text/plain", "")],
        );
        check(&format!("{multipart}--b\r\n\r\none"), &[("multipart/mixed", "--b\r\n\r\none"), ("text/plain", "one")]);
        check(&format!("{multipart}--bc\r\n--b-\r\n --b\r\n-\r\n"), &[("multipart/mixed", "--bc\r\n--b-\r\n --b\r\n-\r\n")]);
    }

    #[test]
    fn an_outer_delimiter_ends_the_inner_parts() {
        let inner = "Content-Type: multipart/mixed; boundary=bb\n\n--bb\n\none\n";
        let body = format!("--b\n{inner}--b\n\ntwo\n--bb\nthree\n--b--\n--b\n");
        check(
            &format!("Content-Type: multipart/mixed; boundary=b\n\n{body}"),
            &[("multipart/mixed", &body), ("multipart/mixed", "--bb\n\none"), ("text/plain", "one"), ("text/plain", "two\n--bb\nthree")],
        );
    }

    #[test]
    fn a_message_inside_has_its_own_parts() {
        let inner = "Subject: in\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n";
        let body = format!("--b\nContent-Type: message/rfc822\n\n{inner}\n--b--\n");
        let message = format!("Content-Type: multipart/mixed; boundary=b\n\n{body}");
        check(
            &message,
            &[("multipart/mixed", &body), ("message/rfc822", inner), ("multipart/mixed", "--c\n\nx\n--c--\n"), ("text/plain", "x")],
        );
        let layout = layout(&scan(message.as_bytes(), 7));
        let slice = |range: Option<std::ops::Range<u64>>| range.map(|r| &message[r.start as usize..r.end as usize]);
        assert_eq!(slice(layout.message_header(&[1])), Some("Subject: in\nContent-Type: multipart/mixed; boundary=c\n\n"));
        assert_eq!(slice(layout.content(&[1, 1]).map(|c| c.0)), Some("x"));
        assert_eq!(slice(layout.mime_header(&[1])), Some("Content-Type: message/rfc822\n\n"));
        let subject = |part: &Part| part.envelope.as_ref().and_then(|e| e.subject.clone());
        assert_eq!(subject(&scan(message.as_bytes(), 7)[2]), Some(b"in".to_vec()));
        // Cut off in its header.
        check("Content-Type: message/rfc822\n\nSubject: in", &[("message/rfc822", "Subject: in"), ("text/plain", "")]);
        check("Content-Type: message/rfc822", &[("message/rfc822", ""), ("text/plain", "")]);
    }

    #[test]
    fn trap_27_nesting_and_numbers_are_bounded() {
        let deep: String = (0..3000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n")).collect();
        let parts = scan(deep.as_bytes(), 1000);
        assert_eq!(parts.len(), MAX_DEPTH);
        assert!(parts[MAX_DEPTH - 1].media.is("application", "octet-stream"));
        assert_eq!(scan("Content-Type: message/rfc822\n\n".repeat(3000).as_bytes(), 1000).len(), MAX_DEPTH);
        let many = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\nSubject: x\n\ny\n".repeat(MAX_PARTS * 2));
        assert_eq!(scan(many.as_bytes(), 1000).len(), MAX_PARTS);
        let long = format!("Content-Type: multipart/mixed; boundary={}\n\n", "b".repeat(MAX_BOUNDARY + 1));
        assert!(scan(long.as_bytes(), 1000)[0].media.is("text", "plain"));
    }

    #[test]
    fn a_field_that_a_limit_cuts_is_left_out() {
        let header = format!("Content-Type: message/rfc822\n\nSubject: a\nX: {}\n b\nTo: c\n\nbody\n", "x".repeat(MAX_PART_HEADER));
        let parts = scan(header.as_bytes(), 4096);
        let envelope = parts[1].envelope.as_deref().cloned().unwrap_or_default();
        assert_eq!((envelope.subject, envelope.to), (Some(b"a".to_vec()), vec![]));
        assert_eq!(parts[1].place.end - parts[1].place.body, 5);
    }

    #[test]
    fn a_header_is_read_again_as_far_as_it_was_read() {
        let long = format!("A: b\nX: {}\n c\nContent-Type: text/html\n\n", "x".repeat(MAX_PART_HEADER));
        assert_eq!(part_header(long.as_bytes()), b"A: b\n");
        assert_eq!(part_header(b"A: b\n\n"), b"A: b\n\n");
    }

    #[test]
    fn long_headers_cost_nothing_that_comes_later() {
        let trace = "X-MS-Exchange-Transport: nothing that is kept\n".repeat(200);
        let forwarded = format!(
            "--b\nContent-Type: message/rfc822\n\nSubject: x\n{trace}Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\ny\n"
        );
        let parts = scan(format!("Content-Type: multipart/mixed; boundary=b\n\n{}", forwarded.repeat(40)).as_bytes(), 4096);
        assert_eq!(parts.len(), 81);
        assert!(parts[1..].chunks(2).all(|pair| pair[0].place.kind == Kind::Message && pair[1].place.encoding == Encoding::Base64));
        assert!(parts.last().unwrap().envelope.as_ref().is_some_and(|envelope| envelope.subject.is_some()));
    }

    #[test]
    fn many_small_parts_keep_what_they_say() {
        let trace = "X-Trace: nothing that is kept\n".repeat(8);
        let small = format!("--b\nContent-Type: image/png; name=a.png\nContent-Transfer-Encoding: base64\n{trace}Content-ID: <a>\n\ny\n");
        let parts = scan(format!("Content-Type: multipart/mixed; boundary=b\n\n{}", small.repeat(1500)).as_bytes(), 4096);
        assert_eq!(parts.len(), 1501);
        assert!(parts[1..].iter().all(|part| part.place.encoding == Encoding::Base64 && part.media.parameter("name") == Some(b"a.png")));
    }

    #[test]
    fn trap_27_what_is_kept_of_all_parts_is_bounded() {
        let (long, lists) = ("x".repeat(3000), "To: a\n".repeat(500));
        let greedy = format!(
            "--b\nContent-Type: message/rfc822; name={long}\nContent-Description: {long}\nContent-Language: {}\n\n{lists}\ny\n",
            "a,".repeat(1500)
        );
        let parts = scan(format!("Content-Type: multipart/mixed; boundary=b\n\n{}", greedy.repeat(MAX_PARTS / 2)).as_bytes(), 4096);
        assert_eq!(parts.len(), MAX_PARTS);
        assert!(parts[1..].iter().map(Part::weight).sum::<usize>() <= MAX_KEPT + MAX_PARTS * 600);
        let last = &parts[MAX_PARTS - 3];
        assert!(last.place.kind == Kind::Message && last.description.is_none(), "it is found where it stands all the same");
    }

    /// Lines from which trees grow, with all line ends.
    fn mail() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            Just("--b"),
            Just("--b--"),
            Just("--bb"),
            Just("--bb--"),
            Just(""),
            Just("text"),
            Just("-"),
            Just("--"),
            Just(" folded"),
            Just("Content-Type: multipart/mixed; boundary=b"),
            Just("Content-Type: multipart/digest; boundary=bb"),
            Just("Content-Type: message/rfc822"),
            Just("Content-Transfer-Encoding: base64"),
            Just("Subject: \0\u{e9}"),
        ];
        let end = prop_oneof![4 => Just("\r\n"), 2 => Just("\n"), 1 => Just("\r\r\n"), 1 => Just("\r"), 1 => Just("")];
        let lines = proptest::collection::vec((line, end), 0..30);
        lines.prop_map(|lines| lines.into_iter().flat_map(|(line, end)| [line.as_bytes(), end.as_bytes()].concat()).collect())
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_same_parts(message in mail(), piece in 1usize..40) {
            prop_assert_eq!(scan(&message, piece), scan(&message, usize::MAX));
        }

        #[test]
        fn parts_lie_inside_their_parents(message in mail()) {
            let parts = scan(&message, usize::MAX);
            prop_assert_eq!((parts[0].place.start, parts[0].place.end), (0, message.len() as u64));
            for (at, part) in parts.iter().enumerate() {
                let Place { start, body, end, .. } = part.place;
                prop_assert!(start <= body && body <= end);
                prop_assert_eq!(part.lines, memchr_iter(b'\n', &message[body as usize..end as usize]).count() as u64);
                if let Some(parent) = part.place.parent {
                    let outer = parts[parent].place;
                    prop_assert!(parent < at && outer.kind != Kind::Leaf && outer.body <= start && end <= outer.end);
                }
            }
            let layout = layout(&parts);
            prop_assert_eq!(Layout::decode(&layout.encode()), Some(layout));
        }
    }
}
