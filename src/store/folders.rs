//! Folders of an account. Names are UTF-8 with `/` between levels; INBOX is INBOX in any case.
//!
//! UIDVALIDITY and UIDs are stored and never given twice, also after a folder was deleted and made again.

use super::{AccountId, Store, StoreError};

/// Of one folder of one mailbox; survives renaming, never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FolderId(pub i64);

/// What a folder is for (RFC 6154).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

/// A folder with its counters, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Stable.
    pub id: FolderId,
    /// Whose.
    pub account: AccountId,
    /// `/` between levels. A parent need not exist.
    pub name: String,
    /// UIDVALIDITY
    pub uidvalidity: u32,
    /// UIDNEXT
    pub uidnext: u32,
    /// HIGHESTMODSEQ, from 1.
    pub highest_modseq: u64,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// LSUB
    pub subscribed: bool,
    /// MAILBOXID (RFC 8474).
    pub object_id: String,
    /// Names of the keyword bits: bit n is `keywords[n]`; empty text for a free bit.
    pub keywords: Vec<String>,
    /// Messages.
    pub messages: u32,
    /// Without `\Seen`.
    pub unseen: u32,
    /// With `\Deleted`.
    pub deleted: u32,
    /// The lowest UID that no session was told of as `\Recent` yet; see [`Store::folder_take_recent`].
    pub recent_from: u32,
    /// Messages from [`Folder::recent_from`] on.
    pub recent: u32,
    /// Bytes of all, prefixes included.
    pub bytes: u64,
    /// Bytes of those with `\Deleted` (STATUS DELETED-STORAGE).
    pub deleted_bytes: u64,
}

/// Keywords that one folder can have at a time: one bit each in a signed 64-bit integer, with some room.
pub const MAX_KEYWORDS: usize = 60;

/// Bytes of a folder name: more than any client makes, few enough that LIST stays small.
pub const MAX_FOLDER_NAME: usize = 500;

/// Folders of one account: a client that makes more is out of its mind.
pub const MAX_FOLDERS: usize = 10_000;

impl Store {
    /// Every folder of an account with its counters, by name, INBOX first. One snapshot: enough for LIST, LSUB, STATUS and LIST-STATUS.
    pub async fn folders(&self, account: AccountId) -> Result<Vec<Folder>, StoreError> {
        todo!("{account:?}")
    }

    /// One folder.
    pub async fn folder(&self, id: FolderId) -> Result<Option<Folder>, StoreError> {
        todo!("{id:?}")
    }

    /// One folder, by name.
    pub async fn folder_by_name(&self, account: AccountId, name: &str) -> Result<Option<Folder>, StoreError> {
        todo!("{account:?} {name}")
    }

    /// Makes a folder. [`StoreError::Conflict`] if it exists, or if the name can't be one.
    pub async fn folder_create(&self, account: AccountId, name: &str, special_use: Option<SpecialUse>) -> Result<Folder, StoreError> {
        todo!("{account:?} {name} {special_use:?}")
    }

    /// Deletes a folder and its messages; its children stay. INBOX refuses.
    pub async fn folder_delete(&self, id: FolderId) -> Result<(), StoreError> {
        todo!("{id:?}")
    }

    /// Renames a folder and its children. Renaming INBOX moves its messages to a new folder and leaves INBOX empty (RFC 9051 §6.3.6).
    pub async fn folder_rename(&self, id: FolderId, name: &str) -> Result<(), StoreError> {
        todo!("{id:?} {name}")
    }

    /// Subscribes or unsubscribes.
    pub async fn folder_subscribe(&self, id: FolderId, subscribed: bool) -> Result<(), StoreError> {
        todo!("{id:?} {subscribed}")
    }

    /// The lowest UID that no session was told of as `\Recent`; from now on all of today's are told. For SELECT of IMAP4rev1.
    pub async fn folder_take_recent(&self, id: FolderId) -> Result<u32, StoreError> {
        todo!("{id:?}")
    }
}
