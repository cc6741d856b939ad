//! Small named texts, and the last configuration that loaded.

use super::{SMALL, Store, StoreError, password};
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;
use std::path::PathBuf;

impl Store {
    /// A small text by name.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.read(move |connection| get(connection, &name)).await
    }

    /// Sets it, or removes it.
    pub async fn setting_set(&self, name: &str, value: Option<&str>) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.map(str::to_owned));
        self.write(SMALL, move |work| set(work, &name, value.as_deref())).await
    }

    /// The key of the marks on mail that is sent on; made once, and kept as long as the store.
    pub async fn mark_key(&self) -> Result<Vec<u8>, StoreError> {
        if let Some(key) = self.0.mark_key.get() {
            return Ok(key.clone());
        }
        const NAME: &str = "mark key";
        let key = match self.setting(NAME).await? {
            Some(key) => key,
            None => {
                let new: String = password::random::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect();
                self.write(SMALL, move |work| {
                    // Two may find it missing at once; the first one's holds.
                    let key = get(work, NAME)?.unwrap_or_else(|| new.clone());
                    set(work, NAME, Some(&key))?;
                    Ok(key)
                })
                .await?
            }
        };
        Ok(self.0.mark_key.get_or_init(|| key.into_bytes()).clone())
    }

    /// The files of the last configuration that loaded, with their texts; empty if none ever did.
    pub async fn last_good(&self) -> Result<BTreeMap<PathBuf, String>, StoreError> {
        self.read(last_good).await
    }

    /// Remembers the files of a configuration that loaded. Writes nothing if they are the same as before.
    pub async fn last_good_set(&self, files: &BTreeMap<PathBuf, String>) -> Result<(), StoreError> {
        let files = files.clone();
        if self.last_good().await? == files {
            return Ok(());
        }
        self.write(SMALL, move |work| {
            work.execute("DELETE FROM last_good", [])?;
            let mut insert = work.prepare_cached("INSERT INTO last_good (path, text) VALUES (?1, ?2)")?;
            for (path, text) in &files {
                let Some(path) = path.to_str() else {
                    return Err(StoreError::Conflict(format!("the file name {} is not UTF-8", path.display())));
                };
                insert.execute([path, text])?;
            }
            Ok(())
        })
        .await
    }
}

fn last_good(connection: &Connection) -> Result<BTreeMap<PathBuf, String>, StoreError> {
    let mut select = connection.prepare_cached("SELECT path, text FROM last_good")?;
    let files = select.query_map([], |row| Ok((PathBuf::from(row.get::<_, String>(0)?), row.get(1)?)))?;
    Ok(files.collect::<Result<_, _>>()?)
}

/// A small text by name.
pub fn get(connection: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    Ok(connection.prepare_cached("SELECT value FROM setting WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()?)
}

/// Sets it, or removes it, inside a transaction.
pub fn set(connection: &Connection, name: &str, value: Option<&str>) -> Result<(), StoreError> {
    match value {
        Some(value) => connection.prepare_cached("INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)")?.execute([name, value])?,
        None => connection.prepare_cached("DELETE FROM setting WHERE name = ?1")?.execute([name])?,
    };
    Ok(())
}
