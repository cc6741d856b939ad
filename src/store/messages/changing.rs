//! What clients and deliveries change in a folder: flags, copies, moves, expunges, additions. Each call is one transaction, and gives
//! what it touched one new modseq.

use super::{Uids, ViewRow, id, ids, uid, view_rows};
use crate::store::folders::{self, MAX_KEYWORDS};
use crate::store::{Change, ContentId, Folder, FolderId, NewContent, SMALL, Store, StoreError, Work, accounts, arrival, flags, now};
use rusqlite::{Connection, OptionalExtension, params};

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
    /// The modseq that each of the rows had before.
    pub before: Vec<u64>,
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

/// A message about to be added to a folder.
pub struct NewRow {
    /// Its original.
    pub content: ContentId,
    /// What stands above it.
    pub prefix: Option<i64>,
    /// Both.
    pub size: u64,
    /// System flags.
    pub flags: u32,
    /// Keyword bits of that folder.
    pub keywords: u64,
    /// INTERNALDATE
    pub internal_date: i64,
}

impl Store {
    /// Changes flags. [`StoreError::Conflict`] if the folder can take no more keywords.
    pub async fn flag(&self, folder: FolderId, uids: Uids, change: FlagChange) -> Result<Flagged, StoreError> {
        self.write(SMALL, move |work| flag(work, folder, &uids, &change)).await
    }

    /// Expunges messages with `\Deleted`, all or those of the set. Returns their UIDs, ascending.
    pub async fn expunge(&self, folder: FolderId, uids: Option<Uids>) -> Result<Vec<u32>, StoreError> {
        self.write(SMALL, move |work| {
            let everything = vec![1..=u32::MAX];
            let rows = view_rows(work, folder, uids.as_ref().unwrap_or(&everything))?;
            let gone: Vec<u32> = rows.iter().filter(|row| row.flags & flags::DELETED != 0).map(|row| row.uid).collect();
            remove(work, folder, &gone)?;
            Ok(gone)
        })
        .await
    }

    /// Copies messages with flags and dates; all or none. [`StoreError::OverQuota`] if the target's owner has no room.
    pub async fn copy(&self, folder: FolderId, uids: Uids, target: FolderId) -> Result<Copied, StoreError> {
        self.write(SMALL, move |work| copy(work, folder, &uids, target, true)).await
    }

    /// Moves messages; all or none (RFC 6851).
    pub async fn move_messages(&self, folder: FolderId, uids: Uids, target: FolderId) -> Result<Copied, StoreError> {
        self.write(SMALL, move |work| {
            let same_owner = folders::require(work, folder)?.account == folders::require(work, target)?.account;
            let copied = copy(work, folder, &uids, target, !same_owner)?;
            let gone: Vec<u32> = copied.uids.iter().map(|(uid, _)| *uid).collect();
            remove(work, folder, &gone)?;
            Ok(copied)
        })
        .await
    }

    /// Adds a client's messages; all or none: what was spooled for them is given back then. UIDs in order. [`StoreError::OverQuota`] if
    /// the folder's owner has no room.
    pub async fn append(&self, folder: FolderId, messages: Vec<Append>) -> Result<Vec<u32>, StoreError> {
        let given = spooled(&messages);
        let appended = self
            .write(weight(&messages), move |work| {
                let rows = file(work, folder, &messages)?;
                add(work, folder, &rows, 0)
            })
            .await;
        appended.inspect_err(|_| self.discard(given))
    }

    /// Adds messages to one folder and deletes one of another, or of the same, in its place; all or none (RFC 8508). What goes makes
    /// room for what comes. [`StoreError::NotFound`] if it is gone already.
    pub async fn replace(&self, source: FolderId, uid: u32, folder: FolderId, messages: Vec<Append>) -> Result<Vec<u32>, StoreError> {
        let given = spooled(&messages);
        let replaced = self
            .write(weight(&messages), move |work| {
                let mut select = work.connection.prepare_cached("SELECT size FROM message WHERE id = ?1")?;
                let old: Option<u64> = select.query_row([id(source, uid)], |row| row.get(0)).optional()?;
                let old = old.ok_or_else(|| StoreError::NotFound("this message".into()))?;
                let same_owner = folders::require(work, source)?.account == folders::require(work, folder)?.account;
                let rows = file(work, folder, &messages)?;
                let uids = add(work, folder, &rows, if same_owner { old } else { 0 })?;
                remove(work, source, &[uid])?;
                Ok(uids)
            })
            .await;
        replaced.inspect_err(|_| self.discard(given))
    }
}

