//! What becomes true when one message comes in, from whichever side: one transaction.

use super::{ContentFacts, ContentId, FolderId, Store, StoreError, journal, ledger, queue, tray};
use crate::mapping::Mailbox;
use bytes::Bytes;

/// Bytes to be stored: small ones whole, large ones through [`Store::spool`].
#[derive(Debug, Clone)]
pub enum NewContent {
    /// Whole.
    Inline(Bytes, Box<ContentFacts>),
    /// Chunks that are in the store already, finished, but not yet referenced.
    Spooled(ContentId, Box<ContentFacts>),
    /// Content that is referenced already (hand-over, copies).
    Existing(ContentId),
}

/// One copy for one mailbox.
#[derive(Debug, Clone)]
pub struct Deposit {
    /// Whose. A shared mailbox is made with its first message; a user has to exist.
    pub mailbox: Mailbox,
    /// Which folder, made if missing; `None` is INBOX.
    pub folder: Option<String>,
    /// Rendered once per delivery, above the original: Delivered-To, Received, perhaps Return-Path.
    pub prefix: Bytes,
    /// System flags, see [`super::flags`].
    pub flags: u32,
    /// INTERNALDATE, milliseconds since 1970.
    pub internal_date: i64,
    /// Refuse it as a duplicate if this person got the same message in the last 30 days (product page, "One person gets one copy").
    /// The text tells listings apart: without Message-ID two of one listing are never duplicates.
    pub dedupe: Option<String>,
}

/// Everything that becomes true when one message comes in, from whichever side: one transaction.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The bytes.
    pub content: NewContent,
    /// Local copies.
    pub deposits: Vec<Deposit>,
    /// Outgoing copies.
    pub queue: Vec<queue::NewMail>,
    /// A place in the tray.
    pub tray: Option<tray::NewHeld>,
    /// What the ledger says of it. [`StoreError::Conflict`] if it is in the ledger as stored already (other than as a stub).
    pub ledger: Option<ledger::Row>,
    /// Keep the original in the journal (the store's age decides how long).
    pub journal: Option<journal::NewEntry>,
    /// Lines of its life: event and detail.
    pub trace: Vec<(&'static str, String)>,
    /// It is ours and goes out: remember (Message-ID, user), so that replies find their way.
    pub sent_by: Option<String>,
}

/// What became of an [`Arrival`].
#[derive(Debug, Clone)]
pub struct Arrived {
    /// The stored original.
    pub content: ContentId,
    /// One for each deposit, in order: folder and UID, or `None` for a duplicate.
    pub deposits: Vec<Option<(FolderId, u32)>>,
    /// One for each queued mail, in order.
    pub queue: Vec<queue::MailId>,
}

impl Arrival {
    /// Nothing but the bytes; the rest is filled in by struct update.
    pub fn new(content: NewContent) -> Arrival {
        Arrival { content, deposits: vec![], queue: vec![], tray: None, ledger: None, journal: None, trace: vec![], sent_by: None }
    }
}

impl Store {
    /// Stores any number of arrivals, each atomically, all in one commit if possible. The result is in order. If every deposit is a
    /// duplicate and nothing else was asked for but ledger and journal, the ledger's outcome becomes `duplicate`.
    pub async fn arrive(&self, arrivals: Vec<Arrival>) -> Vec<Result<Arrived, StoreError>> {
        todo!("{}", arrivals.len())
    }

    /// Who sent the messages with these Message-IDs (without angle brackets), as far as we know: (Message-ID, user).
    pub async fn sent_by(&self, message_ids: Vec<String>) -> Result<Vec<(String, String)>, StoreError> {
        todo!("{message_ids:?}")
    }
}
