//! Held mail, stubs of mail that is too large, and quarantine.

use super::{
    Arrival, Arrived, Change, ContentId, Deposit, NewContent, SMALL, Store, StoreError, Work, arrival, journal, ledger, now, trace,
    tray_folder,
};
use crate::mapping::Mailbox;
use rusqlite::{OptionalExtension, Row, params};

/// Why something is in the tray.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nobody claims it.
    Held,
    /// Bytes that could not be handled three times.
    Quarantine,
    /// Header of a mail that is too large; the original is still upstream.
    Stub,
}

/// A place in the tray for the content of its [`super::Arrival`].
#[derive(Debug, Clone)]
pub struct NewHeld {
    /// In plain words.
    pub reason: String,
    /// Addresses that nobody claims, or that it was for.
    pub addresses: Vec<String>,
    /// From, decoded, for the list.
    pub from: String,
    /// Decoded.
    pub subject: String,
    /// Why it is here.
    pub kind: Kind,
    /// The collector that brought it.
    pub collector: Option<String>,
}

/// Something in the tray.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub id: i64,
    /// The original.
    pub content: ContentId,
    /// When it came.
    pub received: i64,
    /// Why it is here.
    pub kind: Kind,
    /// In plain words.
    pub reason: String,
    /// Addresses that nobody claims, or that it was for.
    pub addresses: Vec<String>,
    /// Decoded.
    pub from: String,
    /// Decoded.
    pub subject: String,
    /// Bytes of the original.
    pub size: u64,
    /// The collector that brought it.
    pub collector: Option<String>,
}

impl Kind {
    /// As the database and JSON write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Held => "held",
            Kind::Quarantine => "quarantine",
            Kind::Stub => "stub",
        }
    }
}

impl Store {
    /// All of it, oldest first.
    pub async fn tray(&self) -> Result<Vec<Held>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT tray.id, content, received, kind, reason, addresses, tray.sender, tray.subject, size, collector
                 FROM tray JOIN content ON content.id = tray.content ORDER BY tray.id",
            )?;
            Ok(select.query_map([], held)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// How much is in it.
    pub async fn tray_count(&self) -> Result<u64, StoreError> {
        self.read(|connection| Ok(connection.query_row("SELECT count(*) FROM tray", [], |row| row.get(0))?)).await
    }

    /// Delivers it and takes it out: one transaction. `by` is who did it, for the trace.
    pub async fn tray_give(&self, id: i64, deposits: Vec<Deposit>, by: &str) -> Result<Arrived, StoreError> {
        let by = by.to_owned();
        self.write(SMALL, move |work| {
            let content = content(work, id)?;
            let names: Vec<_> = deposits.iter().map(|deposit| deposit.mailbox.to_string()).collect();
            let line = format!("{by} gave it out of the tray to {}", names.join(", "));
            let arrival =
                Arrival { deposits: deposits.clone(), trace: vec![("given", line)], ..Arrival::new(NewContent::Existing(content)) };
            let arrived = arrival::store(work, &arrival)?;
            take_out(work, id)?;
            Ok(arrived)
        })
        .await
    }

    /// Asks for the original of a stub: the next fetch of its collector brings it, for `mailbox` or for whom the mapping says, and takes
    /// the stub out. [`StoreError::NotFound`] if it is no longer at the provider.
    pub async fn tray_want(&self, id: i64, mailbox: Option<&Mailbox>, by: &str) -> Result<(), StoreError> {
        let (by, mailbox) = (by.to_owned(), mailbox.map(Mailbox::to_string));
        self.write(SMALL, move |work| {
            let header = content(work, id)?;
            if !ledger::want(work, header, mailbox.as_deref().unwrap_or_default())? {
                return Err(StoreError::NotFound(format!("the original of {id} is no longer at the provider: its header is all there is")));
            }
            let whom = mailbox.as_ref().map_or_else(|| "as mapped".to_owned(), |mailbox| format!("for {mailbox}"));
            trace::about(work, header, "wanted", format!("{by} asked for the original, {whom}"))
        })
        .await
    }

    /// Takes it out for nobody. With `journal`, the original stays there for the journal's time from now on.
    pub async fn tray_drop(&self, ids: Vec<i64>, by: &str, journal: bool) -> Result<usize, StoreError> {
        let by = by.to_owned();
        self.write(SMALL, move |work| {
            for id in &ids {
                let content = content(work, *id)?;
                if journal {
                    let collector: Option<String> =
                        work.prepare_cached("SELECT collector FROM tray WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
                    journal::insert(work, content, &journal::NewEntry::dropped(collector.unwrap_or_default()))?;
                }
                trace::about(work, content, "dropped", format!("{by} dropped it from the tray"))?;
                take_out(work, *id)?;
            }
            Ok(ids.len())
        })
        .await
    }
}

fn held(row: &Row<'_>) -> rusqlite::Result<Held> {
    let kind: String = row.get(3)?;
    let addresses: String = row.get(5)?;
    Ok(Held {
        id: row.get(0)?,
        content: ContentId(row.get(1)?),
        received: row.get(2)?,
        kind: [Kind::Quarantine, Kind::Stub].into_iter().find(|known| known.as_str() == kind).unwrap_or(Kind::Held),
        reason: row.get(4)?,
        addresses: serde_json::from_str(&addresses).unwrap_or_default(),
        from: row.get(6)?,
        subject: row.get(7)?,
        size: row.get(8)?,
        collector: row.get(9)?,
    })
}

fn content(work: &Work<'_>, id: i64) -> Result<ContentId, StoreError> {
    let found = work.prepare_cached("SELECT content FROM tray WHERE id = ?1")?.query_row([id], |row| row.get(0)).optional()?;
    found.map(ContentId).ok_or_else(|| StoreError::NotFound(format!("there is no {id} in the tray")))
}

/// Takes everything out that has this original, inside a transaction.
pub fn take_out_all(work: &mut Work<'_>, content: ContentId) -> Result<(), StoreError> {
    let mut select = work.connection.prepare_cached("SELECT id FROM tray WHERE content = ?1")?;
    let ids = select.query_map([content.0], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    ids.into_iter().try_for_each(|id| take_out(work, id))
}

/// Takes one out, inside a transaction.
pub fn take_out(work: &mut Work<'_>, id: i64) -> Result<(), StoreError> {
    let mut delete = work.connection.prepare_cached("DELETE FROM tray WHERE id = ?1 RETURNING uid")?;
    let uid: Option<Option<u32>> = delete.query_row([id], |row| row.get(0)).optional()?;
    tray_folder::hide(work, uid.flatten().as_slice())?;
    work.changed(Change::Tray);
    Ok(())
}

/// Puts content into the tray, inside a transaction. Its number there.
pub fn insert(work: &mut Work<'_>, content: ContentId, held: &NewHeld) -> Result<i64, StoreError> {
    let addresses = serde_json::to_string(&held.addresses).unwrap_or_default();
    let id = work.prepare_cached(
        "INSERT INTO tray (content, received, kind, reason, addresses, sender, subject, collector) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .insert(params![content.0, now(), held.kind.as_str(), held.reason, addresses, held.from, held.subject, held.collector])?;
    tray_folder::show(work)?;
    work.changed(Change::Tray);
    Ok(id)
}
