//! The store: one SQLite database that holds mail, users, ledger, journal, tray, queue and secrets. Alone names rusqlite; names no protocol.
//!
//! One writer thread groups what comes in into commits (synchronous = FULL); a caller's future ends only after the commit that holds
//! its change. A few read connections serve everything else. Big content goes in as unreferenced chunks first and becomes visible in
//! one transaction at the end, so that a slow download never holds the writer.

use crate::mapping::Mailbox;
use bytes::Bytes;
use std::path::Path;
use tokio::sync::broadcast;

/// A handle; clones share the writer and the readers.
#[derive(Clone)]
pub struct Store {}

/// Why the store could not do it. To a peer all of these are temporary: the mail stays where it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLITE_FULL or ENOSPC.
    #[error("the disk that holds the store is full")]
    Full,
    /// Named thing isn't there.
    #[error("{0}")]
    NotFound(String),
    /// Named thing is there already, or refuses.
    #[error("{0}")]
    Conflict(String),
    /// SQLite said something else.
    #[error("the store failed: {0}")]
    Database(String),
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

/// Of one stored original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId(pub i64);

/// Of one folder of one mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FolderId(pub i64);

/// What is computed once, when content is stored. `envelope` and the structures are in IMAP's wire form; the store doesn't read them.
#[derive(Debug, Clone, Default)]
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
    /// Sort keys (RFC 5256): base subject, first From/To/Cc mailbox, display forms, Date in milliseconds since 1970.
    pub subject: String,
    /// First From mailbox or name, for lists.
    pub from: String,
    /// First To mailbox.
    pub to: String,
    /// First Cc mailbox.
    pub cc: String,
    /// Milliseconds since 1970; `None` if Date is missing or mad.
    pub date: Option<i64>,
    /// In-Reply-To and References, as found, for THREAD.
    pub references: Vec<String>,
}

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
    /// Whose.
    pub mailbox: Mailbox,
    /// Which folder, made if missing; `None` is INBOX.
    pub folder: Option<String>,
    /// Rendered once per delivery, above the original: Delivered-To, Received, perhaps Return-Path.
    pub prefix: Bytes,
    /// System flags, see [`flags`].
    pub flags: u32,
    /// INTERNALDATE, milliseconds since 1970.
    pub internal_date: i64,
    /// Refuse it as a duplicate if this person got the same message in the last 30 days (product page, "One person gets one copy").
    /// The text tells listings apart: without Message-ID two of one listing are never duplicates.
    pub dedupe: Option<String>,
}

/// Bits of [`Deposit::flags`].
pub mod flags {
    /// `\Seen`
    pub const SEEN: u32 = 1;
    /// `\Answered`
    pub const ANSWERED: u32 = 2;
    /// `\Flagged`
    pub const FLAGGED: u32 = 4;
    /// `\Deleted`
    pub const DELETED: u32 = 8;
    /// `\Draft`
    pub const DRAFT: u32 = 16;
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
    /// What the ledger says of it.
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
}

/// Published after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Messages, flags or counters of a folder.
    Folder(FolderId),
    /// The list of folders of an account.
    Folders,
    /// The queue has something new or newly due.
    Queue,
    /// A request from a command line waits.
    Request,
    /// Users, passwords or secrets.
    Users,
    /// Another process wrote: look at everything.
    Anything,
}

pub mod journal;
pub mod ledger;
pub mod queue;
pub mod tray;

impl Store {
    /// Opens or makes the store in `dir` (0700, files 0600). Migrates an older one after a backup; refuses a newer one.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        todo!("{dir:?}")
    }
    /// Stores any number of arrivals, each atomically, all in one commit if possible. The result is in order.
    pub async fn arrive(&self, arrivals: Vec<Arrival>) -> Vec<Result<Arrived, StoreError>> {
        todo!("{}", arrivals.len())
    }
    /// A writer for content that is too large to hold in memory.
    pub fn spool(&self) -> Spool {
        todo!()
    }
    /// Bytes `offset..offset + length` of an original; shorter at its end.
    pub async fn content(&self, id: ContentId, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        todo!("{id:?} {offset} {length}")
    }
    /// What changed, after each commit.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        todo!()
    }
}

/// Takes large content in pieces.
pub struct Spool {}

impl Spool {
    /// Appends; commits a chunk now and then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        todo!("{}", bytes.len())
    }
    /// The id for [`NewContent::Spooled`]. What is never referenced is swept at the next start.
    pub async fn finish(self) -> Result<ContentId, StoreError> {
        todo!()
    }
}