/// The originals of messages that are in the store already, in pieces.
pub fn spooled(messages: &[Append]) -> Vec<ContentId> {
    messages.iter().filter_map(|message| if let NewContent::Spooled(id, _) = message.content { Some(id) } else { None }).collect()
}

/// What a job with these messages weighs in a batch.
fn weight(messages: &[Append]) -> usize {
    messages.iter().map(|message| if let NewContent::Inline(bytes, _) = &message.content { bytes.len() } else { SMALL }).sum()
}

/// Files the originals and their keywords.
fn file(work: &mut Work<'_>, folder: FolderId, messages: &[Append]) -> Result<Vec<NewRow>, StoreError> {
    let mut rows = Vec::with_capacity(messages.len());
    let mut promised = 0;
    for message in messages {
        let (content, size) = arrival::file(work, &message.content)?;
        let mut keywords = 0;
        for name in &message.keywords {
            // APPEND has no way to say that one keyword did not fit.
            keywords |= folders::make_keyword(work, folder, name, promised | keywords)?.unwrap_or(0);
        }
        promised |= keywords;
        rows.push(NewRow { content, prefix: None, size, flags: message.flags, keywords, internal_date: message.internal_date });
    }
    Ok(rows)
}

/// Adds rows if the owner has room for them, `freed` bytes taken off.
fn add(work: &mut Work<'_>, folder: FolderId, rows: &[NewRow], freed: u64) -> Result<Vec<u32>, StoreError> {
    let owner = folders::require(work, folder)?.account;
    let more: u64 = rows.iter().map(|row| row.size).sum();
    accounts::require_room(work, owner, more.saturating_sub(freed))?;
    let first = insert(work, folder, rows)?;
    Ok((first..).take(rows.len()).collect())
}

/// Deletes messages of a folder and remembers that they went. UIDs ascending; those that are not there don't matter.
pub fn remove(work: &mut Work<'_>, folder: FolderId, uids: &[u32]) -> Result<(), StoreError> {
    let mut delete = work.connection.prepare_cached("DELETE FROM message WHERE id = ?1")?;
    let mut gone: Vec<(u32, u32)> = Vec::new();
    for &uid in uids {
        if delete.execute([id(folder, uid)])? == 0 {
            continue;
        }
        match gone.last_mut() {
            Some((_, last)) if *last + 1 == uid => *last = uid,
            _ => gone.push((uid, uid)),
        }
    }
    if gone.is_empty() {
        return Ok(());
    }
    let modseq: i64 = work
        .prepare_cached("UPDATE folder SET modseq = modseq + 1 WHERE id = ?1 RETURNING modseq")?
        .query_row([folder.0], |row| row.get(0))?;
    let mut insert = work.connection.prepare_cached("INSERT INTO vanished (folder, modseq, first, last) VALUES (?1, ?2, ?3, ?4)")?;
    for (first, last) in gone {
        insert.execute(params![folder.0, modseq, first, last])?;
    }
    work.changed(Change::Folder(folder));
    Ok(())
}

/// Deletes every message of a folder that is about to go itself.
pub fn delete_all(work: &mut Work<'_>, folder: FolderId) -> Result<(), StoreError> {
    let (first, last) = ids(folder, &(0..=u32::MAX));
    work.prepare_cached("DELETE FROM message WHERE id BETWEEN ?1 AND ?2")?.execute([first, last])?;
    Ok(())
}

