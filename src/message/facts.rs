//! What is found out about a message once, while its bytes stream by: sizes, hashes, parts, sort keys, ids.
//!
//! Memory is bounded whatever the message: the header (at most [`super::header::MAX_BYTES`]) and the parts (see [`super::mime`]).

use super::address_list::{self, Mailbox};
use super::header::{EndFinder, Header};
use super::layout::Layout;
use super::mime;
use super::part::Part;
use super::{date, subject};

/// Ids of `In-Reply-To` and `References` that are kept; the last ones are nearest.
const MAX_REFERENCES: usize = 200;
/// RFC 5322 §2.1.1: an id can't be longer than a line.
const MAX_ID: usize = 998;

/// What a message says about itself, and what it measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Bytes.
    pub size: u64,
    /// Bytes of the header, blank line included.
    pub header_size: u64,
    /// The header's bytes; whole fields up to [`super::header::MAX_BYTES`].
    pub header: Vec<u8>,
    /// BLAKE3 of the body.
    pub body_hash: [u8; 32],
    /// The same for the same bytes alone: BLAKE3 of the header and of `body_hash`.
    pub hash: [u8; 32],
    /// Its parts in the order in which they start; the first is the message itself.
    pub parts: Vec<Part>,
    /// Message-ID without angle brackets.
    pub message_id: Option<String>,
    /// In-Reply-To without angle brackets.
    pub in_reply_to: Vec<String>,
    /// References, oldest first, then what In-Reply-To adds; without angle brackets.
    pub references: Vec<String>,
    /// Decoded.
    pub subject: String,
    /// Without reply marks, in lower case: a sort key (RFC 5256 §2.1).
    pub base_subject: String,
    /// The first person in From.
    pub from: Option<Mailbox>,
    /// The first person in To.
    pub to: Option<Mailbox>,
    /// The first person in Cc.
    pub cc: Option<Mailbox>,
    /// Date, in milliseconds since 1970; `None` if it is missing or mad.
    pub date: Option<i64>,
    /// Auto-Submitted's first word in lower case (RFC 3834); `no` is a person's mail.
    pub auto_submitted: Option<String>,
    /// List-Id without angle brackets, in lower case (RFC 2919).
    pub list_id: Option<String>,
}

impl Facts {
    /// Of a message that is in memory anyway.
    pub fn of(message: &[u8]) -> Self {
        let mut scanner = Scanner::default();
        scanner.feed(message);
        scanner.finish()
    }

    /// The header, to be asked for more.
    pub fn header(&self) -> Header<'_> {
        Header::parse(&self.header)
    }

    /// The Message-ID of the message inside a bounce (RFC 3464 §2).
    pub fn returned_id(&self) -> Option<String> {
        let (whole, parts) = self.parts.split_first()?;
        if !whole.media.is("multipart", "report") {
            return None;
        }
        let returned = parts.iter().find_map(|part| part.envelope.as_deref())?;
        ids(returned.message_id.as_deref()?).into_iter().next()
    }

    /// Where the parts stand.
    pub fn layout(&self) -> Layout {
        mime::layout(&self.parts)
    }
}

/// Takes a message in pieces of any size.
#[derive(Debug, Default)]
pub struct Scanner {
    mime: mime::Scanner,
    end: EndFinder,
    header_size: Option<u64>,
    size: u64,
    /// Kept aside, for a hasher has 2 KB and whoever holds a scanner is moved about.
    hash: Box<blake3::Hasher>,
    body_hash: Box<blake3::Hasher>,
}

impl Scanner {
    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        self.mime.feed(piece);
        let header = match self.header_size {
            Some(_) => 0,
            None => self.end.feed(piece).inspect(|end| self.header_size = Some(self.size + *end as u64)).unwrap_or(piece.len()),
        };
        let (header, body) = piece.split_at(header);
        self.hash.update(header);
        self.body_hash.update(body);
        self.size += piece.len() as u64;
    }

    /// What was found.
    pub fn finish(mut self) -> Facts {
        let (parts, header_bytes) = self.mime.finish();
        let body_hash = *self.body_hash.finalize().as_bytes();
        self.hash.update(&body_hash);
        let header = Header::parse(&header_bytes);
        let first = |name: &str| header.all(name).find_map(|field| address_list::mailboxes(field.value).into_iter().next());
        let subject = header.text("subject").unwrap_or_default();
        let in_reply_to: Vec<String> = header.all("in-reply-to").flat_map(|field| ids(field.value)).take(MAX_REFERENCES).collect();
        let mut references: Vec<String> = header.all("references").flat_map(|field| ids(field.value)).collect();
        references.drain(..references.len().saturating_sub(MAX_REFERENCES));
        let new: Vec<String> = in_reply_to.iter().filter(|id| !references.contains(id)).cloned().collect();
        references.extend(new);
        Facts {
            size: self.size,
            header_size: self.header_size.unwrap_or(self.size),
            body_hash,
            hash: *self.hash.finalize().as_bytes(),
            message_id: header.first("message-id").and_then(|field| message_id(field.value)),
            in_reply_to,
            references,
            base_subject: subject::base(&subject).to_lowercase(),
            subject,
            from: first("from"),
            to: first("to"),
            cc: first("cc"),
            date: header.first("date").and_then(|field| date::parse(field.value)),
            auto_submitted: header.first("auto-submitted").and_then(|field| first_word(&field.text())),
            list_id: header.first("list-id").and_then(|field| list_id(field.value)),
            parts,
            header: header_bytes,
        }
    }
}

