//! Messages of a folder as clients see them: views, rows, bytes. What changes them is in [`changing`].
//!
//! A message's bytes are its prefix and then its original. A copy shares both with what it was copied from.

use super::content::Chunks;
use super::{ContentId, Folder, FolderId, Store, StoreError, content, folders};
use bytes::{Bytes, BytesMut};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::ops::RangeInclusive;

pub mod changing;

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

/// A folder as it is opened: which messages it has, but not how they are.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The folder, its highest modseq included.
    pub folder: Folder,
    /// UIDs: ranges, ascending, disjoint.
    pub uids: Vec<(u32, u32)>,
    /// The first message without `\Seen`.
    pub first_unseen: Option<u32>,
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
    /// [`MessageRow::fields`]; of a message that has none, [`MessageRow::header`].
    pub fields: bool,
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
    prefix: i64,
    /// Of the original; goes with [`Wanted::sort`].
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
    /// The fields of the header that are kept apart ([`crate::message::fields::listed`]).
    pub fields: Option<Bytes>,
}

impl MessageRow {
    /// EMAILID (RFC 8474): the same for copies.
    pub fn email_id(&self) -> String {
        format!("M{}-{}", self.content.0, self.prefix)
    }
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

impl Store {
    /// A folder and its messages at one moment. [`StoreError::NotFound`] if it was deleted.
    pub async fn view(&self, folder: FolderId) -> Result<View, StoreError> {
        self.read(move |connection| {
            let folder = folders::require(connection, folder)?;
            let mut rows = Vec::with_capacity(folder.messages as usize);
            let (first, last) = ids(folder.id, &(1..=u32::MAX));
            let mut select =
                connection.prepare_cached("SELECT id, flags, keywords, modseq FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id")?;
            for row in select.query_map([first, last], view_row)? {
                rows.push(row?);
            }
            Ok(View { folder, rows })
        })
        .await
    }

    /// A folder at one moment, without a look at each of its messages: that of half a million opens as quickly as any. [`StoreError::NotFound`]
    /// if it was deleted.
    pub async fn open_folder(&self, folder: FolderId) -> Result<Opened, StoreError> {
        self.read(move |connection| {
            let folder = folders::require(connection, folder)?;
            let uids = match uids_by_what_vanished(connection, &folder)? {
                Some(uids) => uids,
                None => uids_by_rows(connection, folder.id)?,
            };
            let (first, last) = ids(folder.id, &(1..=u32::MAX));
            let mut select = connection.prepare_cached("SELECT min(id) FROM message WHERE flags & 1 = 0 AND id BETWEEN ?1 AND ?2")?;
            let first_unseen = select.query_row([first, last], |row| row.get::<_, Option<i64>>(0))?.map(uid);
            Ok(Opened { folder, uids, first_unseen })
        })
        .await
    }

    /// What changed since `modseq` (exclusive). New messages are among `changed`.
    pub async fn changes_since(&self, folder: FolderId, modseq: u64) -> Result<Changes, StoreError> {
        self.read(move |connection| {
            let folder = folders::require(connection, folder)?;
            let since = i64::try_from(modseq).unwrap_or(i64::MAX);
            let mut select =
                connection.prepare_cached("SELECT id, flags, keywords, modseq FROM message WHERE id >> 32 = ?1 AND modseq > ?2")?;
            let mut changed = select.query_map([folder.id.0, since], view_row)?.collect::<Result<Vec<_>, _>>()?;
            changed.sort_unstable_by_key(|row| row.uid);
            let mut select = connection.prepare_cached("SELECT first, last FROM vanished WHERE folder = ?1 AND modseq > ?2")?;
            let mut vanished = Vec::new();
            for range in select.query_map([folder.id.0, since], |row| Ok(row.get::<_, u32>(0)?..=row.get::<_, u32>(1)?))? {
                vanished.extend(range?);
            }
            vanished.sort_unstable();
            let complete = {
                let mut select = connection.prepare_cached("SELECT vanished_from FROM folder WHERE id = ?1")?;
                select.query_row([folder.id.0], |row| row.get::<_, i64>(0))? <= since
            };
            Ok(Changes { folder, changed, vanished, complete })
        })
        .await
    }

