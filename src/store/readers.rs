//! A few threads that read, each with its own connection and each read in its own snapshot: nobody waits for the writer.

use super::{StoreError, database};
use rusqlite::{Connection, TransactionBehavior};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// More than an office computer's cores that are free for reading would gain nothing.
const THREADS: usize = 4;

type Read = Box<dyn FnOnce(Result<&mut Connection, StoreError>) + Send>;

/// The way to the readers. They end when it is gone.
pub struct Readers {
    reads: Sender<Read>,
}

impl Readers {
    /// Starts the threads; each opens its connection at its first read.
    pub fn start(dir: &Path) -> Result<(Readers, Vec<std::thread::JoinHandle<()>>), std::io::Error> {
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = (0..THREADS)
            .map(|_| {
                let (dir, receiver) = (dir.to_owned(), receiver.clone());
                std::thread::Builder::new().name("store-reader".into()).spawn(move || run(&dir, &receiver))
            })
            .collect::<Result<_, _>>()?;
        Ok((Readers { reads: sender }, threads))
    }

    /// Reads in a snapshot.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            // A caller that was cancelled needs no answer.
            if !sender.is_closed() {
                let _ = sender.send(connection.and_then(|connection| in_snapshot(connection, work)));
            }
        });
        self.reads.send(read).map_err(|_| StoreError::Closed)?;
        receiver.await.map_err(|_| StoreError::Closed)?
    }
}

fn in_snapshot<T>(connection: &mut Connection, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let result = catch_unwind(AssertUnwindSafe(|| work(&snapshot)))
        .unwrap_or_else(|_| Err(StoreError::Database("a read of the store panicked".into())));
    snapshot.finish()?;
    result
}

fn run(dir: &Path, reads: &Mutex<Receiver<Read>>) {
    let mut connection: Option<Connection> = None;
    loop {
        let next = reads.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(read) = next else { return };
        match &mut connection {
            Some(connection) => read(Ok(connection)),
            None => match database::open_reader(dir) {
                Ok(opened) => read(Ok(connection.insert(opened))),
                Err(error) => read(Err(error)),
            },
        }
    }
}
