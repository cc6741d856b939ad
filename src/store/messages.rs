//! Messages of a folder as clients see them: views, rows, flags, copies, expunges, bytes.
//!
//! A message's bytes are its prefix and then its original. A copy shares both with what it was copied from.

use super::{ContentId, Folder, FolderId, NewContent, Store, StoreError};
use bytes::Bytes;
use std::ops::RangeInclusive;

/// UIDs, ascending and disjoint; `*` is resolved by the caller.
pub type Uids = Vec<RangeInclusive<u32>>;

/// What a session remembers of each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewRow {
    /// UID
    pub uid: u32,
    /// System flags, see [`super::flags`].
    pub flags: u32,
    /// Keyword bits, see [`Folder::keywords`].
    pub keywords: u64,
    /// MODSEQ (RFC 7162).
    pub modseq: u64,
}

/// A folder at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// The folder, its highest modseq included.
    pub folder: Folder,
    /// By UID.
    pub rows: Vec<ViewRow>,
}

/// What changed in a folder after a modseq.
#[derive(Debug, Clone)]
pub struct Changes {
    /// The folder now.
    pub folder: Folder,
    /// New and changed messages, by UID.
    pub changed: Vec<ViewRow>,
    /// UIDs that went, ascending.
    pub vanished: Vec<u32>,
    /// False: we no longer know everything that vanished since then. Whoever needs that takes a new [`View`] and compares.
    pub complete: bool,
}

/// Which costly parts of a [`MessageRow`] are wanted; the others are empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// [`MessageRow::envelope`]
    pub envelope: bool,
    /// [`MessageRow::bodystructure`]
    pub bodystructure: bool,
    /// [`MessageRow::body`]
    pub body: bool,
    /// [`MessageRow::sort`]
    pub sort: bool,
    /// [`MessageRow::header`]: prefix and original header, up to [`MAX_INLINE_HEADER`].
    pub header: bool,
}

/// Headers up to this size come along with [`Store::rows`]; longer ones are read like bodies.
pub const MAX_INLINE_HEADER: usize = 64 * 1024;

/// A message without its body.
#[derive(Debug, Clone)]
pub struct MessageRow {
    /// UID, flags, modseq.
    pub view: ViewRow,
    /// The original.
    pub content: ContentId,
    /// INTERNALDATE
    pub internal_date: i64,
    /// SAVEDATE (RFC 8514).
    pub saved: i64,
    /// RFC822.SIZE: prefix and original.
    pub size: u64,
    /// Bytes of the prefix.
    pub prefix_size: u32,
    /// Bytes of the header as the client sees it: prefix, original header, blank line.
    pub header_size: u64,
    /// EMAILID (RFC 8474): the same for copies.
    pub email_id: String,
    /// Of the original.
    pub message_id: Option<String>,
    /// Wire form.
    pub envelope: Bytes,
    /// Wire form.
    pub bodystructure: Bytes,
    /// Wire form.
    pub body: Bytes,
    /// Sort and thread keys.
    pub sort: Option<Box<SortKeys>>,
    /// Prefix and original header, if they fit into [`MAX_INLINE_HEADER`].
    pub header: Option<Bytes>,
}

/// What SORT and THREAD compare (RFC 5256).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKeys {
    /// Base subject.
    pub subject: String,
    /// First From.
    pub from: String,
    /// First To.
    pub to: String,
    /// First Cc.
    pub cc: String,
    /// Name or address of the first From (RFC 5957).
    pub display_from: String,
    /// Name or address of the first To.
    pub display_to: String,
    /// Date, else INTERNALDATE.
    pub date: i64,
    /// In-Reply-To and References.
    pub references: Vec<String>,
}

/// A message whose bytes can be read in pieces, also for some minutes after somebody else expunged it.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Rendered at delivery.
    pub prefix: Bytes,
    /// The original.
    pub content: ContentId,
    /// Prefix and original.
    pub size: u64,
    /// Prefix and original header, blank line included.
    pub header_size: u64,
}

/// How flags are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagAction {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Replace,
}

/// A STORE.
#[derive(Debug, Clone)]
pub struct FlagChange {
    /// How.
    pub action: FlagAction,
    /// System flags.
    pub flags: u32,
    /// Keywords; unknown ones are made (but not by [`FlagAction::Remove`]).
    pub keywords: Vec<String>,
    /// UNCHANGEDSINCE (RFC 7162 §3.1.3).
    pub unchanged_since: Option<u64>,
}

/// What a STORE did.
#[derive(Debug, Clone)]
pub struct Flagged {
    /// The folder now, with its keywords and highest modseq.
    pub folder: Folder,
    /// Every message that the set named and that was let through, as it is now. Those that were so already keep their modseq.
    pub rows: Vec<ViewRow>,
    /// Those that `unchanged_since` kept from it: MODIFIED.
    pub modified: Vec<u32>,
}

