//! One part of a message: its place, and what BODYSTRUCTURE tells about it (RFC 2045, RFC 2183, RFC 9051 §7.5.2).

use super::content_type::{MediaType, Parameterized};
use super::envelope::Envelope;
use super::header::{Header, unfold};
use super::layout::{Encoding, Kind, Place};
use super::mime::MAX_BOUNDARY;

/// Bytes of one descriptive field that are kept.
const MAX_TEXT: usize = 8 * 1024;

/// Bytes of a type's name (RFC 6838 §4.2) and of an encoding's in a short description.
const MAX_NAME: usize = 127;
/// What one value costs beside its bytes.
const VALUE: usize = size_of::<Vec<u8>>();

/// One part: its place, and what BODYSTRUCTURE tells about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it stands.
    pub place: Place,
    /// Its type after degrading: a [`Kind::Leaf`] is never `multipart/*` or `message/rfc822`.
    pub media: MediaType,
    /// Line ends in the body.
    pub lines: u64,
    /// Content-Transfer-Encoding, as written; `7bit` if missing.
    pub encoding: Vec<u8>,
    /// Content-ID
    pub id: Option<Vec<u8>>,
    /// Content-Description
    pub description: Option<Vec<u8>>,
    /// Content-MD5
    pub md5: Option<Vec<u8>>,
    /// Content-Disposition
    pub disposition: Option<Parameterized>,
    /// Content-Language
    pub language: Vec<Vec<u8>>,
    /// Content-Location
    pub location: Option<Vec<u8>>,
    /// Of a message: the one that was scanned, or one inside.
    pub envelope: Option<Box<Envelope>>,
}

impl Part {
    /// One whose header has not been read.
    pub(super) fn at(place: Place) -> Self {
        Self {
            place,
            media: MediaType::plain_text(),
            lines: 0,
            encoding: b"7bit".to_vec(),
            id: None,
            description: None,
            md5: None,
            disposition: None,
            language: Vec::new(),
            location: None,
            envelope: None,
        }
    }

    /// Takes its fields out of its header.
    pub(super) fn describe(&mut self, header: &Header<'_>, in_digest: bool) {
        let text = |name: &str| {
            let mut value = unfold(header.first(name)?.value).into_owned();
            value.truncate(MAX_TEXT);
            Some(value)
        };
        self.media = match header.first("content-type") {
            Some(field) => MediaType::parse(field.value).unwrap_or_else(MediaType::plain_text),
            None if in_digest => MediaType::of("message", "rfc822"),
            None => MediaType::plain_text(),
        };
        let encoding = header.first("content-transfer-encoding").map(|field| Parameterized::parse(field.value).value);
        if let Some(encoding) = encoding.filter(|encoding| !encoding.is_empty()) {
            self.place.encoding = match encoding.to_ascii_lowercase().as_slice() {
                b"7bit" | b"8bit" | b"binary" => Encoding::Identity,
                b"base64" => Encoding::Base64,
                b"quoted-printable" => Encoding::QuotedPrintable,
                _ => Encoding::Unknown,
            };
            self.encoding = encoding;
            self.encoding.truncate(MAX_TEXT);
        }
        self.id = text("content-id");
        self.description = text("content-description");
        self.md5 = text("content-md5");
        self.location = text("content-location");
        let disposition = header.first("content-disposition").map(|field| Parameterized::parse(field.value));
        self.disposition = disposition.filter(|disposition| !disposition.value.is_empty());
        let languages = text("content-language").unwrap_or_default();
        let languages = languages.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|language| !language.is_empty());
        self.language = languages.map(<[u8]>::to_vec).collect();
    }

    /// How many bytes it keeps of what its fields say.
    pub(super) fn weight(&self) -> usize {
        let one = |value: &Vec<u8>| VALUE + value.len();
        let texts = [&self.id, &self.description, &self.md5, &self.location].into_iter().flatten();
        let disposition = self.disposition.iter().map(|disposition| one(&disposition.value) + pairs(&disposition.parameters));
        [&self.media.main, &self.media.sub, &self.encoding].into_iter().chain(texts).chain(&self.language).map(one).sum::<usize>()
            + pairs(&self.media.parameters)
            + disposition.sum::<usize>()
            + self.envelope.as_ref().map_or(0, |envelope| envelope.weight())
    }

    /// Keeps what kind of content it is, and nothing else of what its fields say; what was [settled](Part::settle) stays.
    pub(super) fn shorten(&mut self) {
        if self.media.main.len().max(self.media.sub.len()) > MAX_NAME {
            self.media = MediaType::of("application", "octet-stream");
        }
        self.media.parameters = Vec::new();
        self.encoding.truncate(MAX_NAME);
        self.encoding.shrink_to_fit();
        (self.id, self.description, self.md5, self.location, self.disposition) = (None, None, None, None, None);
        self.language = Vec::new();
        self.envelope = self.envelope.take().map(|_| Box::default());
    }

    /// Decides what stands inside, and by which line its parts are delimited.
    pub(super) fn settle(&mut self, depth_left: bool, parts_left: bool) -> Option<Vec<u8>> {
        if self.media.is("multipart", "") {
            let boundary = self.media.boundary();
            let Some(boundary) =
                boundary.as_deref().map(<[u8]>::trim_ascii_end).filter(|boundary| !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY)
            else {
                self.media = MediaType::plain_text();
                return None;
            };
            if depth_left {
                self.place.kind = Kind::Multipart;
                return Some([b"--", boundary].concat());
            }
            self.media = MediaType::of("application", "octet-stream");
        } else if self.media.is("message", "rfc822") {
            // RFC 2046 §5.2.1 forbids encodings here; what is encoded all the same can't be looked into.
            // Deviation: message/global (RFC 6532 §3.7) is a leaf, though RFC 9051 would have it taken apart like this one: it may be
            // encoded, and then its parts have no place of their own in the bytes that we keep.
            if depth_left && parts_left && self.place.encoding == Encoding::Identity {
                self.place.kind = Kind::Message;
            } else {
                self.media = MediaType::of("application", "octet-stream");
            }
        }
        None
    }
}

fn pairs(parameters: &[(Vec<u8>, Vec<u8>)]) -> usize {
    parameters.iter().map(|(name, value)| 2 * VALUE + name.len() + value.len()).sum()
}
