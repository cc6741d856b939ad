//! Which bytes of a message a section names. A client sees the prefix of the delivery and the original as one message; offsets of parts are
//! kept for the original.

use bytes::Bytes;

use super::outcome::Failure;
use crate::imap::command::{Section, SectionText};
use crate::message::facts::Scanner;
use crate::message::fields;
use crate::message::layout::{Encoding, Layout};
use crate::message::transfer::Decoder;
use crate::store::messages::{MessageRow, StoredMessage};
use crate::store::{FolderId, Store, StoreError};

/// Nearly every mail without attachment is shorter.
pub const FIRST: usize = 64 * 1024;
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

    /// What the store gave when it was asked for the message and its first [`FIRST`] bytes.
    pub fn opened_as(self, opened: (StoredMessage, Bytes)) -> Message<'a> {
        Message { opened: Some(opened), ..self }
    }

    /// What the store knows of it.
    pub fn row(&self) -> &'a MessageRow {
        self.row
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
                SectionText::Fields(wanted) => {
                    let kept = self.row.fields.as_ref().filter(|_| listed(&section.text));
                    let header = match kept.or(self.row.header.as_ref()) {
                        Some(header) => header.clone(),
                        None => self.collect(0, header.min(MAX_HEADER as u64)).await?,
                    };
                    Piece::Bytes(fields::pick(&header, &wanted.names, wanted.not).into())
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
        if let SectionText::Fields(wanted) = &section.text {
            let header = self.collect(start, length.min(MAX_HEADER as u64)).await?;
            return Ok(Piece::Bytes(fields::pick(&header, &wanted.names, wanted.not).into()));
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
        Ok(self.reading(at, length).await?)
    }

    /// The same of a message that is open. Begins at once, so that one piece can be read while the one before it is sent.
    pub fn reading(&self, at: u64, length: u64) -> impl Future<Output = Result<Bytes, StoreError>> + Send + use<> {
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        let known = match &self.opened {
            None => Some(Bytes::new()),
            Some((_, first)) if at < first.len() as u64 => {
                let start = usize::try_from(at).unwrap_or(usize::MAX);
                Some(first.slice(start..start.saturating_add(wanted).min(first.len())))
            }
            Some(_) => None,
        };
        let reading = match (&self.opened, &known) {
            (Some((message, _)), None) => Some(self.store.message_bytes(message, at, wanted.min(PIECE))),
            _ => None,
        };
        async {
            match reading {
                Some(reading) => reading.await,
                None => Ok(known.unwrap_or_default()),
            }
        }
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

/// Whether a section is of fields that are kept apart.
pub fn listed(text: &SectionText) -> bool {
    matches!(text, SectionText::Fields(wanted) if !wanted.not && wanted.names.iter().all(|name| fields::is_listed(name)))
}
