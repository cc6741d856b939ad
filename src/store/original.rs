//! An original whose texts are read: at once if it is short, else its parts from where the layout says that they are.

use super::content::Chunks;
use super::{ContentId, StoreError};
use crate::message::facts::Scanner;
use crate::message::layout::Layout;
use crate::message::searched::{self, Text};
use bytes::{Bytes, BytesMut};
use rusqlite::OptionalExtension;
use std::ops::ControlFlow;

/// Nearly every mail without attachment is shorter: read at once, and the parts cut from it.
const FIRST: usize = 64 * 1024;
/// Of an original whose parts have to be found anew.
const PIECE: usize = 256 * 1024;

/// An original that is read here and there.
pub struct Original<'r, 'c> {
    chunks: &'r mut Chunks<'c>,
    id: ContentId,
    layout: Layout,
    first: Bytes,
    read: u64,
}

impl<'r, 'c> Original<'r, 'c> {
    /// Reads the first piece, and finds the layout anew if none is kept.
    pub fn open(chunks: &'r mut Chunks<'c>, id: ContentId) -> Result<Original<'r, 'c>, StoreError> {
        let mut select = chunks.connection().prepare_cached("SELECT parts FROM content WHERE id = ?1")?;
        let parts = select.query_row([id.0], |row| row.get::<_, Vec<u8>>(0)).optional()?.unwrap_or_default();
        let mut original = Original { chunks, id, layout: Layout::default(), first: Bytes::new(), read: 0 };
        original.first = original.bytes(0, FIRST as u64)?;
        original.layout = match Layout::decode(&parts) {
            Some(layout) => layout,
            None => original.scan()?,
        };
        Ok(original)
    }

    /// Every text, until `each` has enough; how many bytes were read.
    pub fn texts(mut self, each: &mut impl FnMut(&Text<'_>) -> ControlFlow<()>) -> Result<u64, StoreError> {
        let layout = std::mem::take(&mut self.layout);
        searched::texts(&layout, |from, to| self.bytes(from, to), each)?;
        Ok(self.read)
    }

    fn bytes(&mut self, from: u64, to: u64) -> Result<Bytes, StoreError> {
        if to <= self.first.len() as u64 {
            return Ok(self.first.slice(from.min(to) as usize..to as usize));
        }
        let mut bytes = BytesMut::new();
        self.chunks.read(self.id, from, to.saturating_sub(from) as usize, &mut bytes)?;
        self.read += bytes.len() as u64;
        Ok(bytes.freeze())
    }

    fn scan(&mut self) -> Result<Layout, StoreError> {
        let mut scanner = Scanner::default();
        let mut at = 0;
        loop {
            let piece = self.bytes(at, at + PIECE as u64)?;
            if piece.is_empty() {
                return Ok(scanner.finish().layout());
            }
            scanner.feed(&piece);
            at += piece.len() as u64;
        }
    }
}
