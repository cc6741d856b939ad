//! The database file: making it, opening connections to it, migrating it.

use super::StoreError;
use crate::service::platform;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database's name in the store's directory.
pub const FILE: &str = "mailroom.db";

/// Each brings the schema one version further; the first makes it. Never changed once released, only added to.
pub const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("schema-2.sql"),
    include_str!("schema-3.sql"),
    include_str!("schema-4.sql"),
    include_str!("schema-5.sql"),
    include_str!("schema-6.sql"),
    include_str!("schema-7.sql"),
    include_str!("schema-8.sql"),
    include_str!("schema-9.sql"),
    include_str!("schema-10.sql"),
    include_str!("schema-11.sql"),
    include_str!("schema-12.sql"),
    include_str!("schema-13.sql"),
    include_str!("schema-14.sql"),
    include_str!("schema-15.sql"),
];

/// What the name of the copy begins with that is made before a migration; the version that it has follows.
const BEFORE: &str = "before-migration-";

/// "Mroo": tells our file from any other SQLite database (`file` shows it).
const APPLICATION_ID: i32 = 0x4d72_6f6f;

/// A mail of average size is one to three pages of overflow, and a row of a wide table fits into one. At 16K, a flag change would write
/// twice as much to the log; at 4K, reading a mail of 20 KB follows five pointers.
const PAGE_SIZE: u32 = 8192;

/// Pages of log at which the writer itself brings what is left of them into the file, 16 MB: the log can't begin anew while both write
/// ([`super::checkpoint`]), and a backlog of mail has no pauses. A longer log costs the system memory, and time when it goes: a fetch
/// of 58 MB took a twelfth more with 128 MB.
const CHECKPOINT_PAGES: u32 = 2048;

/// The log shrinks to this again after a burst.
const LOG_LIMIT: u32 = 32 << 20;

/// Page cache of the writer, in KiB. It sees every tree of the schema with each delivery.
const WRITER_CACHE_KIB: i32 = 8192;

/// Page cache of one reader, in KiB. The operating system caches the file as well.
const READER_CACHE_KIB: i32 = 2048;

/// Another process (a command line) may hold the write lock for one commit; a big one on a slow disk takes seconds.
const BUSY: Duration = Duration::from_secs(30);

/// Prepared statements kept by each connection; the writer uses about a hundred.
const STATEMENTS: usize = 256;

/// Proof that the store is open here. While nobody else holds one, what no process can be working on may be swept and migrated.
pub struct Presence {
    _file: File,
    /// Nobody else had the store open when we came.
    pub alone: bool,
}

/// Opens or makes the database in `dir`, brought to the version of `migrations`. The connection is the writer's.
pub fn open(dir: &Path, migrations: &[&str]) -> Result<(Connection, Presence), StoreError> {
    platform::act_as_owner(dir).map_err(StoreError::Refused)?;
    require_a_store_or_room_for_one(dir)?;
    platform::private_directory(dir).map_err(|error| cannot(dir, error))?;
    let path = dir.join("store.lock");
    let mut file = platform::private_file(&path).map_err(|error| cannot(&path, error))?;
    let alone = file.try_lock().is_ok();
    if !alone {
        // Whoever makes or migrates the store holds the lock alone until that is done.
        file.lock_shared().map_err(|error| cannot(&path, error))?;
    }
    let connection = connect(dir)?;
    connection.execute_batch(&format!("PRAGMA cache_size = -{WRITER_CACHE_KIB};"))?;
    migrate(&connection, dir, migrations, alone)?;
    if alone {
        // Closed, not unlocked: Wine takes it for an error that only one of Windows' two kinds of locks was held.
        drop(file);
        file = platform::private_file(&path).map_err(|error| cannot(&path, error))?;
        file.lock_shared().map_err(|error| cannot(&path, error))?;
    }
    Ok((connection, Presence { _file: file, alone }))
}

/// A connection that can only read.
pub fn open_reader(dir: &Path) -> Result<Connection, StoreError> {
    let connection = connect(dir)?;
    connection.execute_batch(&format!("PRAGMA cache_size = -{READER_CACHE_KIB}; PRAGMA query_only = ON;"))?;
    Ok(connection)
}

