//! A message on its way into the store: what a client sends, and what CATENATE (RFC 4469) takes from messages that are there already.
//! Small ones stand in memory, large ones go into the store in pieces.

use super::Session;
use super::outcome::Failure;
use super::section::{Message, Piece};
use crate::imap::command::append::Attributes;
use crate::imap::url::{self, MessageUrl};
use crate::inbound::facts::{content_facts, whole};
use crate::message::facts::Scanner;
use crate::store::messages::Wanted;
use crate::store::{NewContent, Spool, Store, StoreError};

/// Larger messages go into the store in pieces while they arrive.
const MAX_INLINE: usize = 1024 * 1024;
/// What the messages of one command may hold in memory together; the rest goes into the store in pieces.
const MAX_INLINE_TOTAL: usize = 4 * 1024 * 1024;

/// What a message on its way may come to.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Bytes of any message.
    pub message: u64,
    /// Bytes that the mailbox's owner has room for, earlier messages of the same command taken off.
    pub quota: u64,
}

pub struct Assembly {
    attributes: Attributes,
    store: Store,
    scanner: Box<Scanner>,
    inline: Vec<u8>,
    /// How much of it may stand in memory.
    inline_room: usize,
    room: Room,
    spool: Option<Spool>,
    size: u64,
}

impl Assembly {
    /// Nothing yet. `held` is what the messages before it hold in memory.
    pub fn new(attributes: Attributes, store: Store, held: usize, room: Room) -> Assembly {
        let inline_room = MAX_INLINE_TOTAL.saturating_sub(held).min(MAX_INLINE);
        Assembly { attributes, store, scanner: Box::default(), inline: Vec::new(), inline_room, room, spool: None, size: 0 }
    }

    /// Whether so many bytes more may come. Asked before they do: what is refused is not on the disk.
    pub fn require_room(&self, more: u64) -> Result<(), Failure> {
        let size = self.size.saturating_add(more);
        if size > self.room.message {
            let limit = self.room.message / 1_000_000;
            return Err(Failure::no("TOOBIG", format!("Messages may have up to {limit} MB here.")));
        }
        if size > self.room.quota { Err(StoreError::OverQuota.into()) } else { Ok(()) }
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes at the end.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.scanner.feed(bytes);
        self.size += bytes.len() as u64;
        if let Some(spool) = &mut self.spool {
            return spool.write(bytes).await;
        }
        if self.inline.len() + bytes.len() <= self.inline_room {
            self.inline.extend_from_slice(bytes);
            return Ok(());
        }
        let spool = self.spool.insert(self.store.spool());
        spool.write(&std::mem::take(&mut self.inline)).await?;
        spool.write(bytes).await
    }

    /// The whole, and what was said of it.
    pub async fn finish(self) -> Result<(NewContent, Attributes), StoreError> {
        let facts = self.scanner.finish();
        let content = match self.spool {
            Some(spool) => NewContent::Spooled(spool.finish().await?, Box::new(content_facts(&facts))),
            None => whole(self.inline, &facts),
        };
        Ok((content, self.attributes))
    }
}

impl Session {
    /// Adds what a URL names. Nothing is marked as read by that.
    pub(super) async fn catenate(&mut self, url: &str, assembly: &mut Assembly) -> Result<(), Failure> {
        let bad = |text: &str| Failure::no(&format!("BADURL {}", url::shown(url)), text);
        let named = url::parse(url).ok_or_else(|| bad("This is no URL of a message on this server."))?;
        let MessageUrl { mailbox, uidvalidity, uid, section, partial } = named;
        let folder = match mailbox {
            Some(name) => self.find(&name).await?,
            None => {
                self.require_membership()?;
                self.selected.as_ref().map(|selected| selected.folder.clone())
            }
        };
        let folder = folder.filter(|folder| uidvalidity.is_none_or(|wanted| wanted == folder.uidvalidity));
        let folder = folder.ok_or_else(|| bad("There is no such mailbox."))?;
        let rows = self.store().rows(folder.id, &[uid..=uid], Wanted::default(), 1).await?;
        let row = rows.first().ok_or_else(|| bad("There is no such message."))?;
        let mut message = Message::new(self.store(), folder.id, row);
        let (start, length) = match message.section(&section).await? {
            Piece::Nil => return Err(bad("The message has no such part.")),
            Piece::Bytes(bytes) => {
                let (skip, length) = within(bytes.len() as u64, partial);
                let start = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
                let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
                assembly.require_room(length)?;
                self.require_disk(length)?;
                return Ok(assembly.write(&bytes[start..end]).await?);
            }
            Piece::Range(start, length) => {
                let (skip, length) = within(length, partial);
                (start + skip, length)
            }
        };
        assembly.require_room(length)?;
        self.require_disk(length)?;
        let (mut at, end) = (start, start + length);
        while at < end {
            let piece = message.read(at, end - at).await?;
            if piece.is_empty() {
                return Err(bad("The message went away."));
            }
            at += piece.len() as u64;
            assembly.write(&piece).await?;
        }
        Ok(())
    }
}

/// Offset and length of the part of `length` bytes that is wanted; beyond the end there is nothing.
fn within(length: u64, partial: Option<(u64, Option<u64>)>) -> (u64, u64) {
    let (offset, most) = partial.unwrap_or((0, None));
    let offset = offset.min(length);
    (offset, most.unwrap_or(u64::MAX).min(length - offset))
}
