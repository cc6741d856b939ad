//! What of a message is found by its words (RFC 9051 §6.4.4): header fields as people read them, and text parts without transfer
//! encoding, charset and tags. Whoever looks for a text, and whoever keeps an index of texts, takes them from here: when other texts come
//! from here than before, stores have to be indexed anew (as by `store/schema-14.sql`).
//!
//! Deviation: of HTML only the words count, not its tags: people look for what they read.

use super::address_list;
use super::content_type::MediaType;
use super::fold::{fold, keeps_ascii};
use super::header::{self, Field, Header};
use super::layout::{Kind, Layout, Place};
use super::{mime, text, transfer, words};
use memchr::memmem;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::ControlFlow;

/// Of one text part. Deviation: what stands behind it is not found; nobody wrote so much by hand.
pub const MAX_PART: u64 = 8 * 1024 * 1024;
/// Of one header, and of that no more than [`header::MAX_FIELDS`]. Deviation: what stands behind them is not found; of mail that comes
/// from the Internet nothing does, since servers take headers of 100 kB or so.
pub const MAX_HEADER: u64 = header::MAX_BYTES as u64;

/// Fields that a delivery may put above a message: see [`super::trace::Prefix`].
const ABOVE: [&str; 3] = ["return-path", "delivered-to", "received"];
/// Fields whose addresses are also found as `name <address>`, without the comments and spaces inside.
const ADDRESSES: [&str; 6] = ["from", "to", "cc", "bcc", "sender", "reply-to"];

/// A text that is looked for in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// Folded, see [`fold`].
    pub text: String,
    /// In header fields too (TEXT), not only in text parts (BODY).
    pub header: bool,
}

/// Where a text of a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A header field, the message's own or a part's: BODY does not match these.
    Header,
    /// A text part.
    Body,
}

/// A text of a message, folded when somebody needs that: it may be long.
#[derive(Debug)]
pub struct Text<'t> {
    /// Where it stands.
    pub origin: Origin,
    read: &'t str,
    folded: OnceCell<String>,
    lower: OnceCell<Vec<u8>>,
}

impl<'t> Text<'t> {
    fn new(origin: Origin, read: &'t str) -> Self {
        Self { origin, read, folded: OnceCell::new(), lower: OnceCell::new() }
    }

    /// As [`fold`] makes it.
    pub fn folded(&self) -> &str {
        self.folded.get_or_init(|| fold(self.read))
    }

    /// As it stands in the message, decoded; perhaps folded already.
    pub fn as_read(&self) -> &str {
        self.read
    }

    fn holds(&self, finder: &Finder<'_>) -> bool {
        if !finder.is_plain || !keeps_ascii(self.read) {
            return finder.text.find(self.folded().as_bytes()).is_some();
        }
        finder.text.find(self.lower.get_or_init(|| self.read.as_bytes().to_ascii_lowercase())).is_some()
    }
}

/// Finds a folded text in others.
pub struct Finder<'s> {
    text: memmem::Finder<'s>,
    /// Without space, and ASCII: where it stands in a folded text, it stands in that text's small letters as well.
    is_plain: bool,
}

impl<'s> Finder<'s> {
    /// Of a text that was folded.
    pub fn new(text: &'s str) -> Self {
        Self { text: memmem::Finder::new(text), is_plain: text.is_ascii() && !text.contains(' ') }
    }

    /// Whether the text is in another.
    pub fn is_in(&self, text: &Text<'_>) -> bool {
        text.holds(self)
    }
}

/// The ways in which a field's value can be read, folded: as written, and each address as `name <address>`.
pub fn readings(field: &Field) -> impl Iterator<Item = String> {
    std::iter::once(reading(field)).chain(other_readings(field))
}

fn other_readings(field: &Field) -> impl Iterator<Item = String> {
    let is_list = ADDRESSES.iter().any(|name| field.is(name));
    let mailboxes = if is_list { address_list::mailboxes(field.value) } else { Vec::new() };
    mailboxes.into_iter().map(|mailbox| fold(&format!("{} <{}>", mailbox.name.as_deref().unwrap_or_default(), mailbox.address)))
}

/// A field's value as it is written, folded.
fn reading(field: &Field) -> String {
    match std::str::from_utf8(field.value.trim_ascii()) {
        Ok(value) if reads_as_written(field.value) => fold(value),
        _ => fold(&words::decode_all(field.value)),
    }
}

/// Whether a folded text is in a field, however that is read.
pub fn is_in(field: &Field, text: &str) -> bool {
    let has_other_readings = ADDRESSES.iter().any(|name| field.is(name));
    if has_other_readings || text.contains(' ') || !reads_as_written(field.value) {
        return readings(field).any(|reading| reading.contains(text));
    }
    memmem::find(&field.value.to_ascii_lowercase(), text.as_bytes()).is_some()
}

/// Whether a header, or a field's value, reads as it is written, so that what stands in one of its texts without a space stands in its bytes
/// as well: it is ASCII that can be seen, and nothing in it is encoded. Nearly everything that we put above messages is.
pub fn reads_as_written(header: &[u8]) -> bool {
    let mut lines = header.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.all(|line| line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))) && memmem::find(header, b"=?").is_none()
}

