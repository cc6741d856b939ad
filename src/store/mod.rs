//! The store: one SQLite database that holds mail, users, ledger, journal, tray, queue and secrets. Alone names rusqlite; names no protocol.
//!
//! One writer thread groups what comes in into commits (synchronous = FULL); a caller's future ends only after the commit that holds
//! its change, and [`Change`]s are published after it too. A few read connections serve everything else, each read in its own
//! snapshot. Big content goes in as unreferenced chunks first and becomes visible in one transaction at the end, so that a slow
//! download never holds the writer.
//!
//! | file | holds |
//! |---|---|
//! | [`arrival`] | what becomes true when a message comes in: one transaction |
//! | [`content`] | originals, their facts, their chunks, and the sweep of what nobody refers to |
//! | [`accounts`], [`password`] | users and shared mailboxes; argon2id and SCRAM keys |
//! | [`folders`], [`messages`], [`maildrop`] | what clients read |
//! | [`ledger`], [`journal`], [`tray`], [`queue`], [`trace`] | what became of mail, on its way in and out |
//! | [`secrets`], [`settings`], [`requests`], [`collectors`] | small things that processes share |
//!
//! Times are milliseconds since 1970 everywhere.

pub mod accounts;
pub mod arrival;
pub mod collectors;
pub mod content;
pub mod folders;
pub mod journal;
pub mod ledger;
pub mod locks;
pub mod maildrop;
pub mod messages;
pub mod password;
pub mod queue;
pub mod requests;
pub mod secrets;
pub mod settings;
pub mod trace;
pub mod tray;

use std::path::Path;
use tokio::sync::broadcast;

pub use accounts::{Account, AccountId};
pub use arrival::{Arrival, Arrived, Deposit, NewContent};
pub use content::{ContentFacts, ContentId, Spool};
pub use folders::{Folder, FolderId};

/// A handle; clones share the writer and the readers. The last one to go closes the database.
#[derive(Clone)]
pub struct Store {}

/// Why the store could not do it. To a peer all of these but [`StoreError::OverQuota`] are temporary: the mail stays where it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// APPEND or COPY into a mailbox that is full. Deliveries never see it.
    #[error("the mailbox is full")]
    OverQuota,
    /// The store can't be used by this program or this user; says what to do.
    #[error("{0}")]
    Refused(String),
    /// SQLite said something else.
    #[error("the store failed: {0}")]
    Database(String),
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

/// Bits of a message's system flags. Keywords are a second set of bits, named by [`Folder::keywords`].
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
    /// All of them.
    pub const ALL: u32 = 31;
}

/// Published after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Messages, flags or counters of a folder.
    Folder(FolderId),
    /// The list of folders of an account.
    Folders(AccountId),
    /// The queue has something new or newly due.
    Queue,
    /// The tray.
    Tray,
    /// A request from a command line waits, or was answered.
    Request,
    /// Users, passwords or secrets.
    Users,
    /// Another process wrote: look at everything.
    Anything,
}

impl Store {
    /// Opens or makes the store in `dir` (0700, files 0600). Migrates an older one after a backup; refuses a newer one.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        todo!("{dir:?}")
    }

    /// The store's directory.
    pub fn directory(&self) -> &Path {
        todo!()
    }

    /// Bytes that the disk still has for us.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        todo!()
    }

    /// What changed, after each commit; commits of other processes come as [`Change::Anything`] within a quarter of a second.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        todo!()
    }
}