    /// The first `limit` messages of the set, by UID; go on behind the last one's UID. Missing UIDs are passed over. Begins at once, so that
    /// one page can be read while the one before it is used.
    pub fn rows(
        &self,
        folder: FolderId,
        uids: &[RangeInclusive<u32>],
        wanted: Wanted,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<MessageRow>, StoreError>> + Send + use<> {
        let uids = uids.to_vec();
        self.read(move |connection| {
            let mut rows = Vec::new();
            let mut select = connection.prepare_cached(&select_rows(wanted))?;
            for range in &uids {
                let (first, last) = ids(folder, range);
                for row in select.query_map(params![first, last, limit - rows.len()], message_row)? {
                    rows.push(row?);
                }
                if rows.len() >= limit {
                    break;
                }
            }
            if wanted.header || wanted.fields {
                let mut chunks = Chunks::new(connection);
                for row in rows.iter_mut().filter(|row| wanted.header || row.fields.is_none()) {
                    row.header = header(&mut chunks, folder, row)?;
                }
            }
            Ok(rows)
        })
    }

    /// A message to be read in pieces, with its first bytes, at most `first`: one round trip for nearly every mail. `None`: gone. Begins at
    /// once.
    pub fn message(
        &self,
        folder: FolderId,
        uid: u32,
        first: usize,
    ) -> impl Future<Output = Result<Option<(StoredMessage, Bytes)>, StoreError>> + Send + use<> {
        let messages = self.messages(folder, vec![uid], first, 0);
        async { Ok(messages.await?.pop().flatten()) }
    }

    /// The same of several messages, in the order of `uids`. Ends early once it has read `most` bytes, but not before the first.
    pub fn messages(
        &self,
        folder: FolderId,
        uids: Vec<u32>,
        first: usize,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Option<(StoredMessage, Bytes)>>, StoreError>> + Send + use<> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT message.content, message.size, content.header_size, prefix.data
                 FROM message JOIN content ON content.id = message.content LEFT JOIN prefix ON prefix.id = message.prefix
                 WHERE message.id = ?1",
            )?;
            let (mut chunks, mut messages, mut bytes) = (Chunks::new(connection), Vec::new(), 0);
            for uid in uids {
                let found = select.query_row([id(folder, uid)], |row| {
                    let prefix = row.get::<_, Option<Vec<u8>>>(3)?.map(Bytes::from).unwrap_or_default();
                    let header_size = row.get::<_, u64>(2)? + prefix.len() as u64;
                    Ok(StoredMessage { content: ContentId(row.get(0)?), size: row.get(1)?, header_size, prefix })
                });
                let opened = match found.optional()? {
                    Some(message) => {
                        let first = read(&mut chunks, &message, 0, first)?;
                        bytes += first.len();
                        Some((message, first))
                    }
                    None => None,
                };
                messages.push(opened);
                if bytes >= most {
                    break;
                }
            }
            Ok(messages)
        })
    }

    /// Bytes `offset..offset + length` of a message, prefix included; shorter at its end, empty beyond it. Begins at once.
    pub fn message_bytes(
        &self,
        message: &StoredMessage,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Bytes, StoreError>> + Send + use<> {
        let message = message.clone();
        self.read(move |connection| read(&mut Chunks::new(connection), &message, offset, length))
    }
}

/// `message.id`: the folder above, the UID below.
fn id(folder: FolderId, uid: u32) -> i64 {
    folder.0 << 32 | i64::from(uid)
}

fn ids(folder: FolderId, uids: &RangeInclusive<u32>) -> (i64, i64) {
    (id(folder, *uids.start()), id(folder, *uids.end()))
}

fn uid(id: i64) -> u32 {
    (id & i64::from(u32::MAX)) as u32
}

fn view_row(row: &Row<'_>) -> rusqlite::Result<ViewRow> {
    Ok(ViewRow { uid: uid(row.get(0)?), flags: row.get(1)?, keywords: row.get(2)?, modseq: row.get(3)? })
}

fn view_rows(connection: &Connection, folder: FolderId, uids: &[RangeInclusive<u32>]) -> Result<Vec<ViewRow>, StoreError> {
    let mut select = connection.prepare_cached("SELECT id, flags, keywords, modseq FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id")?;
    let mut rows = Vec::new();
    for range in uids {
        let (first, last) = ids(folder, range);
        for row in select.query_map([first, last], view_row)? {
            rows.push(row?);
        }
    }
    Ok(rows)
}

/// UIDs of a folder: all that were given out but for those that vanished. `None` if not all of these are remembered any more.
fn uids_by_what_vanished(connection: &Connection, folder: &Folder) -> Result<Option<Vec<(u32, u32)>>, StoreError> {
    let mut select = connection.prepare_cached("SELECT first, last FROM vanished WHERE folder = ?1")?;
    let mut vanished =
        select.query_map([folder.id.0], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, u32>(1)?)))?.collect::<Result<Vec<_>, _>>()?;
    vanished.sort_unstable();
    let mut uids = Vec::with_capacity(vanished.len() + 1);
    let mut next = 1;
    for (first, last) in vanished.into_iter().chain([(folder.uidnext, folder.uidnext)]) {
        if first > next {
            uids.push((next, first - 1));
        }
        next = last.saturating_add(1);
    }
    let count: u64 = uids.iter().map(|(first, last)| u64::from(last - first) + 1).sum();
    Ok((count == u64::from(folder.messages)).then_some(uids))
}

