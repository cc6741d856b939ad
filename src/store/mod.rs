//! The store: one SQLite database that holds mail, users, ledger, journal, tray, queue and secrets. Alone names rusqlite; names no protocol.
//!
//! One writer thread groups what comes in into commits (synchronous = FULL). After the commit its [`Change`]s are published, and then the
//! future of whoever asked for them ends. A few read connections serve everything else, each read in its own
//! snapshot; one more connection brings the log into the file ([`checkpoint`]). Big content goes in as unreferenced chunks first and becomes visible in one transaction at the end, so that a slow
//! download never holds the writer.
//!
//! | file | holds |
//! |---|---|
//! | [`arrival`] | what becomes true when a message comes in: one transaction |
//! | [`content`] | originals, their facts, their chunks, and the sweep of what nobody refers to |
//! | [`accounts`], [`password`] | users and shared mailboxes; argon2id and SCRAM keys |
//! | [`absence`] | who is away, and who gets copies |
//! | [`folders`], [`messages`], [`search`], [`fulltext`], [`maildrop`] | what clients read |
//! | [`indexer`], `original` | how the full text gets its index |
//! | [`annotations`] | notes that clients hang on folders and on the server |
//! | [`ledger`], [`reconciliation`], [`journal`], [`tray`], `tray_folder`, [`remap`], [`queue`], [`trace`] | what became of mail, on its way in and out |
//! | [`backup`] | copies, and their way back |
//! | [`housekeeping`] | what is forgotten with time, and the sweep |
//! | [`secrets`], [`settings`], [`requests`], [`collectors`] | small things that processes share |
//!
//! Times are milliseconds since 1970 everywhere.

pub mod absence;
pub mod accounts;
pub mod annotations;
pub mod arrival;
pub mod backup;
mod checkpoint;
pub mod collectors;
pub mod content;
mod database;
pub mod failpoint;
pub mod folders;
pub mod fulltext;
mod handed_on;
pub mod housekeeping;
pub mod indexer;
pub mod journal;
pub mod ledger;
pub mod locks;
pub mod maildrop;
pub mod messages;
mod orders;
mod original;
pub mod password;
pub mod queue;
mod readers;
pub mod reconciliation;
pub mod remap;
pub mod requests;
pub mod search;
pub mod secrets;
pub mod sent_copies;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod tray;
mod tray_folder;
mod writer;

use checkpoint::Checkpoints;
use readers::Readers;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, broadcast, oneshot};
use writer::{Job, Work};

pub use accounts::{Account, AccountId};
pub use arrival::{Arrival, Arrived, Deposit, NewContent};
pub use content::{ContentFacts, ContentId, Spool};
pub use folders::{Folder, FolderId};

/// A handle; clones share the writer and the readers. The last one to go closes the database.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    /// Gone only while the store closes.
    writer: Option<Sender<Job>>,
    readers: Option<Readers>,
    threads: Vec<JoinHandle<()>>,
    changes: broadcast::Sender<Change>,
    hashing: Semaphore,
    secret_key: OnceLock<secrets::Key>,
    mark_key: OnceLock<Vec<u8>>,
    away: absence::Known,
    _presence: database::Presence,
}

/// Why the store could not do it. To a peer all of these but [`StoreError::OverQuota`] are temporary: the mail stays where it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// SQLITE_FULL or ENOSPC.
    #[error("the disk that holds the store is full")]
    Full,
    /// Named thing isn't there.
    #[error("{0}")]
    NotFound(String),
    /// Named thing is there already, or refuses.
    #[error("{0}")]
    Conflict(String),
    /// APPEND or COPY into a mailbox that is full. Deliveries never see it.
    #[error("the mailbox is full")]
    OverQuota,
    /// The store can't be used by this program or this user; says what to do.
    #[error("{0}")]
    Refused(String),
    /// SQLite said something else.
    #[error("the store failed: {0}")]
    Database(String),
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

/// Bits of a message's system flags. Keywords are a second set of bits, named by [`Folder::keywords`].
pub mod flags {
    /// `\Seen`
    pub const SEEN: u32 = 1;
    /// `\Answered`
    pub const ANSWERED: u32 = 2;
    /// `\Flagged`
    pub const FLAGGED: u32 = 4;
    /// `\Deleted`
    pub const DELETED: u32 = 8;
    /// `\Draft`
    pub const DRAFT: u32 = 16;
    /// All of them.
    pub const ALL: u32 = 31;
}

