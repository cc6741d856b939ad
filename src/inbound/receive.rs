//! The network half of a fetch: message bytes from the provider, to memory if they are few and to the store's spool if they are many.
//!
//! A message goes on only when the answer behind it proves that it ended where it seemed to: servers that forget dot-stuffing or send
//! data after the end would otherwise have half a message taken for a whole one.

use super::scanned::{Scanned, Scanning};
use super::storing::ToStore;
use super::upstream::{Event, Item, Upstream, UpstreamError};
use crate::inbound::figures::Progress;
use crate::store::{ContentId, Spool, Store, StoreError};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// A larger message goes through the spool.
const INLINE: usize = 1_000_000;
/// Pieces for the spool.
const SPOOL_PIECE: usize = 256 * 1024;
/// Kilobytes of messages that wait in memory to be stored.
const WAITING_KB: usize = 8 * 1024;
/// A message may be this much larger than announced before it is taken for an endless one.
const SLACK: u64 = 8_000_000;

/// A message as it came.
#[derive(Debug)]
pub struct Raw {
    /// Which one.
    pub item: Item,
    /// INTERNALDATE, for IMAP.
    pub internal_date: Option<i64>,
    /// Its bytes.
    pub bytes: RawBytes,
    /// Gives its share of memory back.
    pub _room: Option<OwnedSemaphorePermit>,
}

/// Where the bytes are.
#[derive(Debug)]
pub enum RawBytes {
    /// In memory.
    Inline(Bytes),
    /// In the store, not yet referenced; scanned on the way.
    Spooled(ContentId, Box<Scanned>),
}

impl RawBytes {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Inline(bytes) if bytes.is_empty())
    }
}

/// Why receiving ended.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The session is over.
    #[error("{error}")]
    Upstream {
        /// Why.
        error: UpstreamError,
        /// The message whose bytes were coming, or would have been the next to come.
        during: Option<u32>,
        /// Whether bytes of it had come.
        begun: bool,
        /// As much of it as came.
        partial: Option<Box<RawBytes>>,
    },
    /// The spool failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A message has no end.
    #[error("a message of announced {announced} bytes does not end")]
    Endless {
        /// Which.
        handle: u32,
        /// What the listing said.
        announced: u64,
        /// As much of it as was taken.
        partial: Option<Box<RawBytes>>,
    },
    /// Whoever takes the messages has stopped, or the gateway is stopping.
    #[error("stopped")]
    Stopped,
}

impl From<UpstreamError> for ReceiveError {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream { error, during: None, begun: false, partial: None }
    }
}

/// What was asked for and did not come, with the server's reason.
pub type Refusals = Vec<(u32, String)>;

/// Receives messages.
pub struct Receiver<'a> {
    /// The session.
    pub upstream: &'a mut Upstream,
    /// For the spool.
    pub store: &'a Store,
    /// Where complete messages go.
    pub to: mpsc::Sender<ToStore>,
    /// Told about each message.
    pub progress: &'a watch::Sender<Progress>,
    /// Stop early.
    pub stop: &'a watch::Receiver<bool>,
    /// No message is longer, whatever it says.
    pub max_size: u64,
    /// Memory for messages on their way to the store.
    pub room: Arc<Semaphore>,
    /// What the server has removed meanwhile, because it was asked to before.
    pub removed: &'a mut Vec<u32>,
}

/// The memory that [`Receiver::room`] shares out.
pub fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(WAITING_KB))
}