/// Moves every message of a folder.
pub fn move_all(work: &mut Work<'_>, folder: FolderId, target: FolderId) -> Result<(), StoreError> {
    let copied = copy(work, folder, &vec![1..=u32::MAX], target, false)?;
    let gone: Vec<u32> = copied.uids.iter().map(|(uid, _)| *uid).collect();
    remove(work, folder, &gone)
}

/// Adds messages to a folder and returns the first one's UID; the others follow it. Counts them as triggers do for whatever goes: a trigger
/// here would make each INSERT keep a copy of every page that it changes.
pub fn insert(work: &mut Work<'_>, folder: FolderId, rows: &[NewRow]) -> Result<u32, StoreError> {
    let bytes_of = |wanted: fn(&NewRow) -> bool| rows.iter().filter(|row| wanted(row)).map(|row| row.size).sum::<u64>();
    let number_of = |wanted: fn(&NewRow) -> bool| rows.iter().filter(|row| wanted(row)).count();
    let (bytes, deleted) = (bytes_of(|_| true), |row: &NewRow| row.flags & flags::DELETED != 0);
    let (next, modseq, account): (i64, i64, i64) = work
        .prepare_cached(
            "UPDATE folder SET uidnext = uidnext + ?2, modseq = modseq + 1, messages = messages + ?2, bytes = bytes + ?3,
                    unseen = unseen + ?4, deleted = deleted + ?5, deleted_bytes = deleted_bytes + ?6
             WHERE id = ?1 RETURNING uidnext, modseq, account",
        )?
        .query_row(
            params![folder.0, rows.len(), bytes, number_of(|row| row.flags & flags::SEEN == 0), number_of(deleted), bytes_of(deleted)],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?
        .ok_or_else(folders::missing)?;
    let Ok(first) = u32::try_from(next - rows.len() as i64) else { return Err(no_uids_left()) };
    if next > i64::from(u32::MAX) {
        return Err(no_uids_left());
    }
    work.prepare_cached("UPDATE account SET messages = messages + ?2, bytes = bytes + ?3 WHERE id = ?1")?.execute(params![
        account,
        rows.len(),
        bytes
    ])?;
    let mut insert = work.connection.prepare_cached(
        "INSERT INTO message (id, content, prefix, size, flags, keywords, modseq, internal_date, saved)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let mut refer = work.connection.prepare_cached("UPDATE content SET refs = ifnull(refs, 0) + 1, unreferenced = NULL WHERE id = ?1")?;
    let mut refer_above = work.connection.prepare_cached("UPDATE prefix SET refs = refs + 1 WHERE id = ?1")?;
    let saved = now();
    for (uid, row) in (first..).zip(rows) {
        insert.execute(params![
            id(folder, uid),
            row.content.0,
            row.prefix,
            row.size,
            row.flags & flags::ALL,
            row.keywords,
            modseq,
            row.internal_date,
            saved
        ])?;
        refer.execute([row.content.0])?;
        if let Some(prefix) = row.prefix {
            refer_above.execute([prefix])?;
        }
    }
    work.changed(Change::Folder(folder));
    Ok(first)
}

/// Stores what stands above an original; nothing for nothing.
pub fn insert_prefix(connection: &Connection, prefix: &[u8]) -> Result<Option<i64>, StoreError> {
    if prefix.is_empty() {
        return Ok(None);
    }
    Ok(Some(connection.prepare_cached("INSERT INTO prefix (data) VALUES (?1)")?.insert([prefix])?))
}

fn flag(work: &mut Work<'_>, folder: FolderId, uids: &Uids, change: &FlagChange) -> Result<Flagged, StoreError> {
    let modseq = folders::require(work, folder)?.highest_modseq + 1;
    let mut keywords = 0;
    for name in &change.keywords {
        keywords |= match change.action {
            FlagAction::Remove => folders::keyword_bit(work, folder, name)?.unwrap_or(0),
            _ => folders::make_keyword(work, folder, name, keywords)?
                .ok_or_else(|| StoreError::Conflict(format!("this folder has {MAX_KEYWORDS} keywords already, all in use")))?,
        };
    }
    let (mut rows, mut before, mut modified, mut changed) = (Vec::new(), Vec::new(), Vec::new(), false);
    let mut update = work.connection.prepare_cached("UPDATE message SET flags = ?2, keywords = ?3, modseq = ?4 WHERE id = ?1")?;
    for mut row in view_rows(work, folder, uids)? {
        if change.unchanged_since.is_some_and(|since| row.modseq > since) {
            modified.push(row.uid);
            continue;
        }
        let (new_flags, new_keywords) = match change.action {
            FlagAction::Add => (row.flags | change.flags, row.keywords | keywords),
            FlagAction::Remove => (row.flags & !change.flags, row.keywords & !keywords),
            FlagAction::Replace => (change.flags, keywords),
        };
        before.push(row.modseq);
        if (new_flags, new_keywords) != (row.flags, row.keywords) {
            row = ViewRow { uid: row.uid, flags: new_flags, keywords: new_keywords, modseq };
            update.execute(params![id(folder, row.uid), row.flags, row.keywords, row.modseq])?;
            changed = true;
        }
        rows.push(row);
    }
    if changed {
        set_modseq(work, folder, modseq)?;
        work.changed(Change::Folder(folder));
    }
    Ok(Flagged { folder: folders::require(work, folder)?, rows, before, modified })
}

fn set_modseq(connection: &Connection, folder: FolderId, modseq: u64) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE folder SET modseq = ?2 WHERE id = ?1")?.execute(params![folder.0, modseq])?;
    Ok(())
}

/// Copies messages inside a transaction; `needs_room`: if the owner of the target has room for them.
pub fn copy(work: &mut Work<'_>, folder: FolderId, uids: &Uids, target: FolderId, needs_room: bool) -> Result<Copied, StoreError> {
    let from = folders::require(work, folder)?;
    let to = folders::require(work, target)?;
    let mut source_uids = Vec::new();
    let mut rows = Vec::new();
    {
        let mut select = work.prepare_cached(
            "SELECT id, content, prefix, size, flags, keywords, internal_date FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
        )?;
        for range in uids {
            let (first, last) = ids(folder, range);
            let mut found = select.query([first, last])?;
            while let Some(row) = found.next()? {
                source_uids.push(uid(row.get(0)?));
                rows.push(NewRow {
                    content: ContentId(row.get(1)?),
                    prefix: row.get(2)?,
                    size: row.get(3)?,
                    flags: row.get(4)?,
                    keywords: row.get(5)?,
                    internal_date: row.get(6)?,
                });
            }
        }
    }
    if needs_room {
        accounts::require_room(work, to.account, rows.iter().map(|row| row.size).sum())?;
    }
    translate_keywords(work, &from, target, &mut rows)?;
    let first = if rows.is_empty() { to.uidnext } else { insert(work, target, &rows)? };
    Ok(Copied { uidvalidity: to.uidvalidity, uids: source_uids.into_iter().zip(first..).collect() })
}

/// From the bits of one folder to those of another. A copy does not fail because a keyword has no room there.
fn translate_keywords(work: &mut Work<'_>, from: &Folder, target: FolderId, rows: &mut [NewRow]) -> Result<(), StoreError> {
    let used = rows.iter().fold(0, |used, row| used | row.keywords);
    let (mut bits, mut promised) = (Vec::new(), 0);
    for (bit, name) in from.keywords.iter().enumerate().filter(|(bit, _)| used & (1 << bit) != 0) {
        let given = folders::make_keyword(work, target, name, promised)?.unwrap_or(0);
        promised |= given;
        bits.push((1 << bit, given));
    }
    for row in rows {
        row.keywords = bits.iter().filter(|(bit, _)| row.keywords & bit != 0).fold(0, |keywords, (_, bit)| keywords | bit);
    }
    Ok(())
}

fn no_uids_left() -> StoreError {
    StoreError::Conflict("this folder has given out all of its 4,294,967,295 numbers: move its messages to a new one".into())
}