/// Whether a delivery may have put a field of this name above the message.
pub fn may_stand_above(name: &str) -> bool {
    ABOVE.iter().any(|above| above.eq_ignore_ascii_case(name))
}

/// Every text of a header, until `each` has enough.
pub fn header_texts(header: &[u8], each: &mut impl FnMut(&Text<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
    for field in Header::parse(header).fields() {
        match as_written(header, field) {
            Some(line) => each(&Text::new(Origin::Header, line))?,
            None => each(&Text::new(Origin::Header, &format!("{}: {}", words::lossless(field.name), reading(field))))?,
        }
        for reading in other_readings(field) {
            each(&Text::new(Origin::Header, &reading))?;
        }
    }
    ControlFlow::Continue(())
}

/// A field that reads as it is written, from its name to the end of its value: nearly all do.
fn as_written<'h>(header: &'h [u8], field: &Field) -> Option<&'h str> {
    let line = std::str::from_utf8(header.get(field.range.clone())?.trim_ascii()).ok()?;
    let value = line.get(field.name.len()..)?.strip_prefix(": ")?;
    (reads_as_written(field.value) && !field.name.is_empty() && !value.starts_with([' ', '\t', '\r', '\n'])).then_some(line)
}

/// Every text of a message, until `each` has enough. `read` gives bytes from one offset to another.
pub fn texts<B: AsRef<[u8]>, E>(
    layout: &Layout,
    mut read: impl FnMut(u64, u64) -> Result<B, E>,
    each: &mut impl FnMut(&Text<'_>) -> ControlFlow<()>,
) -> Result<(), E> {
    for place in layout.places() {
        let header = read(place.start, place.body.min(place.start.saturating_add(MAX_HEADER)))?;
        if header_texts(header.as_ref(), each).is_break() {
            return Ok(());
        }
        let Some(media) = text_part(place, header.as_ref()) else { continue };
        let body = read(place.body, place.end.min(place.body.saturating_add(MAX_PART)))?;
        if body_text(&media, place, body, each).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// The text of a part. Each form of it goes as soon as the next one is there, since a text may be long.
fn body_text(
    media: &MediaType,
    place: &Place,
    body: impl AsRef<[u8]>,
    each: &mut impl FnMut(&Text<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match transfer::decode(place.encoding, body.as_ref()) {
        Cow::Borrowed(plain) => each(&Text::new(Origin::Body, &text::readable(media, plain))),
        Cow::Owned(decoded) => {
            drop(body);
            each(&Text::new(Origin::Body, &text::readable(media, &decoded)))
        }
    }
}

/// What kind of text a part is, as the layout took it; `None`: it is none. A message that is not taken apart (a report on a delivery, a
/// piece of a message, one that is encoded) is text for lack of a better reading.
fn text_part(place: &Place, header: &[u8]) -> Option<MediaType> {
    if place.kind != Kind::Leaf {
        return None;
    }
    let header = Header::parse(if place.parent.is_some() { mime::part_header(header) } else { header });
    let media = header.first("content-type").and_then(|field| MediaType::parse(field.value)).unwrap_or_else(MediaType::plain_text);
    if media.is("multipart", "") {
        // Nothing delimits its parts: it is shown as text, in which they stand as they were written.
        return Some(MediaType::plain_text());
    }
    (media.is("text", "") || media.is("message", "")).then_some(media)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::facts::Facts;
    use proptest::prelude::*;

    #[test]
    fn every_text_of_a_message() {
        let message = "From: Rom (city) <rom@x.example>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= aus\r\n  Rom\r\n\
             Content-Type: multipart/mixed; boundary=b\r\n\r\nPreamble\r\n--b\r\nContent-Type: text/html; charset=iso-8859-1\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n<p class=hidden>Sch=F6nen  Tag\r\n--b\r\n\
             Content-Type: image/png; name=photo.png\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n";
        let mut found = Vec::new();
        let read = |from: u64, to: u64| Ok::<_, ()>(&message.as_bytes()[from as usize..to as usize]);
        texts(&Facts::of(message.as_bytes()).layout(), read, &mut |text| {
            found.push((text.origin, text.folded().trim_end().to_owned()));
            ControlFlow::Continue(())
        })
        .unwrap();
        let expected = [
            (Origin::Header, "from: rom (city) <rom@x.example>"),
            (Origin::Header, "rom <rom@x.example>"),
            (Origin::Header, "subject: grüße aus rom"),
            (Origin::Header, "content-type: multipart/mixed; boundary=b"),
            (Origin::Header, "content-type: text/html; charset=iso-8859-1"),
            (Origin::Header, "content-transfer-encoding: quoted-printable"),
            (Origin::Body, "schönen tag"),
            (Origin::Header, "content-type: image/png; name=photo.png"),
            (Origin::Header, "content-transfer-encoding: base64"),
        ];
        assert_eq!(found, expected.map(|(origin, text)| (origin, text.to_owned())));
    }

    /// What stands in the parts' bodies.
    fn bodies(message: &str) -> Vec<String> {
        let read = |from: u64, to: u64| Ok::<_, ()>(&message.as_bytes()[from as usize..to as usize]);
        let mut found = Vec::new();
        texts(&Facts::of(message.as_bytes()).layout(), read, &mut |text| {
            found.extend((text.origin == Origin::Body).then(|| text.folded().trim_end().to_owned()));
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    }

    #[test]
    fn texts_that_are_not_called_so() {
        for (header, body, expected) in [
            ("Content-Type: message/delivery-status", "Diagnostic-Code: smtp; 550 No", "diagnostic-code: smtp; 550 no"),
            ("Content-Type: message/disposition-notification\r\nContent-Transfer-Encoding: base64", "RGlzcG9zZWQ=", "disposed"),
            ("Content-Type: message/global", "Subject: Grüße", "subject: grüße"),
            ("Content-Type: message/partial; id=a; number=2; total=2", "the rest", "the rest"),
            ("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable", "Subject: a=3Db", "subject: a=b"),
            ("Content-Type: multipart/mixed", "--b\r\n\r\ninside", "--b inside"),
        ] {
            assert_eq!(bodies(&format!("{header}\r\n\r\n{body}")), [expected], "{header}");
        }
        assert!(bodies("Content-Type: application/octet-stream\r\n\r\nx").is_empty());
    }

    /// Where the layout reads no further, neither does the search: a text would be decoded as what it is not.
    #[test]
    fn a_type_behind_what_is_read_of_a_header() {
        let trace = "X-Trace: x\r\n".repeat(4000);
        let part = format!("{trace}Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n<b>");
        assert_eq!(bodies(&format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{part}")), ["<b>"]);
    }

    #[test]
    fn long_fields_are_searched_to_their_end() {
        let many =
            |first: &str| format!("To: {first},\r\n{}\tzymurgy@x.example\r\n\r\n", "\tsomebody.else@somewhere.example,\r\n".repeat(10_000));
        for header in [many("a@x.example"), many("=?utf-8?q?=C3=84?= <a@x.example>")] {
            let mut found = false;
            let layout = Facts::of(header.as_bytes()).layout();
            let read = |from: u64, to: u64| Ok::<_, ()>(&header.as_bytes()[from as usize..to as usize]);
            texts(&layout, read, &mut |text| {
                found |= Finder::new("zymurgy").is_in(text);
                ControlFlow::Continue(())
            })
            .unwrap();
            assert!(found && header.len() > 300_000);
            assert!(is_in(&Header::parse(header.as_bytes()).fields()[0], "zymurgy"));
        }
    }

    #[test]
    fn headers_that_read_as_they_are_written() {
        let check = |header: &str, expected: bool| assert_eq!(reads_as_written(header.as_bytes()), expected, "{header:?}");
        check("Delivered-To: alice@office.lan\r\nReceived: from x\r\n\tby y; z\r\n", true);
        check("Delivered-To: al\rice\r\n", false);
        check("Delivered-To: \u{1}\r\n", false);
        check("Delivered-To: jürgen@office.lan\r\n", false);
        check("Delivered-To: =?utf-8?q?x?=\r\n", false);
    }

    proptest! {
        /// What is looked for in the bytes is found where it is found in what they say, and nowhere else.
        #[test]
        fn texts_in_fields(
            name in "(Subject|From|X-A)",
            value in "(a|B|ab|K|\u{212a}|<|>|@|\\(|\"| |\t|\r\n |\r\n\t|\r|=\\?utf-8\\?q\\?a\\?=|ä){0,12}",
            text in "(a|b|k|@| |<|ä){1,4}",
        ) {
            let header = format!("{name}: {value}\r\n\r\n");
            let text = fold(&text);
            for field in Header::parse(header.as_bytes()).fields() {
                prop_assert_eq!(is_in(field, &text), readings(field).any(|reading| reading.contains(&text)), "{:?} in {:?}", text, header);
            }
        }

        /// A text of a part is searched as if it were folded, whether it is or not.
        #[test]
        fn texts_in_parts(
            body in "(a|B|ab|K|k|\u{212a}|\u{130}|i|\u{307}| |\t|\r\n|ä|Ä|ß|\u{2003}|\u{308}|\u{37e}|ς){0,16}",
            sought in "(a|B|k|K|i|İ| |ä|\u{307}|\u{308}|;|σ){1,4}",
        ) {
            let sought = fold(&sought);
            let text = Text::new(Origin::Body, &body);
            prop_assert_eq!(Finder::new(&sought).is_in(&text), fold(&body).contains(&sought), "{:?} in {:?}", sought, body);
        }

        /// A value that reads as it is written is not decoded, and reads the same.
        #[test]
        fn values(value in "(a|B|=\\?|=\\?utf-8\\?q\\?a\\?=| |\t|\r\n |\r\n\t|\r|\n |ä|\u{1}){0,12}") {
            let header = format!("X-A: {value}\r\n\r\n");
            for field in Header::parse(header.as_bytes()).fields() {
                prop_assert_eq!(reading(field), fold(&field.text()), "{:?}", header);
            }
        }
    }
}
