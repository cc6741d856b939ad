//! Notes that clients hang on folders and on the server: named values, somebody's own or everybody's.
//!
//! Each change has a number, and what was taken away is remembered for a while without its value: so a session that is told "something
//! changed" finds out what.

use super::{AccountId, Change, FolderId, Store, StoreError, Work, folders, settings};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;

/// Bytes of one value: a note or a picture's address, not a file store.
pub const MAX_VALUE: usize = 64 * 1024;
/// Values of one folder, or of the server, that are one user's, or everybody's.
pub const MAX_ENTRIES: usize = 100;
/// Values taken away that are remembered there.
const MAX_GONE: usize = 100;

/// On what a note hangs, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hook {
    /// `None` is the server.
    pub folder: Option<FolderId>,
    /// `None` is everybody's.
    pub account: Option<AccountId>,
}

/// A note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// On what, and whose.
    pub hook: Hook,
    /// Its name, as first written; case does not tell names apart.
    pub entry: String,
    /// `None`: it was taken away.
    pub value: Option<Vec<u8>>,
    /// The number of its last change.
    pub change: i64,
}

impl Store {
    /// The notes at a place, by name.
    pub async fn annotations(&self, hook: Hook) -> Result<Vec<Annotation>, StoreError> {
        self.read(move |connection| {
            let sql = format!("{SELECT} WHERE ifnull(folder, 0) = ?1 AND ifnull(account, 0) = ?2 AND value IS NOT NULL ORDER BY entry");
            let mut select = connection.prepare_cached(&sql)?;
            Ok(select.query_map(key(hook), annotation)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Sets notes, or takes them away; all or none. The number of the change. [`StoreError::Conflict`] if they become too many,
    /// [`StoreError::NotFound`] if the folder is gone.
    pub async fn annotate(&self, notes: Vec<(Hook, String, Option<Vec<u8>>)>) -> Result<i64, StoreError> {
        let bytes = notes.iter().map(|(_, entry, value)| entry.len() + value.as_ref().map_or(0, Vec::len)).sum();
        self.write(bytes, move |work| annotate(work, &notes)).await
    }

    /// The number of the last change of any note.
    pub async fn annotations_now(&self) -> Result<i64, StoreError> {
        self.read(last).await
    }

    /// What changed after that number, values left out, oldest first: everybody's notes, and this user's own.
    pub async fn annotations_since(&self, change: i64, account: AccountId) -> Result<Vec<Annotation>, StoreError> {
        self.read(move |connection| {
            let sql = "SELECT folder, account, entry, NULL, change FROM annotation
                       WHERE change > ?1 AND (account IS NULL OR account = ?2) ORDER BY change, entry";
            let mut select = connection.prepare_cached(sql)?;
            Ok(select.query_map([change, account.0], annotation)?.collect::<Result<_, _>>()?)
        })
        .await
    }
}

const SELECT: &str = "SELECT folder, account, entry, value, change FROM annotation";
/// The setting that holds the number of the last change: it outlives what it counted.
const LAST: &str = "annotations";

fn annotate(work: &mut Work<'_>, notes: &[(Hook, String, Option<Vec<u8>>)]) -> Result<i64, StoreError> {
    let change = last(work)? + 1;
    settings::set(work, LAST, Some(&change.to_string()))?;
    let (mut hooks, mut annotated) = (Vec::new(), BTreeSet::new());
    for (hook, entry, value) in notes {
        if let Some(folder) = hook.folder {
            folders::require(work, folder)?;
            if note(work, *hook, entry)? != *value {
                annotated.insert(folder);
            }
        }
        let mut write = work.connection.prepare_cached(
            "INSERT INTO annotation (folder, account, entry, value, change) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (ifnull(folder, 0), ifnull(account, 0), entry) DO UPDATE SET value = excluded.value, change = excluded.change",
        )?;
        write.execute(params![hook.folder.map(|id| id.0), hook.account.map(|id| id.0), entry, value, change])?;
        if !hooks.contains(hook) {
            hooks.push(*hook);
        }
    }
    for hook in hooks {
        let (folder, account) = key(hook).into();
        let count = "SELECT count(value) FROM annotation WHERE ifnull(folder, 0) = ?1 AND ifnull(account, 0) = ?2";
        let entries: usize = work.prepare_cached(count)?.query_row([folder, account], |row| row.get(0))?;
        if entries > MAX_ENTRIES {
            return Err(StoreError::Conflict(format!("more than {MAX_ENTRIES} notes in one place are too many")));
        }
        let forget = "DELETE FROM annotation WHERE id IN (SELECT id FROM annotation
                      WHERE ifnull(folder, 0) = ?1 AND ifnull(account, 0) = ?2 AND value IS NULL ORDER BY change DESC LIMIT -1 OFFSET ?3)";
        work.prepare_cached(forget)?.execute(params![folder, account, MAX_GONE])?;
    }
    // RFC 7162 §3.2: who compares mod-sequences sees that there is something to fetch.
    for folder in annotated {
        work.prepare_cached("UPDATE folder SET modseq = modseq + 1 WHERE id = ?1")?.execute([folder.0])?;
        work.changed(Change::Folder(folder));
    }
    work.changed(Change::Annotations);
    Ok(change)
}

/// What a note says now.
fn note(connection: &Connection, hook: Hook, entry: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let (folder, account) = key(hook).into();
    let select = "SELECT value FROM annotation WHERE ifnull(folder, 0) = ?1 AND ifnull(account, 0) = ?2 AND entry = ?3";
    let value = connection.prepare_cached(select)?.query_row(params![folder, account, entry], |row| row.get(0)).optional()?;
    Ok(value.flatten())
}

fn last(connection: &Connection) -> Result<i64, StoreError> {
    Ok(settings::get(connection, LAST)?.and_then(|number| number.parse().ok()).unwrap_or(0))
}

/// As the index has it.
fn key(hook: Hook) -> [i64; 2] {
    [hook.folder.map_or(0, |id| id.0), hook.account.map_or(0, |id| id.0)]
}

fn annotation(row: &rusqlite::Row<'_>) -> rusqlite::Result<Annotation> {
    let hook = Hook { folder: row.get::<_, Option<i64>>(0)?.map(FolderId), account: row.get::<_, Option<i64>>(1)?.map(AccountId) };
    Ok(Annotation { hook, entry: row.get(2)?, value: row.get(3)?, change: row.get(4)? })
}