/// The same by looking at every message.
fn uids_by_rows(connection: &Connection, folder: FolderId) -> Result<Vec<(u32, u32)>, StoreError> {
    let (first, last) = ids(folder, &(1..=u32::MAX));
    let mut select = connection.prepare_cached("SELECT id FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id")?;
    let mut uids: Vec<(u32, u32)> = Vec::new();
    for id in select.query_map([first, last], |row| row.get(0))? {
        let uid = uid(id?);
        match uids.last_mut() {
            Some((_, last)) if *last + 1 == uid => *last = uid,
            _ => uids.push((uid, uid)),
        }
    }
    Ok(uids)
}

/// Costly columns are NULL unless wanted, so that their overflow pages are not read.
fn select_rows(wanted: Wanted) -> String {
    let column = |wanted: bool, name: &'static str| if wanted { name } else { "NULL" };
    let sort = ["subject", "sender", "recipient", "copied", "date", "thread", "display_from", "display_to"]
        .map(|name| column(wanted.sort, name))
        .join(", ");
    format!(
        "SELECT message.id, flags, keywords, modseq, content, internal_date, saved, message.size, message.size - content.size, header_size,
                prefix, {}, {}, {}, {}, {}, {}, {sort}
         FROM message JOIN content ON content.id = message.content WHERE message.id BETWEEN ?1 AND ?2 ORDER BY message.id LIMIT ?3",
        column(wanted.sort, "message_id"),
        column(wanted.fields, "fields"),
        wanted.sort,
        column(wanted.envelope, "envelope"),
        column(wanted.bodystructure, "bodystructure"),
        column(wanted.body, "body"),
    )
}

fn message_row(row: &Row<'_>) -> rusqlite::Result<MessageRow> {
    let blob = |column: usize| row.get::<_, Option<Vec<u8>>>(column).map(|blob| blob.map(Bytes::from).unwrap_or_default());
    let (content, prefix): (i64, Option<i64>) = (row.get(4)?, row.get(10)?);
    let internal_date: i64 = row.get(5)?;
    let prefix_size: u32 = row.get(8)?;
    let sort = match row.get(13)? {
        false => None,
        true => Some(Box::new(SortKeys {
            subject: row.get(17)?,
            from: row.get(18)?,
            to: row.get(19)?,
            cc: row.get(20)?,
            date: row.get::<_, Option<i64>>(21)?.unwrap_or(internal_date),
            references: content::split(&row.get::<_, String>(22)?),
            display_from: row.get(23)?,
            display_to: row.get(24)?,
        })),
    };
    Ok(MessageRow {
        view: view_row(row)?,
        content: ContentId(content),
        internal_date,
        saved: row.get(6)?,
        size: row.get(7)?,
        prefix_size,
        header_size: row.get::<_, u64>(9)? + u64::from(prefix_size),
        prefix: prefix.unwrap_or(0),
        message_id: row.get(11)?,
        envelope: blob(14)?,
        bodystructure: blob(15)?,
        body: blob(16)?,
        sort,
        header: None,
        fields: row.get::<_, Option<Vec<u8>>>(12)?.map(Bytes::from),
    })
}

/// Prefix and original header of a row, unless they are too long.
fn header(chunks: &mut Chunks<'_>, folder: FolderId, row: &MessageRow) -> Result<Option<Bytes>, StoreError> {
    if row.header_size > MAX_INLINE_HEADER as u64 {
        return Ok(None);
    }
    let mut bytes = BytesMut::with_capacity(row.header_size as usize);
    if row.prefix_size > 0 {
        let mut select = chunks
            .connection()
            .prepare_cached("SELECT data FROM message JOIN prefix ON prefix.id = message.prefix WHERE message.id = ?1")?;
        let mut found = select.query([id(folder, row.view.uid)])?;
        if let Some(found) = found.next()? {
            bytes.extend_from_slice(found.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
        }
    }
    chunks.read(row.content, 0, (row.header_size - u64::from(row.prefix_size)) as usize, &mut bytes)?;
    Ok(Some(bytes.freeze()))
}

fn read(chunks: &mut Chunks<'_>, message: &StoredMessage, offset: u64, length: usize) -> Result<Bytes, StoreError> {
    let prefix = message.prefix.len() as u64;
    let end = offset.saturating_add(length as u64).min(message.size);
    if offset >= end {
        return Ok(Bytes::new());
    }
    let mut bytes = BytesMut::new();
    if offset < prefix {
        bytes.extend_from_slice(&message.prefix[offset as usize..end.min(prefix) as usize]);
    }
    if end > prefix {
        let from = offset.max(prefix);
        chunks.read(message.content, from - prefix, (end - from) as usize, &mut bytes)?;
    }
    Ok(bytes.freeze())
}

/// Keyword bits that some message of the folder has.
pub fn used_keywords(connection: &Connection, folder: FolderId) -> Result<u64, StoreError> {
    Ok(view_rows(connection, folder, &[1..=u32::MAX])?.iter().fold(0, |used, row| used | row.keywords))
}
