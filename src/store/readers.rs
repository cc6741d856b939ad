//! A few threads that read, each with its own connection and each read in its own snapshot: nobody waits for the writer.
//!
//! A read goes to the thread that was idle last: its connection knows the pages and statements best, and threads that are never needed
//! open none.

use super::{StoreError, database};
use rusqlite::{Connection, TransactionBehavior};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// More than an office computer's cores that are free for reading would gain nothing.
const THREADS: usize = 4;

type Read = Box<dyn FnOnce(Result<&mut Connection, StoreError>) + Send>;

/// The way to the readers. They end when it is gone.
pub struct Readers {
    desk: Arc<Desk>,
}

/// Where reads are handed to threads.
#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    /// One for each thread.
    called: [Condvar; THREADS],
}

#[derive(Default)]
struct State {
    /// Reads that found all threads busy.
    waiting: VecDeque<Read>,
    /// The threads that have nothing to do; the last one was busy last.
    idle: Vec<usize>,
    /// What each thread is to do next.
    given: [Option<Read>; THREADS],
    /// Reads that were handed in.
    count: u64,
    closed: bool,
}

impl Readers {
    /// Starts the threads; each opens its connection at its first read.
    pub fn start(dir: &Path) -> Result<(Readers, Vec<std::thread::JoinHandle<()>>), std::io::Error> {
        let desk = Arc::new(Desk::default());
        let threads = (0..THREADS)
            .map(|thread| {
                let (dir, desk) = (dir.to_owned(), desk.clone());
                std::thread::Builder::new().name("store-reader".into()).spawn(move || run(&dir, &desk, thread))
            })
            .collect::<Result<_, _>>()?;
        Ok((Readers { desk }, threads))
    }

    /// Reads in a snapshot. It begins at once: the future only waits for it.
    pub fn read<T, W>(&self, work: W) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            // A caller that was cancelled needs no answer.
            if !sender.is_closed() {
                let _ = sender.send(connection.and_then(|connection| in_snapshot(connection, work)));
            }
        });
        self.desk.hand_in(read);
        async { receiver.await.unwrap_or(Err(StoreError::Closed)) }
    }

    /// How many reads have begun or wait, ever: for whoever gives way to others.
    pub fn count(&self) -> u64 {
        self.desk.lock().count
    }
}

fn in_snapshot<T>(connection: &mut Connection, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let result = catch_unwind(AssertUnwindSafe(|| work(&snapshot)))
        .unwrap_or_else(|_| Err(StoreError::Database("a read of the store panicked".into())));
    snapshot.finish()?;
    result
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.desk.lock().closed = true;
        for thread in &self.desk.called {
            thread.notify_one();
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_in(&self, read: Read) {
        let mut state = self.lock();
        state.count += 1;
        match state.idle.pop() {
            Some(thread) => {
                state.given[thread] = Some(read);
                self.called[thread].notify_one();
            }
            None => state.waiting.push_back(read),
        }
    }

    /// What this thread is to do next; `None` when nothing will come any more.
    fn next(&self, thread: usize) -> Option<Read> {
        let mut state = self.lock();
        if let Some(read) = state.waiting.pop_front() {
            return Some(read);
        }
        state.idle.push(thread);
        let nothing = |state: &mut State| state.given[thread].is_none() && !state.closed;
        let mut state = self.called[thread].wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner);
        state.given[thread].take()
    }
}

fn run(dir: &Path, desk: &Desk, thread: usize) {
    let mut connection: Option<Connection> = None;
    while let Some(read) = desk.next(thread) {
        match &mut connection {
            Some(connection) => read(Ok(connection)),
            None => match database::open_reader(dir) {
                Ok(opened) => read(Ok(connection.insert(opened))),
                Err(error) => read(Err(error)),
            },
        }
    }
}
