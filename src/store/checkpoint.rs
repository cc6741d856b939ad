//! Brings the log into the database file beside the writer, which would otherwise stand still for each checkpoint.

use super::database;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// What is written between two checkpoints: enough for pages that change often to be brought over once, little enough for the last
/// connection that closes to have hardly anything left to do.
const INTERVAL: usize = 8 << 20;

/// Tells the thread when it is time.
pub struct Checkpoints {
    due: SyncSender<()>,
    written: usize,
}

impl Checkpoints {
    /// Starts the thread. It ends when this is gone, and opens its connection when it is first needed.
    pub fn start(dir: &Path) -> Result<(Checkpoints, JoinHandle<()>), std::io::Error> {
        // One that is due while another is under way is enough.
        let (due, receiver) = sync_channel(1);
        let dir = dir.to_owned();
        let thread = std::thread::Builder::new().name("store-checkpoint".into()).spawn(move || run(dir, &receiver))?;
        Ok((Checkpoints { due, written: 0 }, thread))
    }

    /// About so many bytes have been committed.
    pub fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written >= INTERVAL {
            self.written = 0;
            // One that is due already will see these bytes too.
            let _ = self.due.try_send(());
        }
    }
}

fn run(dir: PathBuf, due: &Receiver<()>) {
    let mut connection: Option<Connection> = None;
    while due.recv().is_ok() {
        if connection.is_none() {
            connection = database::connect(&dir).ok();
        }
        // What fails here, a full disk above all, fails for the writer as well, and that one tells.
        let checkpoint = |connection: &Connection| connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        let _ = connection.as_ref().map(checkpoint);
    }
}
