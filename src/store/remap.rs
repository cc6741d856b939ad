//! Moving a delivered message to where it should have gone, and taking that back once.
//!
//! Each message moves in a transaction of its own, together with what is needed to undo it.

use super::arrival::{self, Deposit, NewContent};
use super::messages::changing::{self, NewRow};
use super::tray::{self, NewHeld};
use super::{Change, ContentId, FolderId, SMALL, Store, StoreError, Work, accounts, flags, folders, now, trace};
use crate::mapping::Mailbox;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

/// Where a copy of an original lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Whose.
    pub mailbox: Mailbox,
    /// In which folder.
    pub folder: String,
    /// See [`super::flags`].
    pub flags: u32,
    /// INTERNALDATE
    pub internal_date: i64,
    at: (FolderId, u32),
    keywords: u64,
    prefix: Vec<u8>,
}

/// What has to change for one journaled message.
#[derive(Debug, Clone)]
pub struct Relocation {
    /// The journal's entry.
    pub entry: i64,
    /// The original.
    pub content: ContentId,
    /// The decision by today's mapping, for the journal.
    pub decision: String,
    /// Who should not have it; each with the mail that takes its place if it was read.
    pub take: Vec<(Mailbox, NewContent)>,
    /// Who has it in the first folder and should have it in the second.
    pub refile: Vec<(Mailbox, String, String)>,
    /// Who should have it; whoever has it already gets nothing.
    pub add: Vec<Deposit>,
    /// It waits in the tray, and that is over. If somebody took it out meanwhile, nothing is done.
    pub leaves_tray: bool,
    /// It belongs into the tray.
    pub hold: Option<NewHeld>,
    /// For the trace.
    pub detail: String,
    /// The number of this run: see [`Store::remap_begin`].
    pub run: i64,
}

/// What became of a [`Relocation`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relocated {
    /// Somebody took it out of the tray by hand: it stays where he put it.
    pub by_hand: bool,
    /// Copies taken away that had been read.
    pub notices: usize,
}

/// What [`Store::remap_undo`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Undone {
    /// Messages that are back where they were.
    pub mails: usize,
    /// Messages whose original the journal has forgotten since.
    pub forgotten: usize,
}

/// All that is needed to take one relocation back.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    entry: i64,
    decision: String,
    taken: Vec<Taken>,
    added: Vec<(i64, u32)>,
    tray_out: Option<Waiting>,
    tray_in: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Taken {
    mailbox: String,
    folder: String,
    flags: u32,
    keywords: u64,
    internal_date: i64,
    prefix: Vec<u8>,
}

/// A row of the tray.
#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    id: i64,
    received: i64,
    reason: String,
    addresses: String,
    sender: String,
    subject: String,
    collector: Option<String>,
}

impl Store {
    /// Where copies of an original lie.
    pub async fn copies(&self, content: ContentId) -> Result<Vec<Copy>, StoreError> {
        self.read(move |connection| copies(connection, content)).await
    }

    /// Begins a run: the one before it can't be undone any more. Its number, for [`Relocation::run`].
    pub async fn remap_begin(&self) -> Result<i64, StoreError> {
        self.write(SMALL, |work| {
            work.execute("DELETE FROM remap", [])?;
            Ok(now())
        })
        .await
    }

    /// Moves one message.
    pub async fn remap(&self, order: Relocation) -> Result<Relocated, StoreError> {
        self.write(SMALL, move |work| relocate(work, &order)).await
    }

    /// Takes the last run back. `None`: there is none.
    pub async fn remap_undo(&self) -> Result<Option<Undone>, StoreError> {
        let mut undone = Undone::default();
        let mut any = false;
        loop {
            let step = self.write(SMALL, |work| {
                let mut select = work.connection.prepare_cached("SELECT id, content, record FROM remap ORDER BY id DESC LIMIT 1")?;
                let last = select.query_row([], |row| Ok((row.get::<_, i64>(0)?, ContentId(row.get(1)?), row.get::<_, String>(2)?)));
                let Some((id, content, record)) = last.optional()? else { return Ok(None) };
                work.prepare_cached("DELETE FROM remap WHERE id = ?1")?.execute([id])?;
                let record: Record = serde_json::from_str(&record).map_err(|error| StoreError::Database(error.to_string()))?;
                take_back(work, content, record).map(Some)
            });
            match step.await? {
                None => return Ok(any.then_some(undone)),
                Some(true) => undone.mails += 1,
                Some(false) => undone.forgotten += 1,
            }
            any = true;
        }
    }
}