/// A connection with the usual settings.
pub fn connect(dir: &Path) -> Result<Connection, StoreError> {
    let path = dir.join(FILE);
    // SQLite gives its log and shared memory the mode of the database.
    drop(platform::private_file(&path).map_err(|error| cannot(&path, error))?);
    let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    // A plan that depends on the values bound would be made anew for each of them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_SIZE};
         PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
         PRAGMA journal_size_limit = {LOG_LIMIT};"
    ))?;
    Ok(connection)
}

fn migrate(connection: &Connection, dir: &Path, migrations: &[&str], alone: bool) -> Result<(), StoreError> {
    let version: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == migrations.len() {
        return Ok(());
    }
    if version > migrations.len() {
        return Err(too_new(version, dir));
    }
    if !alone {
        return Err(StoreError::Conflict(format!(
            "the store in {} has to be migrated, and another mailroom has it open: stop that one first",
            dir.display()
        )));
    }
    if version > 0 {
        back_up(connection, &dir.join(format!("{BEFORE}{version}.db")))?;
        forget_older_copies(dir, version);
    }
    for (done, migration) in migrations.iter().enumerate().skip(version) {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {migration}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}; COMMIT;",
            done + 1
        ))?;
    }
    Ok(())
}

/// The copies of migrations before this one: each is as large as the store was. One that can't be removed does no harm.
fn forget_older_copies(dir: &Path, version: usize) {
    for older in 1..version {
        let copy = dir.join(format!("{BEFORE}{older}.db"));
        if let Err(error) = std::fs::remove_file(&copy)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(%error, copy = %copy.display(), "an old copy stays");
        }
    }
}

fn too_new(version: usize, dir: &Path) -> StoreError {
    StoreError::Refused(format!(
        "the store in {} was written by a newer Mailroom (its version is {version}, this program knows {}): install that one again, or \
         restore a backup from before the upgrade",
        dir.display(),
        MIGRATIONS.len()
    ))
}

/// Refuses what is no database of ours, or one of a newer program.
pub fn require_known_version(connection: &Connection, dir: &Path) -> Result<(), StoreError> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        _ if application != APPLICATION_ID || version == 0 => Err(StoreError::Refused(format!("{FILE} in {} is no store", dir.display()))),
        version if version > MIGRATIONS.len() => Err(too_new(version, dir)),
        _ => Ok(()),
    }
}

/// Copies the database of the store in `dir` as of now, over a connection of its own. Its bytes.
pub fn copy_to(dir: &Path, path: &Path) -> Result<u64, StoreError> {
    back_up(&connect(dir)?, path)?;
    let copy = File::open(path).and_then(|file| file.sync_all().and_then(|()| file.metadata()));
    copy.map(|about| about.len()).map_err(|error| cannot(path, error))
}

/// A copy as of now. One that was made by an attempt that failed is replaced.
fn back_up(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot(path, error)),
        _ => {}
    }
    drop(platform::private_file(path).map_err(|error| cannot(path, error))?);
    connection.execute("VACUUM INTO ?1", [path.to_string_lossy()])?;
    Ok(())
}

/// What may lie in a directory that is to become a store: what others make before the database, and what a file system puts there.
const HARMLESS: &[&str] = &["tls", "leases", "secret.key", "run.lock", "store.lock", "log", "mailroom.db.restoring", "lost+found"];

/// Guards against a slip in `storage.path`: closing somebody's home directory to others would be a nasty surprise.
fn require_a_store_or_room_for_one(dir: &Path) -> Result<(), StoreError> {
    // The system's own place is ours, whatever lies there: on Windows the configuration.
    if dir.join(FILE).exists() || platform::is_same(dir, &platform::system_store()) {
        return Ok(());
    }
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot(dir, error)),
    };
    let stranger = entries.flatten().map(|entry| entry.file_name()).find(|name| !HARMLESS.iter().any(|known| name == known));
    match stranger {
        None => Ok(()),
        Some(name) => Err(StoreError::Refused(format!(
            "{} holds no store, but {}: name an empty or new directory as storage.path",
            dir.display(),
            PathBuf::from(name).display()
        ))),
    }
}

pub fn cannot(path: &Path, error: std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full,
        std::io::ErrorKind::PermissionDenied => {
            StoreError::Refused(format!("{}: permission denied; {}", path.display(), platform::WHO_MAY))
        }
        _ => StoreError::Refused(format!("{}: {error}", path.display())),
    }
}
