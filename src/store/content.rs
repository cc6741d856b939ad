//! Originals: their bytes in chunks, their facts, and the sweep of what nobody refers to any more.

use super::{Store, StoreError};
use bytes::Bytes;

/// Of one stored original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId(pub i64);

/// What is computed once, when content is stored. `envelope` and the structures are in wire form; the store doesn't read them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentFacts {
    /// Bytes of the original.
    pub size: u64,
    /// Bytes of its header, blank line included.
    pub header_size: u64,
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// BLAKE3 of the body.
    pub body_hash: [u8; 32],
    /// BLAKE3 of all bytes.
    pub hash: [u8; 32],
    /// ENVELOPE (RFC 9051 §7.5.2).
    pub envelope: Vec<u8>,
    /// BODYSTRUCTURE with extension data.
    pub bodystructure: Vec<u8>,
    /// BODY: the same without.
    pub body: Vec<u8>,
    /// Where its parts stand: [`crate::message::layout::Layout`] in its compact form.
    pub parts: Vec<u8>,
    /// A sort key, like those below (RFC 5256): the subject without reply marks, decoded.
    pub subject: String,
    /// First From mailbox: the part before the @.
    pub from: String,
    /// First To mailbox.
    pub to: String,
    /// First Cc mailbox.
    pub cc: String,
    /// Name of the first From, else its address (RFC 5957); for lists too.
    pub display_from: String,
    /// Name of the first To, else its address.
    pub display_to: String,
    /// Milliseconds since 1970; `None` if Date is missing or mad.
    pub date: Option<i64>,
    /// In-Reply-To and References, as found, for THREAD.
    pub references: Vec<String>,
}

impl Store {
    /// A writer for content that is too large to hold in memory.
    pub fn spool(&self) -> Spool {
        todo!()
    }

    /// Bytes `offset..offset + length` of an original; shorter at its end.
    pub async fn content(&self, id: ContentId, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        todo!("{id:?} {offset} {length}")
    }

    /// What was computed when it was stored.
    pub async fn facts(&self, id: ContentId) -> Result<ContentFacts, StoreError> {
        todo!("{id:?}")
    }

    /// Stored originals with this Message-ID (without angle brackets), oldest first.
    pub async fn content_by_message_id(&self, message_id: &str) -> Result<Vec<ContentId>, StoreError> {
        todo!("{message_id}")
    }
}

/// Takes large content in pieces. Dropped before [`Spool::finish`], it leaves bytes that the sweep finds.
pub struct Spool {}

impl Spool {
    /// Appends; commits a chunk now and then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        todo!("{}", bytes.len())
    }

    /// The id for [`super::NewContent::Spooled`]. What is never referenced is swept at the next start.
    pub async fn finish(self) -> Result<ContentId, StoreError> {
        todo!()
    }
}