fn relocate(work: &mut Work<'_>, order: &Relocation) -> Result<Relocated, StoreError> {
    let content = order.content;
    let there = copies(work, content)?;
    let decision = work.prepare_cached("SELECT decision FROM journal WHERE id = ?1")?.query_row([order.entry], |row| row.get(0))?;
    let mut record = Record { entry: order.entry, decision, taken: vec![], added: vec![], tray_out: None, tray_in: None };
    let mut relocated = Relocated::default();
    if order.leaves_tray {
        record.tray_out = waiting(work, content)?;
        if record.tray_out.is_none() {
            return Ok(Relocated { by_hand: true, ..relocated });
        }
        tray::take_out_all(work, content)?;
    }
    for (mailbox, notice) in &order.take {
        for copy in there.iter().filter(|copy| copy.mailbox == *mailbox) {
            record.taken.push(take(work, copy)?);
            if copy.flags & flags::SEEN != 0 {
                let (notice, size) = arrival::file(work, notice)?;
                let row = NewRow { content: notice, prefix: None, size, flags: 0, keywords: 0, internal_date: now() };
                record.added.push((copy.at.0.0, changing::insert(work, copy.at.0, &[row])?));
                relocated.notices += 1;
            }
        }
        arrival::forget_delivery(work, mailbox, content)?;
    }
    for (mailbox, from, to) in &order.refile {
        for copy in there.iter().filter(|copy| copy.mailbox == *mailbox && copy.folder == *from) {
            let taken = take(work, copy)?;
            let (folder, uid) = put(work, content, &Taken { folder: to.clone(), keywords: 0, ..taken.clone() })?;
            record.taken.push(taken);
            record.added.push((folder.0, uid));
        }
    }
    for deposit in order.add.iter().filter(|deposit| !there.iter().any(|copy| copy.mailbox == deposit.mailbox)) {
        if let Some((folder, uid)) = arrival::deliver_stored(work, content, deposit)? {
            record.added.push((folder.0, uid));
        }
    }
    if let Some(held) = &order.hold {
        record.tray_in = Some(tray::insert(work, content, held)?);
    }
    work.prepare_cached("UPDATE journal SET decision = ?2 WHERE id = ?1")?.execute(params![order.entry, order.decision])?;
    trace::about(work, content, "remapped", order.detail.clone())?;
    let record = serde_json::to_string(&record).map_err(|error| StoreError::Database(error.to_string()))?;
    work.prepare_cached("INSERT INTO remap (run, content, record) VALUES (?1, ?2, ?3)")?.execute(params![order.run, content.0, record])?;
    Ok(relocated)
}

/// False: the original is gone, and with it the way back.
fn take_back(work: &mut Work<'_>, content: ContentId, record: Record) -> Result<bool, StoreError> {
    let journaled =
        work.prepare_cached("SELECT 1 FROM journal WHERE id = ?1 AND content = ?2")?.exists(params![record.entry, content.0])?;
    if !journaled {
        return Ok(false);
    }
    for (folder, uid) in record.added {
        // The folder, or the message, may have gone meanwhile: then there is nothing to take away.
        if folders::find(work, FolderId(folder))?.is_some() {
            let owner = copies(work, content)?.into_iter().find(|copy| copy.at == (FolderId(folder), uid));
            changing::remove(work, FolderId(folder), &[uid])?;
            if let Some(copy) = owner {
                arrival::forget_delivery(work, &copy.mailbox, content)?;
            }
        }
    }
    for taken in &record.taken {
        put(work, content, taken)?;
        arrival::remember_delivery(work, &mailbox(&taken.mailbox), content)?;
    }
    if let Some(id) = record.tray_in {
        tray::take_out(work, id)?;
    }
    if let Some(held) = record.tray_out {
        work.prepare_cached(
            "INSERT INTO tray (id, content, received, kind, reason, addresses, sender, subject, collector)
             VALUES (?1, ?2, ?3, 'held', ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            held.id,
            content.0,
            held.received,
            held.reason,
            held.addresses,
            held.sender,
            held.subject,
            held.collector
        ])?;
        super::tray_folder::show(work)?;
        work.changed(Change::Tray);
    }
    work.prepare_cached("UPDATE journal SET decision = ?2 WHERE id = ?1")?.execute(params![record.entry, record.decision])?;
    trace::about(work, content, "remapped", "taken back to where it was".to_owned())?;
    Ok(true)
}