/// Published after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Messages, flags or counters of a folder.
    Folder(FolderId),
    /// The list of folders of an account.
    Folders(AccountId),
    /// The queue has something new or newly due.
    Queue,
    /// The tray.
    Tray,
    /// Notes on folders or on the server.
    Annotations,
    /// A request from a command line waits, or was answered.
    Request,
    /// Users, passwords or secrets.
    Users,
    /// Another process wrote: look at everything.
    Anything,
}

/// Changes that a slow listener may lag behind before it is told to look at everything.
const CHANGES: usize = 1024;

/// Times a job's weight for the writer's batches if it writes a few rows.
const SMALL: usize = 1024;

impl Store {
    /// Opens or makes the store in `dir` (0700, files 0600). Migrates an older one after a backup; refuses a newer one. Sweeps what a
    /// crash left if nobody else has the store open.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        Self::open_as(dir, database::MIGRATIONS)
    }

    fn open_as(dir: &Path, migrations: &[&str]) -> Result<Store, StoreError> {
        let directory = std::path::absolute(dir).map_err(|error| database::cannot(dir, error))?;
        let (connection, presence) = database::open(&directory, migrations)?;
        if presence.alone {
            content::sweep_after_crash(&connection)?;
        }
        let changes = broadcast::Sender::new(CHANGES);
        let away = absence::Known::new(changes.subscribe());
        let no_thread = |error: std::io::Error| StoreError::Database(format!("no thread could be started: {error}"));
        let (checkpoints, checkpoint_thread) = Checkpoints::start(&directory).map_err(no_thread)?;
        let (writer, writer_thread) = writer::start(connection, changes.clone(), checkpoints).map_err(no_thread)?;
        let (readers, mut threads) = Readers::start(&directory).map_err(no_thread)?;
        threads.extend([writer_thread, checkpoint_thread]);
        Ok(Store(Arc::new(Inner {
            directory,
            writer: Some(writer),
            readers: Some(readers),
            threads,
            changes,
            hashing: Semaphore::new(password::HASHES_AT_A_TIME),
            secret_key: OnceLock::new(),
            mark_key: OnceLock::new(),
            away,
            _presence: presence,
        })))
    }

    /// The store's directory.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Bytes that the disk still has for us.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        fs4::available_space(&self.0.directory).map_err(|error| database::cannot(&self.0.directory, error))
    }

    /// What changed, after each commit; commits of other processes come as [`Change::Anything`] within a quarter of a second. Who lags
    /// behind takes that as [`Change::Anything`] as well.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    /// Reads in one snapshot. It begins at once: who has something else to do until it is there waits later.
    fn read<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let underway = self.0.readers.as_ref().map(|readers| readers.read(work));
        async { underway.ok_or(StoreError::Closed)?.await }
    }

    /// How many reads were asked for, ever.
    pub fn reads(&self) -> u64 {
        self.0.readers.as_ref().map_or(0, Readers::count)
    }

    /// Writes; ends after the commit. An error takes back what this job did, and nothing else.
    async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl Fn(&mut Work<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.send(bytes, work).await.unwrap_or(Err(StoreError::Closed))
    }

    /// Hands a job to the writer at once, so that several can share a commit.
    fn send<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl Fn(&mut Work<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, StoreError>> {
        let (job, result) = Job::new(bytes, work);
        if let Some(writer) = &self.0.writer {
            // A closed channel drops the job, and its receiver says so.
            let _ = writer.send(job);
        }
        result
    }
}

impl Drop for Inner {
    /// Waits for the writer: whoever drops the last handle may remove or reopen the directory.
    fn drop(&mut self) {
        self.writer = None;
        self.readers = None;
        for thread in self.threads.drain(..) {
            // A reader may hold the last handle in a closure of its own.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        /// SQLITE_IOERR_SHMSIZE: the shared memory could not grow, which happens on a full disk before anything else.
        const SHMSIZE: i32 = 4874;
        match error.sqlite_error() {
            Some(inner) if inner.code == rusqlite::ErrorCode::DiskFull || inner.extended_code == SHMSIZE => StoreError::Full,
            Some(inner) if inner.code == rusqlite::ErrorCode::DatabaseBusy => {
                StoreError::Database("another process has held the database for too long".into())
            }
            _ => StoreError::Database(error.to_string()),
        }
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// A day in milliseconds.
const DAY: i64 = 24 * 60 * 60 * 1000;
