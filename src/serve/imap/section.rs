//! Which bytes of a message a section names. A client sees the prefix of the delivery and the original as one message; offsets of parts are
//! kept for the original.

use bytes::Bytes;

use super::outcome::Failure;
use crate::imap::command::{HeaderFields, Section, SectionText};
use crate::message::facts::Scanner;
use crate::message::layout::{Encoding, Layout};
use crate::message::transfer::Decoder;
use crate::store::messages::{MessageRow, StoredMessage};
use crate::store::{FolderId, Store};

/// Nearly every mail without attachment is shorter.
const FIRST: usize = 64 * 1024;
/// Of what is longer.
const PIECE: usize = 256 * 1024;
/// Of a header from which fields are picked; what is behind it is not looked at.
const MAX_HEADER: usize = 1024 * 1024;
/// What a section holds.
pub enum Piece {
    /// There is no such part.
    Nil,
    /// These bytes.
    Bytes(Bytes),
    /// Bytes of the message: start and length.
    Range(u64, u64),
}

/// A message that is being fetched; opened when its bytes are needed.
pub struct Message<'a> {
    store: Store,
    folder: FolderId,
    row: &'a MessageRow,
    opened: Option<(StoredMessage, Bytes)>,
    layout: Option<Layout>,
}

/// A part that is being decoded.
pub struct Decoding {
    at: u64,
    end: u64,
    decoder: Option<Decoder>,
    given: u64,
}

/// What a decoded part comes to.
pub struct Measured {
    /// Bytes.
    pub length: u64,
    /// It can't go in an ordinary literal.
    pub has_nul: bool,
}

impl Decoding {
    /// The next decoded bytes, perhaps none; `None` at the end.
    pub async fn next(&mut self, message: &mut Message<'_>) -> Result<Option<Vec<u8>>, Failure> {
        let Some(decoder) = &mut self.decoder else { return Ok(None) };
        let mut decoded = Vec::new();
        let piece = if self.at < self.end { message.read(self.at, self.end - self.at).await? } else { Bytes::new() };
        self.at += piece.len() as u64;
        decoder.feed(&piece, &mut decoded);
        if piece.is_empty()
            && let Some(decoder) = self.decoder.take()
        {
            decoder.finish(&mut decoded);
        }
        self.given = decoded.len() as u64;
        Ok(Some(decoded))
    }

    /// Bytes of the last piece.
    pub fn given(&self) -> u64 {
        self.given
    }
}

