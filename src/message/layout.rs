//! Where the parts of a message stand, in offsets into the stored original: what `BODY[1.2.MIME]`, `BINARY[3]` and text search read.
//!
//! Small and self-contained, so that it can be kept beside the message and nobody has to scan 50 MB for one attachment. Section
//! numbers are those of RFC 9051 §6.4.5.

use std::ops::Range;

/// First byte of the compact form; another one means that the message has to be scanned anew.
const VERSION: u8 = 1;
/// Of a section number such as `1.2.3`; deeper parts don't exist (see [`super::mime::MAX_DEPTH`]).
const MAX_PATH: usize = 2 * super::mime::MAX_DEPTH;

/// What stands inside a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Content.
    #[default]
    Leaf,
    /// Parts, as many as there are.
    Multipart,
    /// One message, which is this part's only child.
    Message,
}

/// Content-Transfer-Encoding (RFC 2045 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// 7bit, 8bit, binary.
    #[default]
    Identity,
    /// base64
    Base64,
    /// quoted-printable
    QuotedPrintable,
    /// Something else: the content can't be decoded.
    Unknown,
}

/// The place of one part. `start <= body <= end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The part around it; `None`: it is the message itself. Always an earlier one.
    pub parent: Option<usize>,
    /// What stands inside.
    pub kind: Kind,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// Where its header starts.
    pub start: u64,
    /// Where its header ends, blank line included.
    pub body: u64,
    /// Where its body ends.
    pub end: u64,
}

/// All parts of a message in the order in which they start; the first is the message itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    places: Vec<Place>,
}

impl Layout {
    /// From places in the order in which they start.
    pub fn new(places: Vec<Place>) -> Self {
        Self { places }
    }

    /// All places.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// `BODY[path]`, and how it is encoded for `BINARY[path]`. The empty path is the whole message.
    pub fn content(&self, path: &[u32]) -> Option<(Range<u64>, Encoding)> {
        let place = self.places.get(self.find(path)?)?;
        if path.is_empty() {
            return Some((place.start..place.end, Encoding::Identity));
        }
        Some((place.body..place.end, place.encoding))
    }

    /// `BODY[path.MIME]`: the part's own header, blank line included.
    pub fn mime_header(&self, path: &[u32]) -> Option<Range<u64>> {
        let place = self.places.get(self.find(path)?)?;
        Some(place.start..place.body)
    }

    /// `BODY[HEADER]`, or `BODY[path.HEADER]` of a message inside.
    pub fn message_header(&self, path: &[u32]) -> Option<Range<u64>> {
        self.message(path).map(|place| place.start..place.body)
    }

    /// `BODY[TEXT]`, or `BODY[path.TEXT]` of a message inside.
    pub fn message_text(&self, path: &[u32]) -> Option<Range<u64>> {
        self.message(path).map(|place| place.body..place.end)
    }

    /// The index of the part with that section number; the empty path is the message itself.
    pub fn find(&self, path: &[u32]) -> Option<usize> {
        if path.len() > MAX_PATH {
            return None;
        }
        let mut at = 0;
        // Numbers count the parts of a message; a message that has none is its own part 1.
        let mut in_message = true;
        for &number in path {
            let number = usize::try_from(number).ok()?.checked_sub(1)?;
            let mut place = self.places.get(at)?;
            if place.kind == Kind::Message && !in_message {
                at = self.children(at).next()?;
                place = self.places.get(at)?;
                in_message = true;
            }
            match place.kind {
                Kind::Multipart => at = self.children(at).nth(number)?,
                _ if in_message && number == 0 => {}
                _ => return None,
            }
            in_message = false;
        }
        self.places.get(at).map(|_| at)
    }