fn take(work: &mut Work<'_>, copy: &Copy) -> Result<Taken, StoreError> {
    let (folder, uid) = copy.at;
    changing::remove(work, folder, &[uid])?;
    Ok(Taken {
        mailbox: copy.mailbox.to_string(),
        folder: copy.folder.clone(),
        flags: copy.flags,
        keywords: copy.keywords,
        internal_date: copy.internal_date,
        prefix: copy.prefix.clone(),
    })
}

fn put(work: &mut Work<'_>, content: ContentId, taken: &Taken) -> Result<(FolderId, u32), StoreError> {
    let account = accounts::find_or_make_shared(work, &mailbox(&taken.mailbox))?;
    let folder = folders::find_or_make(work, account, &taken.folder)?;
    let size: u64 = work.prepare_cached("SELECT size FROM content WHERE id = ?1")?.query_row([content.0], |row| row.get(0))?;
    let row = NewRow {
        content,
        prefix: changing::insert_prefix(work, &taken.prefix)?,
        size: size + taken.prefix.len() as u64,
        flags: taken.flags,
        keywords: taken.keywords,
        internal_date: taken.internal_date,
    };
    Ok((folder, changing::insert(work, folder, &[row])?))
}

/// As `Display` writes it.
fn mailbox(name: &str) -> Mailbox {
    match name.strip_prefix("shared:") {
        Some(shared) => Mailbox::Shared(shared.to_owned()),
        None => Mailbox::User(name.to_owned()),
    }
}

fn copies(connection: &Connection, content: ContentId) -> Result<Vec<Copy>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT account.kind, account.name, folder.id, folder.name, message.id & 4294967295, message.flags, message.keywords,
                message.internal_date, prefix.data
         FROM message JOIN folder ON folder.id = message.id >> 32 JOIN account ON account.id = folder.account
              LEFT JOIN prefix ON prefix.id = message.prefix
         WHERE message.content = ?1 AND account.kind <> 'removed' ORDER BY message.id",
    )?;
    let copies = select.query_map([content.0], |row| {
        let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(Copy {
            mailbox: if kind == "shared" { Mailbox::Shared(name) } else { Mailbox::User(name) },
            folder: row.get(3)?,
            flags: row.get(5)?,
            internal_date: row.get(7)?,
            at: (FolderId(row.get(2)?), row.get(4)?),
            keywords: row.get(6)?,
            prefix: row.get::<_, Option<Vec<u8>>>(8)?.unwrap_or_default(),
        })
    })?;
    Ok(copies.collect::<Result<_, _>>()?)
}

fn waiting(connection: &Connection, content: ContentId) -> Result<Option<Waiting>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT id, received, reason, addresses, sender, subject, collector FROM tray WHERE content = ?1 AND kind = 'held'",
    )?;
    let found = select.query_row([content.0], |row| {
        Ok(Waiting {
            id: row.get(0)?,
            received: row.get(1)?,
            reason: row.get(2)?,
            addresses: row.get(3)?,
            sender: row.get(4)?,
            subject: row.get(5)?,
            collector: row.get(6)?,
        })
    });
    Ok(found.optional()?)
}
