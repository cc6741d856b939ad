//! Originals: their bytes in chunks, their facts, and the sweep of what nobody refers to any more.

use super::{SMALL, Store, StoreError, indexer, now};
use bytes::{Bytes, BytesMut};
use rusqlite::blob::Blob;
use rusqlite::{Connection, MAIN_DB, OptionalExtension, params};
use std::collections::VecDeque;
use tokio::sync::oneshot;

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
    /// The same for the same bytes alone.
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
    /// What [`crate::message::fields::listed`] keeps of its header.
    pub fields: Option<Vec<u8>>,
    /// Until its texts are in the index, what [`crate::message::sketch`] tells of them; empty: they may hold anything. It is not read again.
    pub sketch: Vec<u8>,
}

/// Bytes of one chunk. A mail of average size is one row; a piece of a large one costs one row as well.
const CHUNK: usize = 64 * 1024;

/// `chunk.id` is `content << CHUNK_BITS | sequence`: 64 GB for one original.
const CHUNK_BITS: u32 = 20;

/// What a [`Spool`] gathers before it commits: a sync costs as much as writing about this.
const SPOOL_PIECE: usize = 8 * CHUNK;

/// Pieces that may wait to be committed while the next one gathers: the writer takes all of them into one commit.
const SPOOL_PIECES: usize = 16;

/// Message-IDs are cut here: no sane one is longer, and a hostile one must not fill the index.
const MAX_MESSAGE_ID: usize = 1000;

impl Store {
    /// A writer for content that is too large to hold in memory.
    pub fn spool(&self) -> Spool {
        Spool { store: self.clone(), id: None, buffer: BytesMut::new(), stored: 0, underway: VecDeque::new() }
    }

    /// Bytes `offset..offset + length` of an original; shorter at its end.
    pub async fn content(&self, id: ContentId, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        self.read(move |connection| {
            let mut bytes = BytesMut::new();
            read(connection, id, offset, length, &mut bytes)?;
            Ok(bytes.freeze())
        })
        .await
    }

    /// Gives back what was spooled and won't be referred to, behind everything that was asked for before. What is referred to stays.
    pub fn discard(&self, spooled: Vec<ContentId>) {
        if spooled.is_empty() {
            return;
        }
        // Nobody waits for it: what it does not reach, the sweep finds.
        drop(self.send(SMALL, move |work| {
            let mut find = work.connection.prepare_cached("SELECT 1 FROM content WHERE id = ?1 AND refs IS NULL")?;
            for id in &spooled {
                if find.exists([id.0])? {
                    erase(work, id.0)?;
                }
            }
            Ok(())
        }));
    }

    /// What was computed when it was stored.
    pub async fn facts(&self, id: ContentId) -> Result<ContentFacts, StoreError> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT size, header_size, message_id, body_hash, hash, envelope, bodystructure, body, subject, sender, recipient, copied,
                        date, thread, display_from, display_to, parts, fields
                 FROM content WHERE id = ?1",
            )?;
            let facts = select.query_row([id.0], |row| {
                Ok(ContentFacts {
                    size: row.get(0)?,
                    header_size: row.get(1)?,
                    message_id: row.get(2)?,
                    body_hash: row.get(3)?,
                    hash: row.get(4)?,
                    envelope: row.get(5)?,
                    bodystructure: row.get(6)?,
                    body: row.get(7)?,
                    subject: row.get(8)?,
                    from: row.get(9)?,
                    to: row.get(10)?,
                    cc: row.get(11)?,
                    date: row.get(12)?,
                    references: split(&row.get::<_, String>(13)?),
                    display_from: row.get(14)?,
                    display_to: row.get(15)?,
                    parts: row.get(16)?,
                    fields: row.get(17)?,
                    sketch: Vec::new(),
                })
            });
            facts.optional()?.ok_or_else(|| missing(id))
        })
        .await
    }

    /// Stored originals with this Message-ID (without angle brackets), oldest first.
    pub async fn content_by_message_id(&self, message_id: &str) -> Result<Vec<ContentId>, StoreError> {
        let message_id = clip(message_id).to_owned();
        self.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT id FROM content WHERE message_id = ?1 ORDER BY id")?;
            let ids = select.query_map([message_id], |row| row.get(0).map(ContentId))?.collect::<Result<_, _>>()?;
            Ok(ids)
        })
        .await
    }
}

/// Takes large content in pieces. Dropped before [`Spool::finish`], it leaves nothing, or at most a first piece that the sweep finds.
pub struct Spool {
    store: Store,
    id: Option<ContentId>,
    buffer: BytesMut,
    stored: u64,
    /// Pieces that are being committed.
    underway: VecDeque<oneshot::Receiver<Result<ContentId, StoreError>>>,
}