/// Every `<…>` of the value, without its brackets and without the white space that folding leaves inside.
pub fn ids(value: &[u8]) -> Vec<String> {
    let mut ids = Vec::new();
    let mut rest = value;
    while let Some(start) = memchr::memchr(b'<', rest) {
        rest = &rest[start + 1..];
        let Some(end) = memchr::memchr2(b'<', b'>', rest) else { break };
        if rest[end] == b'>' && end <= MAX_ID {
            let id: Vec<u8> = rest[..end].iter().copied().filter(|b| !b.is_ascii_whitespace() && !b.is_ascii_control()).collect();
            if !id.is_empty() {
                ids.push(String::from_utf8_lossy(&id).into_owned());
            }
        }
        rest = &rest[end..];
    }
    ids
}

/// The first `<…>`, or the bare word that some programs write.
fn message_id(value: &[u8]) -> Option<String> {
    let bare = || {
        let text = String::from_utf8_lossy(value).into_owned();
        let word = text.split_whitespace().next()?.trim_matches(['<', '>']);
        (!word.is_empty() && word.len() <= MAX_ID && !word.contains(char::is_control)).then(|| word.to_owned())
    };
    ids(value).into_iter().next().or_else(bare)
}

/// `list-id = [phrase] "<" list-label "." list-id-namespace ">"` (RFC 2919 §3); the brackets are sometimes missing.
fn list_id(value: &[u8]) -> Option<String> {
    let id = ids(value).pop().or_else(|| first_word(&String::from_utf8_lossy(value)))?;
    Some(id.to_lowercase())
}

fn first_word(text: &str) -> Option<String> {
    let word = text.split(|c: char| c.is_whitespace() || c == ';' || c == '(').find(|word| !word.is_empty())?;
    Some(word.chars().filter(|c| !c.is_control()).take(MAX_ID).collect::<String>().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_message_says() {
        let message =
            b"From: A <a@x.example>, b@x.example\r\nTo: undisclosed:;\r\nTo: c@x.example\r\nSubject: Re: =?utf-8?q?=C3=9Cber?=\r\n\
            Message-ID:\r\n <1@x>\r\nIn-Reply-To: Your mail <0@x> of yesterday\r\nReferences: <-1@x>\r\n <0@\r\n x>\r\n\
            Auto-Submitted: Auto-Replied; x=y\r\nList-Id: The list <L.x.example>\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n\r\nbody";
        let facts = Facts::of(message);
        assert_eq!((facts.size, facts.header_size), (message.len() as u64, message.len() as u64 - 4));
        assert_eq!(facts.header, message[..message.len() - 4]);
        let body_hash = blake3::hash(b"body");
        assert_eq!(facts.hash, *blake3::hash(&[&message[..message.len() - 4], body_hash.as_bytes()].concat()).as_bytes());
        assert_eq!(facts.body_hash, *body_hash.as_bytes());
        assert_eq!(facts.from.map(|m| m.address.to_string()), Some("a@x.example".into()));
        assert_eq!(facts.to.map(|m| m.address.to_string()), Some("c@x.example".into()));
        assert_eq!((facts.subject.as_str(), facts.base_subject.as_str()), ("Re: Über", "über"));
        assert_eq!(facts.message_id.as_deref(), Some("1@x"));
        assert_eq!(facts.in_reply_to, ["0@x"]);
        assert_eq!(facts.references, ["-1@x", "0@x"]);
        assert_eq!(facts.auto_submitted.as_deref(), Some("auto-replied"));
        assert_eq!(facts.list_id.as_deref(), Some("l.x.example"));
        assert_eq!(facts.date, Some(1_704_103_200_000));
    }

    #[test]
    fn ids_of_all_kinds() {
        for (value, expected) in [
            ("<a@b>", "a@b"),
            ("<a@b><c@d>\r\n\t<e@f>", "a@b c@d e@f"),
            ("<a\r\n @b>", "a@b"),
            ("<<a@b>", "a@b"),
            ("<>", ""),
            ("a@b", ""),
            ("<open", ""),
        ] {
            assert_eq!(ids(value.as_bytes()).join(" "), expected, "{value}");
        }
        assert_eq!(message_id(b" bare@x (c)"), Some("bare@x".into()));
    }

    #[test]
    fn the_nearest_references_are_kept() {
        let message: String = (0..5000).map(|n| format!("References: <{n}@x>\n")).collect();
        let facts = Facts::of(message.as_bytes());
        assert_eq!((facts.references.len(), facts.references.last().map(String::as_str)), (MAX_REFERENCES, Some("4999@x")));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces(message in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..400), piece in 1usize..50) {
            let mut scanner = Scanner::default();
            message.chunks(piece).for_each(|piece| scanner.feed(piece));
            let facts = scanner.finish();
            prop_assert_eq!(facts.header_size, Header::parse(&message).size() as u64);
            prop_assert_eq!(facts, Facts::of(&message));
        }
    }
}