    /// The parts directly inside, in order.
    pub fn children(&self, parent: usize) -> impl Iterator<Item = usize> + '_ {
        let behind = self.places.iter().enumerate().skip(parent + 1);
        behind.filter(move |(_, place)| place.parent == Some(parent)).map(|(at, _)| at)
    }

    fn message(&self, path: &[u32]) -> Option<&Place> {
        let at = self.find(path)?;
        if path.is_empty() {
            return self.places.get(at);
        }
        self.places.get(at).filter(|place| place.kind == Kind::Message)?;
        self.places.get(self.children(at).next()?)
    }

    /// A few bytes a part.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for place in &self.places {
            let kind = match place.kind {
                Kind::Leaf => 0,
                Kind::Multipart => 1,
                Kind::Message => 2,
            };
            let encoding = match place.encoding {
                Encoding::Identity => 0,
                Encoding::Base64 => 1,
                Encoding::QuotedPrintable => 2,
                Encoding::Unknown => 3,
            };
            bytes.push(kind << 4 | encoding);
            push_number(&mut bytes, place.parent.map_or(0, |parent| parent as u64 + 1));
            push_number(&mut bytes, place.start);
            push_number(&mut bytes, place.body - place.start);
            push_number(&mut bytes, place.end - place.body);
        }
        bytes
    }

    /// Reads what [`Layout::encode`] wrote. `None`: it is something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes.strip_prefix(&[VERSION])?;
        let mut places = Vec::new();
        while let Some((&tag, rest)) = bytes.split_first() {
            bytes = rest;
            let parent = usize::try_from(take_number(&mut bytes)?).ok()?.checked_sub(1);
            let start = take_number(&mut bytes)?;
            let body = start.checked_add(take_number(&mut bytes)?)?;
            let end = body.checked_add(take_number(&mut bytes)?)?;
            if parent.is_some_and(|parent| parent >= places.len()) {
                return None;
            }
            let kind = [Kind::Leaf, Kind::Multipart, Kind::Message].get(usize::from(tag >> 4)).copied()?;
            let encodings = [Encoding::Identity, Encoding::Base64, Encoding::QuotedPrintable, Encoding::Unknown];
            let encoding = encodings.get(usize::from(tag & 15)).copied()?;
            places.push(Place { parent, kind, encoding, start, body, end });
        }
        Some(Self { places })
    }
}

/// LEB128.
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A multipart message with a text, and a message that has two parts itself.
    fn sample() -> Layout {
        let place = |parent, kind, start, body, end| Place { parent, kind, start, body, end, encoding: Encoding::Base64 };
        Layout::new(vec![
            place(None, Kind::Multipart, 0, 10, 200),
            place(Some(0), Kind::Leaf, 20, 30, 40),
            place(Some(0), Kind::Message, 50, 60, 190),
            place(Some(2), Kind::Multipart, 60, 80, 190),
            place(Some(3), Kind::Leaf, 90, 100, 110),
            place(Some(3), Kind::Leaf, 120, 130, 140),
        ])
    }

    #[test]
    fn sections() {
        let layout = sample();
        assert_eq!(layout.content(&[]), Some((0..200, Encoding::Identity)));
        assert_eq!(layout.content(&[1]), Some((30..40, Encoding::Base64)));
        assert_eq!(layout.mime_header(&[1]), Some(20..30));
        assert_eq!(layout.content(&[2]).map(|c| c.0), Some(60..190));
        assert_eq!(layout.message_header(&[]), Some(0..10));
        assert_eq!(layout.message_text(&[]), Some(10..200));
        assert_eq!(layout.message_header(&[2]), Some(60..80));
        assert_eq!(layout.message_text(&[2]), Some(80..190));
        assert_eq!(layout.mime_header(&[2]), Some(50..60));
        assert_eq!(layout.mime_header(&[2, 2]), Some(120..130));
        for missing in [&[3][..], &[0], &[1, 1], &[2, 3], &[2, 1, 1]] {
            assert_eq!(layout.find(missing), None, "{missing:?}");
        }
        assert_eq!(layout.message_header(&[1]), None);
        assert_eq!(Layout::default().content(&[]), None);
    }

    #[test]
    fn a_message_without_parts_is_its_own_part_one() {
        let layout = Layout::new(vec![Place { body: 5, end: 9, ..Place::default() }]);
        assert_eq!(layout.content(&[1]).map(|c| c.0), Some(5..9));
        assert_eq!(layout.mime_header(&[1]), Some(0..5));
        assert_eq!(layout.content(&[1, 1]), None);
        assert_eq!(layout.content(&[2]), None);
    }

    #[test]
    fn compact_form_comes_back() {
        let layout = sample();
        assert_eq!(Layout::decode(&layout.encode()), Some(layout));
        assert_eq!(Layout::decode(b""), None);
    }

    proptest! {
        #[test]
        fn any_compact_form(bytes in proptest::collection::vec(any::<u8>(), 0..60), path in proptest::collection::vec(0u32..4, 0..4)) {
            if let Some(layout) = Layout::decode(&bytes) {
                layout.content(&path);
            }
        }
    }
}