impl Spool {
    /// Appends; commits a piece now and then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(SPOOL_PIECE - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            rest = later;
            if self.buffer.len() == SPOOL_PIECE {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// The id for [`super::NewContent::Spooled`]; the last pieces may still be under way, before whatever refers to them. What is never
    /// referenced is swept at the next start.
    pub async fn finish(mut self) -> Result<ContentId, StoreError> {
        self.flush().await?;
        if self.id.is_none() {
            self.settle(0).await?;
        }
        self.id.take().ok_or(StoreError::Closed)
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        // Nothing but the first piece can be without an id.
        self.settle(if self.id.is_some() { SPOOL_PIECES - 1 } else { 0 }).await?;
        let piece = std::mem::take(&mut self.buffer).freeze();
        let (id, at) = (self.id, self.stored);
        self.stored += piece.len() as u64;
        self.underway.push_back(self.store.send(piece.len(), move |work| append(work, id, at, &piece)));
        Ok(())
    }

    /// Waits until no more than so many pieces are under way.
    async fn settle(&mut self, most: usize) -> Result<(), StoreError> {
        while self.underway.len() > most
            && let Some(first) = self.underway.pop_front()
        {
            self.id = Some(first.await.unwrap_or(Err(StoreError::Closed))?);
        }
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.store.discard(vec![id]);
        }
    }
}

/// Adds a piece to spooled content; makes the row with the first one. `at` is a multiple of [`CHUNK`], and what came before has to be there.
fn append(connection: &Connection, id: Option<ContentId>, at: u64, piece: &[u8]) -> Result<ContentId, StoreError> {
    let id = match id {
        Some(id) => id,
        None => insert_row(connection, None, 0, &ContentFacts::default())?,
    };
    insert_chunks(connection, id, at, piece)?;
    let mut update =
        connection.prepare_cached("UPDATE content SET size = ?2, unreferenced = ?3 WHERE id = ?1 AND refs IS NULL AND size = ?4")?;
    match update.execute(params![id.0, at + piece.len() as u64, now(), at])? {
        1 => Ok(id),
        _ => Err(missing(id)),
    }
}

/// Stores content that came whole. Nothing refers to it yet: the caller sees to that, or calls [`release_if_unused`].
pub fn insert(connection: &Connection, bytes: &[u8], facts: &ContentFacts) -> Result<ContentId, StoreError> {
    let id = insert_row(connection, Some(0), bytes.len() as u64, facts)?;
    insert_chunks(connection, id, 0, bytes)?;
    indexer::added(connection, id.0, &facts.sketch)?;
    Ok(id)
}

/// Gives spooled content its facts; refuses if it was not spooled whole.
pub fn complete(connection: &Connection, id: ContentId, facts: &ContentFacts) -> Result<(), StoreError> {
    let mut update = connection.prepare_cached(
        "UPDATE content SET header_size = ?2, message_id = ?3, body_hash = ?4, hash = ?5, envelope = ?6, bodystructure = ?7, body = ?8,
                subject = ?9, sender = ?10, recipient = ?11, copied = ?12, date = ?13, thread = ?14, display_from = ?15,
                display_to = ?16, parts = ?17, fields = ?18
         WHERE id = ?1 AND refs IS NULL AND size = ?19",
    )?;
    let changed = update.execute(params![
        id.0,
        facts.header_size,
        facts.message_id.as_deref().map(clip),
        facts.body_hash,
        facts.hash,
        facts.envelope,
        facts.bodystructure,
        facts.body,
        facts.subject,
        facts.from,
        facts.to,
        facts.cc,
        facts.date,
        facts.references.join("\n"),
        facts.display_from,
        facts.display_to,
        facts.parts,
        facts.fields,
        facts.size,
    ])?;
    if changed == 1 { indexer::added(connection, id.0, &facts.sketch) } else { Err(missing(id)) }
}

fn insert_row(connection: &Connection, refs: Option<i64>, size: u64, facts: &ContentFacts) -> Result<ContentId, StoreError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO content (refs, size, header_size, message_id, body_hash, hash, envelope, bodystructure, body, subject, sender,
                              recipient, copied, date, thread, display_from, display_to, parts, fields)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
    )?;
    let id = insert.insert(params![
        refs,
        size,
        facts.header_size,
        facts.message_id.as_deref().map(clip),
        facts.body_hash,
        facts.hash,
        facts.envelope,
        facts.bodystructure,
        facts.body,
        facts.subject,
        facts.from,
        facts.to,
        facts.cc,
        facts.date,
        facts.references.join("\n"),
        facts.display_from,
        facts.display_to,
        facts.parts,
        facts.fields,
    ])?;
    Ok(ContentId(id))
}

fn insert_chunks(connection: &Connection, id: ContentId, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached("INSERT INTO chunk (id, data) VALUES (?1, ?2)")?;
    let first = at / CHUNK as u64;
    for (sequence, chunk) in (first..).zip(bytes.chunks(CHUNK)) {
        insert.execute(params![chunk_id(id, sequence)?, chunk])?;
    }
    Ok(())
}

fn chunk_id(id: ContentId, sequence: u64) -> Result<i64, StoreError> {
    match i64::try_from(sequence) {
        Ok(sequence) if sequence >> CHUNK_BITS == 0 => Ok(id.0 << CHUNK_BITS | sequence),
        _ => Err(StoreError::Database("a message of more than 64 GB can't be stored".into())),
    }
}