impl Receiver<'_> {
    /// Receives these messages, which have been asked for; returns when all have come or been refused, as so many [`Event::InStep`] tell.
    pub async fn receive(mut self, items: &[Item], mut marks: usize) -> Result<Refusals, ReceiveError> {
        let by_handle: HashMap<u32, &Item> = items.iter().map(|item| (item.handle, item)).collect();
        let mut refusals = Refusals::new();
        let mut unproven: Option<Raw> = None;
        let mut answered = HashSet::new();
        while marks > 0 {
            if *self.stop.borrow() {
                return Err(ReceiveError::Stopped);
            }
            let event = match self.upstream.next().await {
                Ok(event) => event,
                Err(error) => return Err(blame(error, next_of(items, &answered, self.upstream), unproven)),
            };
            if let Some(raw) = unproven.take() {
                self.hand_on(raw).await?;
            }
            match event {
                Event::Begins(named) => {
                    // Some servers say only behind the bytes whose they are.
                    let during = named.or_else(|| next_of(items, &answered, self.upstream));
                    let announced = during.and_then(|handle| by_handle.get(&handle)).and_then(|item| item.size).unwrap_or(0);
                    let (ended, bytes) = self.body(during, announced).await?;
                    answered.extend(ended.handle);
                    if let Some(item) = ended.handle.and_then(|handle| by_handle.get(&handle)) {
                        if bytes.is_empty() && item.size.is_some_and(|size| size > 0) {
                            refusals.push((item.handle, "there are no bytes of it, although it was listed with some".to_owned()));
                        } else {
                            unproven = Some(Raw { item: (*item).clone(), internal_date: ended.internal_date, bytes, _room: None });
                        }
                    }
                }
                Event::Refused(handle, text) => {
                    answered.insert(handle);
                    refusals.push((handle, text));
                }
                Event::Removed(handles) => self.removed.extend(handles),
                Event::InStep => marks -= 1,
                Event::Noted => {}
                Event::Done => break,
            }
        }
        Ok(refusals)
    }

    async fn hand_on(&self, mut raw: Raw) -> Result<(), ReceiveError> {
        let length = match &raw.bytes {
            RawBytes::Inline(bytes) => bytes.len() as u64,
            RawBytes::Spooled(_, scanned) => scanned.facts.size,
        };
        if let RawBytes::Inline(bytes) = &raw.bytes {
            let kilobytes = u32::try_from(bytes.len() / 1024 + 1).unwrap_or(u32::MAX);
            raw._room = Some(self.room.clone().acquire_many_owned(kilobytes).await.map_err(|_| ReceiveError::Stopped)?);
        }
        self.progress.send_modify(|progress| {
            progress.received += 1;
            progress.bytes += length;
        });
        self.to.send(ToStore::Message(raw)).await.map_err(|_| ReceiveError::Stopped)
    }

    async fn body(&mut self, during: Option<u32>, announced: u64) -> Result<(super::upstream::Ended, RawBytes), ReceiveError> {
        let hint = usize::try_from(announced).unwrap_or(INLINE).min(INLINE);
        // Room for the usual lie about line ends, so that the buffer is not moved at its end.
        let mut bytes = Vec::with_capacity(hint + hint / 16 + 1024);
        let mut spool: Option<Spool> = None;
        let mut scanning = Scanning::default();
        let mut total = 0;
        loop {
            let before = bytes.len();
            let piece = match self.upstream.piece(&mut bytes).await {
                Ok(piece) => piece,
                Err(error) => {
                    let partial = Some(as_far_as_it_came(spool, scanning, bytes).await?);
                    return Err(ReceiveError::Upstream { error, during, begun: true, partial });
                }
            };
            total += (bytes.len() - before) as u64;
            if total > self.max_size.max(announced).saturating_add(SLACK) {
                let partial = Some(as_far_as_it_came(spool, scanning, bytes).await?);
                return Err(ReceiveError::Endless { handle: during.unwrap_or(0), announced, partial });
            }
            let ready = if spool.is_some() { SPOOL_PIECE } else { INLINE };
            if bytes.len() > ready || (spool.is_some() && piece.is_some()) {
                let spool = spool.get_or_insert_with(|| self.store.spool());
                scanning.feed(&bytes);
                spool.write(&bytes).await?;
                bytes.clear();
                bytes.shrink_to(SPOOL_PIECE * 2);
                if *self.stop.borrow() {
                    return Err(ReceiveError::Stopped);
                }
            }
            if let Some(ended) = piece {
                return Ok(match spool {
                    Some(spool) => (ended, RawBytes::Spooled(spool.finish().await?, Box::new(scanning.finish()))),
                    None => (ended, RawBytes::Inline(Bytes::from(bytes))),
                });
            }
        }
    }
}

/// What there is of a message whose end did not come.
async fn as_far_as_it_came(spool: Option<Spool>, mut scanning: Scanning, bytes: Vec<u8>) -> Result<Box<RawBytes>, StoreError> {
    Ok(Box::new(match spool {
        Some(mut spool) => {
            scanning.feed(&bytes);
            spool.write(&bytes).await?;
            RawBytes::Spooled(spool.finish().await?, Box::new(scanning.finish()))
        }
        None => RawBytes::Inline(Bytes::from(bytes)),
    }))
}

/// An answer that is none speaks against the message before it, whose end was no end. Any other end of a session speaks against the message
/// that should have come next: servers hang up on what they can't read.
fn blame(error: UpstreamError, next: Option<u32>, unproven: Option<Raw>) -> ReceiveError {
    match unproven {
        Some(Raw { item, bytes, .. }) if error.is_out_of_step() => {
            ReceiveError::Upstream { error, during: Some(item.handle), begun: true, partial: Some(Box::new(bytes)) }
        }
        _ => ReceiveError::Upstream { error, during: next, begun: false, partial: None },
    }
}

/// The message that should come next: as they were asked for, or where a server chooses the order, by UID.
fn next_of(items: &[Item], answered: &HashSet<u32>, upstream: &Upstream) -> Option<u32> {
    let mut open = items.iter().map(|item| item.handle).filter(|handle| !answered.contains(handle));
    if upstream.answers_in_order() { open.next() } else { open.min() }
}
