//! Originals of fetched mail, kept for a time so that a wrong mapping can be undone.

use super::{ContentId, Store, StoreError, now};
use crate::address::Address;
use rusqlite::{Connection, params};
use serde_json::Value;
use std::collections::HashMap;

/// The journal's view of an arrival.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The collector's name.
    pub collector: String,
    /// The decision, as `explain --json` prints it.
    pub decision: String,
}

/// The collector's name on what came by `smtp`; no collector can be called so.
pub const BY_SMTP: &str = "port 25";

/// The decision in the journal of what somebody threw away by hand: no mapping has a say in it any more.
const DROPPED: &str = r#"{"outcome":"dropped"}"#;

impl NewEntry {
    /// For what somebody throws away by hand.
    pub fn dropped(collector: String) -> NewEntry {
        NewEntry { collector, decision: DROPPED.to_owned() }
    }
}

/// A decision as the journal keeps it, with the envelope's recipients where they are known.
pub fn decision(mut decision: Value, envelope: &[Address]) -> String {
    if !envelope.is_empty() {
        decision["envelope"] = envelope.iter().map(Address::to_string).collect();
    }
    decision.to_string()
}

impl Entry {
    /// The envelope's recipients, of what came by `smtp`.
    pub fn envelope(&self) -> Vec<Address> {
        let decision: Value = serde_json::from_str(&self.decision).unwrap_or_default();
        let addresses = decision["envelope"].as_array().into_iter().flatten().filter_map(Value::as_str);
        addresses.filter_map(|text| Address::parse(text).ok()).collect()
    }

    /// Whether somebody threw it away by hand.
    pub fn is_dropped(&self) -> bool {
        self.decision == DROPPED
    }
}

/// A journaled original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Ascending.
    pub id: i64,
    /// The original.
    pub content: ContentId,
    /// When it came.
    pub received: i64,
    /// Which collector brought it.
    pub collector: String,
    /// The decision at the time, as JSON.
    pub decision: String,
}

impl Store {
    /// The upstream folders that originals lay in, where that was not INBOX.
    pub async fn upstream_folders(&self) -> Result<HashMap<ContentId, String>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT content, source.folder FROM source JOIN ledger ON ledger.source = source.id
                 WHERE source.folder <> 'INBOX' AND content IS NOT NULL",
            )?;
            let folders = select.query_map([], |row| Ok((ContentId(row.get(0)?), row.get(1)?)))?;
            Ok(folders.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Entries that came at or after `since`, oldest first, with ids above `after`, at most `limit`.
    pub async fn journal(&self, since: i64, after: i64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT id, content, received, collector, decision FROM journal WHERE received >= ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            )?;
            let entries = select.query_map(params![since, after, limit], |row| {
                Ok(Entry {
                    id: row.get(0)?,
                    content: ContentId(row.get(1)?),
                    received: row.get(2)?,
                    collector: row.get(3)?,
                    decision: row.get(4)?,
                })
            })?;
            Ok(entries.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Bytes of the originals that nothing but the journal keeps.
    pub async fn journal_bytes(&self) -> Result<u64, StoreError> {
        self.read(|connection| {
            let bytes = connection.query_row(
                "SELECT ifnull(sum(size), 0) FROM content WHERE refs = (SELECT count(*) FROM journal WHERE content = content.id)",
                [],
                |row| row.get(0),
            )?;
            Ok(bytes)
        })
        .await
    }
}

/// Keeps an original, inside a transaction.
pub fn insert(connection: &Connection, content: ContentId, entry: &NewEntry) -> Result<(), StoreError> {
    connection.prepare_cached("INSERT INTO journal (content, received, collector, decision) VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        content.0,
        now(),
        entry.collector,
        entry.decision
    ])?;
    Ok(())
}