impl<'a> Message<'a> {
    pub fn new(store: Store, folder: FolderId, row: &'a MessageRow) -> Message<'a> {
        Message { store, folder, row, opened: None, layout: None }
    }

    /// What a section names.
    pub async fn section(&mut self, section: &Section) -> Result<Piece, Failure> {
        if section.part.is_empty() {
            let (header, size) = (self.row.header_size.min(self.row.size), self.row.size);
            return Ok(match &section.text {
                SectionText::Whole => Piece::Range(0, size),
                SectionText::Header => self.row.header.clone().map_or(Piece::Range(0, header), Piece::Bytes),
                SectionText::Text => Piece::Range(header, size - header),
                SectionText::Mime => Piece::Nil,
                SectionText::Fields(fields) => {
                    let header = match &self.row.header {
                        Some(header) => header.clone(),
                        None => self.collect(0, header.min(MAX_HEADER as u64)).await?,
                    };
                    Piece::Bytes(pick(&header, fields).into())
                }
            });
        }
        let prefix = u64::from(self.row.prefix_size);
        let layout = self.layout().await?;
        let range = match &section.text {
            SectionText::Whole => layout.content(&section.part).map(|(range, _)| range),
            SectionText::Mime => layout.mime_header(&section.part),
            SectionText::Header | SectionText::Fields(_) => layout.message_header(&section.part),
            SectionText::Text => layout.message_text(&section.part),
        };
        let Some(range) = range else { return Ok(Piece::Nil) };
        let (start, length) = (prefix + range.start, range.end.saturating_sub(range.start));
        if let SectionText::Fields(fields) = &section.text {
            let header = self.collect(start, length.min(MAX_HEADER as u64)).await?;
            return Ok(Piece::Bytes(pick(&header, fields).into()));
        }
        Ok(Piece::Range(start, length))
    }

    /// A part without its transfer encoding, to be read piece by piece; `None` if there is no such part.
    pub async fn decoding(&mut self, part: &[u32]) -> Result<Option<Decoding>, Failure> {
        let prefix = u64::from(self.row.prefix_size);
        let Some((range, encoding)) = self.layout().await?.content(part) else { return Ok(None) };
        if encoding == Encoding::Unknown {
            return Err(Failure::no("UNKNOWN-CTE", "This part can't be decoded here."));
        }
        let (at, end) = if part.is_empty() { (0, self.row.size) } else { (prefix + range.start, prefix + range.end) };
        Ok(Some(Decoding { at, end, decoder: Some(Decoder::new(encoding)), given: 0 }))
    }

    /// What [`Message::decoding`] will give.
    pub async fn measure(&mut self, part: &[u32]) -> Result<Option<Measured>, Failure> {
        let Some(mut decoding) = self.decoding(part).await? else { return Ok(None) };
        let mut measured = Measured { length: 0, has_nul: false };
        while let Some(piece) = decoding.next(self).await? {
            measured.length += piece.len() as u64;
            measured.has_nul |= memchr::memchr(0, &piece).is_some();
        }
        Ok(Some(measured))
    }

    /// Where the parts stand: as kept, or found out anew.
    pub async fn layout(&mut self) -> Result<&Layout, Failure> {
        if self.layout.is_none() {
            let facts = self.store.facts(self.row.content).await?;
            let layout = match Layout::decode(&facts.parts) {
                Some(layout) => layout,
                None => self.scan().await?,
            };
            self.layout = Some(layout);
        }
        self.layout.as_ref().ok_or_else(|| Failure::no("UNAVAILABLE", "The message can't be read."))
    }

    async fn scan(&mut self) -> Result<Layout, Failure> {
        let mut scanner = Scanner::default();
        let mut at = u64::from(self.row.prefix_size);
        while at < self.row.size {
            let piece = self.read(at, self.row.size - at).await?;
            if piece.is_empty() {
                break;
            }
            scanner.feed(&piece);
            at += piece.len() as u64;
        }
        Ok(scanner.finish().layout())
    }

    /// Opens it: from here on its bytes can be had, whatever becomes of it. False if somebody removed it already.
    pub async fn open(&mut self) -> Result<bool, Failure> {
        if self.opened.is_none() {
            self.opened = self.store.message(self.folder, self.row.view.uid, FIRST).await?;
        }
        Ok(self.opened.is_some())
    }

    /// Some of the next `length` bytes; none if the message is gone or ends here.
    pub async fn read(&mut self, at: u64, length: u64) -> Result<Bytes, Failure> {
        self.open().await?;
        let Some((message, first)) = &self.opened else { return Ok(Bytes::new()) };
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        if at < first.len() as u64 {
            let start = usize::try_from(at).unwrap_or(usize::MAX);
            return Ok(first.slice(start..start.saturating_add(wanted).min(first.len())));
        }
        Ok(self.store.message_bytes(message, at, wanted.min(PIECE)).await?)
    }

    /// The same of the original, without what was rendered above it: for offsets of a [`Layout`].
    pub async fn original(&mut self, start: u64, length: u64) -> Result<Bytes, Failure> {
        self.collect(u64::from(self.row.prefix_size) + start, length).await
    }

    /// All of them; the caller bounds `length`.
    pub async fn collect(&mut self, start: u64, length: u64) -> Result<Bytes, Failure> {
        let first = self.read(start, length).await?;
        if first.len() as u64 == length || first.is_empty() {
            return Ok(first);
        }
        let mut all = first.to_vec();
        while (all.len() as u64) < length {
            let piece = self.read(start + all.len() as u64, length - all.len() as u64).await?;
            if piece.is_empty() {
                break;
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }
}

/// `HEADER.FIELDS`: the wanted fields with their folding, and the blank line.
fn pick(header: &[u8], fields: &HeaderFields) -> Vec<u8> {
    let mut picked = Vec::new();
    let mut wanted = false;
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        if line.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            break;
        }
        if !continues {
            let name = memchr::memchr(b':', line).map_or(&[][..], |colon| line[..colon].trim_ascii_end());
            let named = fields.names.iter().any(|field| field.as_bytes().eq_ignore_ascii_case(name));
            wanted = named != fields.not && !name.is_empty();
        }
        if wanted {
            picked.extend_from_slice(line);
        }
    }
    if !picked.is_empty() && !picked.ends_with(b"\n") {
        picked.extend_from_slice(b"\r\n");
    }
    picked.extend_from_slice(b"\r\n");
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let header = b"From: a\r\nSubject: one\r\n two\r\nX-No-Colon\r\nTO : b\r\nSubject: three\r\n\r\nFrom: body\r\n";
        let check = |not, names: &[&str], expected: &str| {
            let fields = HeaderFields { not, names: names.iter().map(|&name| name.into()).collect() };
            assert_eq!(String::from_utf8(pick(header, &fields)).unwrap(), expected);
        };
        check(false, &["subject"], "Subject: one\r\n two\r\nSubject: three\r\n\r\n");
        check(false, &["to", "from"], "From: a\r\nTO : b\r\n\r\n");
        check(false, &["cc"], "\r\n");
        check(true, &["subject", "from"], "TO : b\r\n\r\n");
    }
}
