//! Copies of the store, made while it is in use, and their way back.
//!
//! A copy holds the database as of one moment, the office's own certificate authority, and the key of the stored secrets only if that is
//! wanted: whoever has a copy without it has no passwords.

use super::{Store, StoreError, database, secrets};
use crate::service::platform;
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The office's certificate authority, without which every mail program would have to trust a new one.
const TLS: &str = "tls";

/// Clients may have seen mail that came after the copy was made. What comes from now on gets numbers that none of that mail had; more
/// than a million came to one folder only if the copy is older than anybody keeps one.
const SKIPPED_UIDS: u32 = 1_000_000;

/// Likewise for the counter of changes (RFC 7162), of which one message uses up many.
const SKIPPED_CHANGES: i64 = 1 << 40;

/// Likewise for the numbers that EMAILID is made of (RFC 8474 §5.1), of which every mail to anybody uses up some.
const SKIPPED_CONTENTS: i64 = 1 << 24;

impl Store {
    /// Writes a copy as of now into `dir`, which must be new or empty. Bytes of the database.
    ///
    /// Readers and the writer go on meanwhile; the log of the database grows until the copy is done.
    pub async fn back_up(&self, dir: &Path, with_key: bool) -> Result<u64, StoreError> {
        let key = if with_key { self.secret_key_bytes()? } else { None };
        let (store, dir) = (self.directory().to_owned(), dir.to_owned());
        let copy = move || {
            require_empty(&dir)?;
            platform::private_directory(&dir).map_err(|error| database::cannot(&dir, error))?;
            let bytes = database::copy_to(&store, &dir.join(database::FILE))?;
            copy_files(&store.join(TLS), &dir.join(TLS))?;
            if let Some(key) = key {
                let path = dir.join(secrets::KEY_FILE);
                platform::write_private(&path, &key).map_err(|error| database::cannot(&path, error))?;
            }
            Ok(bytes)
        };
        // Root's copy lies where root says and is root's, although root acts as the owner of the store.
        let copied = tokio::task::spawn_blocking(|| platform::with_own_rights(copy));
        copied.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// Makes the store in `dir` what the copy in `from` says. Refused where there is a store already, and if the copy is damaged or newer
/// than this program. Whether the key of the secrets came with it.
pub fn restore(from: &Path, dir: &Path) -> Result<bool, StoreError> {
    let source = from.join(database::FILE);
    let read = |path: &Path| platform::with_own_rights(|| File::open(path));
    platform::act_as_owner(dir).map_err(StoreError::Refused)?;
    let mut database = read(&source).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::NotFound(format!("{} holds no backup: there is no {}", from.display(), database::FILE)),
        _ => database::cannot(&source, error),
    })?;
    let target = dir.join(database::FILE);
    if target.exists() {
        return Err(StoreError::Conflict(format!("there is a store in {} already, and nothing is put over it", dir.display())));
    }
    platform::private_directory(dir).map_err(|error| database::cannot(dir, error))?;
    let new = dir.join("mailroom.db.restoring");
    let mut copied = || -> io::Result<()> {
        let mut file = platform::private_file(&new)?;
        file.set_len(0)?;
        io::copy(&mut database, &mut file)?;
        file.sync_all()
    };
    copied().map_err(|error| database::cannot(&new, error))?;
    if let Err(error) = bring_forward(&new, from) {
        // What is damaged must not be taken for a store.
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    copy_files(&from.join(TLS), &dir.join(TLS))?;
    let key = from.join(secrets::KEY_FILE);
    let with_key = match platform::with_own_rights(|| std::fs::read(&key)) {
        Ok(bytes) => {
            let place = dir.join(secrets::KEY_FILE);
            let sealed = platform::seal(&bytes).and_then(|sealed| platform::write_private(&place, &sealed));
            sealed.map_err(|error| database::cannot(&place, error))?;
            true
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(database::cannot(&key, error)),
    };
    std::fs::rename(&new, &target).map_err(|error| database::cannot(&target, error))?;
    Ok(with_key)
}

/// Checks a copy from end to end, and moves its counters past whatever clients may have seen since it was made.
fn bring_forward(file: &Path, from: &Path) -> Result<(), StoreError> {
    let damaged = |what: &dyn std::fmt::Display| StoreError::Refused(format!("the backup in {} is damaged: {what}", from.display()));
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    database::require_known_version(&connection, from).map_err(|error| match error {
        StoreError::Database(what) => damaged(&what),
        error => error,
    })?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|error| damaged(&error))?;
    if verdict != "ok" {
        return Err(damaged(&verdict));
    }
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL;
         BEGIN IMMEDIATE;
         DELETE FROM vanished;
         UPDATE folder SET uidnext = uidnext + {SKIPPED_UIDS}, modseq = modseq + {SKIPPED_CHANGES}, vanished_from = modseq + {SKIPPED_CHANGES};
         UPDATE message SET modseq = (SELECT modseq FROM folder WHERE folder.id = message.id >> 32);
         INSERT INTO sqlite_sequence (name, seq)
             SELECT column1, 0 FROM (VALUES ('content'), ('prefix')) WHERE column1 NOT IN (SELECT name FROM sqlite_sequence);
         UPDATE sqlite_sequence SET seq = seq + {SKIPPED_CONTENTS} WHERE name IN ('content', 'prefix');
         COMMIT;"
    ))?;
    Ok(())
}

fn require_empty(dir: &Path) -> Result<(), StoreError> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(StoreError::Conflict(format!("{} is not empty: name a new directory for each backup", dir.display()))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(database::cannot(dir, error)),
    }
}

/// The files of a directory, if there is one; not what lies deeper.
fn copy_files(from: &Path, to: &Path) -> Result<(), StoreError> {
    let entries: Vec<PathBuf> = match platform::with_own_rights(|| std::fs::read_dir(from)) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect(),
        Err(_) => return Ok(()),
    };
    platform::private_directory(to).map_err(|error| database::cannot(to, error))?;
    for path in entries {
        let Some(name) = path.file_name() else { continue };
        let bytes = platform::with_own_rights(|| std::fs::read(&path)).map_err(|error| database::cannot(&path, error))?;
        let place = to.join(name);
        platform::write_private(&place, &bytes).map_err(|error| database::cannot(&place, error))?;
    }
    Ok(())
}