/// Appends bytes `offset..offset + length` of an original to `into`; fewer at its end.
pub fn read(connection: &Connection, id: ContentId, offset: u64, length: usize, into: &mut BytesMut) -> Result<(), StoreError> {
    Chunks::new(connection).read(id, offset, length, into)
}

/// Reads pieces of originals. A blob reads the pages that it is asked for, where a SELECT would read a whole chunk for the header at its
/// front; opening one costs more than moving it to another row, so whoever reads of many originals keeps this.
pub struct Chunks<'c> {
    connection: &'c Connection,
    blob: Option<Blob<'c>>,
}

impl<'c> Chunks<'c> {
    /// Nothing is open yet.
    pub fn new(connection: &'c Connection) -> Chunks<'c> {
        Chunks { connection, blob: None }
    }

    /// What it reads with.
    pub fn connection(&self) -> &'c Connection {
        self.connection
    }

    /// See [`read`].
    pub fn read(&mut self, id: ContentId, offset: u64, length: usize, into: &mut BytesMut) -> Result<(), StoreError> {
        let size: u64 = {
            let mut select = self.connection.prepare_cached("SELECT size FROM content WHERE id = ?1")?;
            select.query_row([id.0], |row| row.get(0)).optional()?.ok_or_else(|| missing(id))?
        };
        let end = offset.saturating_add(length as u64).min(size);
        if offset >= end {
            return Ok(());
        }
        let chunk = CHUNK as u64;
        let start = into.len();
        into.resize(start + (end - offset) as usize, 0);
        let mut rest = &mut into[start..];
        for sequence in offset / chunk..=(end - 1) / chunk {
            let at = sequence * chunk;
            let from = offset.saturating_sub(at);
            let (now, later) = rest.split_at_mut(((end - at).min(chunk) - from) as usize);
            self.at(chunk_id(id, sequence)?)?.read_at_exact(now, from as usize)?;
            rest = later;
        }
        Ok(())
    }

    fn at(&mut self, chunk: i64) -> Result<&Blob<'c>, StoreError> {
        // One whose reopening failed is of no use any more.
        let blob = match self.blob.take() {
            Some(mut blob) => {
                blob.reopen(chunk)?;
                blob
            }
            None => self.connection.blob_open(MAIN_DB, "chunk", "data", chunk, true)?,
        };
        Ok(self.blob.insert(blob))
    }
}

/// Content that nothing refers to after all is left to the sweep.
pub fn release_if_unused(connection: &Connection, id: ContentId) -> Result<(), StoreError> {
    let mut update = connection.prepare_cached("UPDATE content SET refs = 0, unreferenced = ?2 WHERE id = ?1 AND ifnull(refs, 0) = 0")?;
    update.execute(params![id.0, now()])?;
    Ok(())
}

/// Removes everything that nothing refers to: for when no process can be about to refer to it.
pub fn sweep_after_crash(connection: &Connection) -> Result<(), StoreError> {
    loop {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let swept = sweep(connection, i64::MAX, i64::MAX);
        connection.execute_batch(if swept.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        match swept {
            // A full disk must not keep the gateway from starting; the next sweep tries again.
            Ok(0) | Err(StoreError::Full) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Originals removed by one job of the sweep: bounds how long the writer is held.
const SWEEP: u32 = 64;

/// Removes some of what lost its last reference before `released`, and of what was spooled before `spooled` and never got one. How many.
pub fn sweep(connection: &Connection, released: i64, spooled: i64) -> Result<usize, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT id FROM content WHERE unreferenced < iif(refs IS NULL, ?2, ?1) AND unreferenced IS NOT NULL ORDER BY unreferenced LIMIT ?3",
    )?;
    let ids: Vec<i64> = select.query_map(params![released, spooled, SWEEP], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for id in &ids {
        erase(connection, *id)?;
    }
    Ok(ids.len())
}

fn erase(connection: &Connection, id: i64) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM chunk WHERE id BETWEEN ?1 AND ?2")?.execute([id << CHUNK_BITS, ((id + 1) << CHUNK_BITS) - 1])?;
    connection.prepare_cached("DELETE FROM content WHERE id = ?1")?.execute([id])?;
    indexer::removed(connection, id)
}

/// The part of a Message-ID that is stored and looked up.
pub fn clip(message_id: &str) -> &str {
    cut(message_id, MAX_MESSAGE_ID)
}

/// At most `max` bytes of a text, whole characters.
pub fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// References as they are stored: one a line.
pub fn split(thread: &str) -> Vec<String> {
    thread.lines().map(str::to_owned).collect()
}

fn missing(id: ContentId) -> StoreError {
    StoreError::NotFound(format!("the message {} is no longer stored", id.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        for (text, max, expected) in [("abc", 5, "abc"), ("abc", 3, "abc"), ("abc", 2, "ab"), ("aü", 2, "a"), ("ü", 1, ""), ("", 0, "")] {
            assert_eq!(cut(text, max), expected);
        }
    }
}