/// What COPY or MOVE did.
#[derive(Debug, Clone)]
pub struct Copied {
    /// UIDVALIDITY of the target.
    pub uidvalidity: u32,
    /// (source UID, target UID), ascending.
    pub uids: Vec<(u32, u32)>,
}

/// A message from a client.
#[derive(Debug, Clone)]
pub struct Append {
    /// The bytes.
    pub content: NewContent,
    /// System flags.
    pub flags: u32,
    /// Keywords.
    pub keywords: Vec<String>,
    /// INTERNALDATE
    pub internal_date: i64,
}

/// What can be told from rows and stored keys without reading headers. Everything that is set must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Among these; `None` is all.
    pub uids: Option<Uids>,
    /// All of these system flags set.
    pub set: u32,
    /// None of these system flags set.
    pub unset: u32,
    /// Keyword set.
    pub keyword: Vec<String>,
    /// Keyword not set.
    pub unkeyword: Vec<String>,
    /// INTERNALDATE, from inclusive, to exclusive.
    pub received: (Option<i64>, Option<i64>),
    /// Date header (INTERNALDATE without one), from inclusive, to exclusive.
    pub sent: (Option<i64>, Option<i64>),
    /// Save date, from inclusive, to exclusive.
    pub saved: (Option<i64>, Option<i64>),
    /// Bytes, more than.
    pub larger: Option<u64>,
    /// Bytes, fewer than.
    pub smaller: Option<u64>,
    /// MODSEQ, at least.
    pub modseq: Option<u64>,
    /// Message-ID, without angle brackets, exactly.
    pub message_id: Option<String>,
}

impl Store {
    /// A folder and its messages at one moment. [`StoreError::NotFound`] if it was deleted.
    pub async fn view(&self, folder: FolderId) -> Result<View, StoreError> {
        todo!("{folder:?}")
    }

    /// What changed since `modseq` (exclusive). New messages are among `changed`.
    pub async fn changes_since(&self, folder: FolderId, modseq: u64) -> Result<Changes, StoreError> {
        todo!("{folder:?} {modseq}")
    }

    /// The first `limit` messages of the set, by UID; go on behind the last one's UID. Missing UIDs are passed over.
    pub async fn rows(
        &self,
        folder: FolderId,
        uids: &[RangeInclusive<u32>],
        wanted: Wanted,
        limit: usize,
    ) -> Result<Vec<MessageRow>, StoreError> {
        todo!("{folder:?} {uids:?} {wanted:?} {limit}")
    }

    /// UIDs of messages that pass the filter, ascending.
    pub async fn search(&self, folder: FolderId, filter: Filter) -> Result<Vec<u32>, StoreError> {
        todo!("{folder:?} {filter:?}")
    }

    /// A message to be read in pieces, with its first bytes, at most `first`: one round trip for nearly every mail. `None`: gone.
    pub async fn message(&self, folder: FolderId, uid: u32, first: usize) -> Result<Option<(StoredMessage, Bytes)>, StoreError> {
        todo!("{folder:?} {uid} {first}")
    }

    /// Bytes `offset..offset + length` of a message, prefix included; shorter at its end, empty beyond it.
    pub async fn message_bytes(&self, message: &StoredMessage, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        todo!("{message:?} {offset} {length}")
    }

    /// Changes flags. [`StoreError::Conflict`] if the folder can take no more keywords.
    pub async fn flag(&self, folder: FolderId, uids: Uids, change: FlagChange) -> Result<Flagged, StoreError> {
        todo!("{folder:?} {uids:?} {change:?}")
    }

    /// Expunges messages with `\Deleted`, all or those of the set. Returns their UIDs, ascending.
    pub async fn expunge(&self, folder: FolderId, uids: Option<Uids>) -> Result<Vec<u32>, StoreError> {
        todo!("{folder:?} {uids:?}")
    }

    /// Copies messages with flags and dates; all or none. [`StoreError::OverQuota`] if the target's owner has no room.
    pub async fn copy(&self, folder: FolderId, uids: Uids, target: FolderId) -> Result<Copied, StoreError> {
        todo!("{folder:?} {uids:?} {target:?}")
    }

    /// Moves messages; all or none (RFC 6851).
    pub async fn move_messages(&self, folder: FolderId, uids: Uids, target: FolderId) -> Result<Copied, StoreError> {
        todo!("{folder:?} {uids:?} {target:?}")
    }

    /// Adds a client's messages; all or none. UIDs in order. [`StoreError::OverQuota`] if the folder's owner has no room.
    pub async fn append(&self, folder: FolderId, messages: Vec<Append>) -> Result<Vec<u32>, StoreError> {
        todo!("{folder:?} {}", messages.len())
    }
}
