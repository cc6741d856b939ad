//! The one thread that writes. Jobs come through a channel, one that fails takes back only its own work, and one commit serves all that
//! have come in meanwhile: a batch makes `synchronous = FULL` free.

use super::checkpoint::Checkpoints;
use super::{Change, StoreError, failpoint::failpoint};
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::sync::{broadcast, oneshot};

/// Jobs of one commit: enough to make the sync cheap, few enough that the first one's caller does not wait long.
const BATCH_JOBS: usize = 64;

/// Bytes of one commit: keeps the log short of a checkpoint in the middle of a batch.
const BATCH_BYTES: usize = 16 << 20;

/// How often another process's commits are looked for, while somebody here wants to know.
const POLL: Duration = Duration::from_millis(250);

/// What a job works with: the connection, inside a transaction, and what is to be published after the commit.
pub struct Work<'c> {
    /// Inside a transaction.
    pub connection: &'c Connection,
    changes: Vec<Change>,
}

impl Work<'_> {
    /// Says after the commit that this changed.
    pub fn changed(&mut self, change: Change) {
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }
}

impl std::ops::Deref for Work<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// What a job is told to do.
enum Turn<'w, 'c> {
    /// Its work, or to learn that there is no transaction to do it in. Says whether to keep what it did.
    Work(Result<&'w mut Work<'c>, StoreError>),
    /// After the commit, or with why there was none: to tell whoever asked what its last work brought.
    Reply(Result<(), StoreError>),
}

/// Work for the writer. It may have to be done twice, if another job of its batch took everything back.
pub struct Job {
    turn: Box<dyn FnMut(Turn<'_, '_>) -> bool + Send>,
    bytes: usize,
}

impl Job {
    /// A job and where its result comes out. `bytes` is about how much it writes.
    pub fn new<T: Send + 'static>(
        bytes: usize,
        work: impl Fn(&mut Work<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> (Job, oneshot::Receiver<Result<T, StoreError>>) {
        let (sender, receiver) = oneshot::channel();
        let (mut sender, mut result) = (Some(sender), None);
        let turn = move |turn: Turn<'_, '_>| match turn {
            Turn::Work(context) => {
                let done = context.and_then(|context| {
                    catch_unwind(AssertUnwindSafe(|| work(context)))
                        .unwrap_or_else(|_| Err(StoreError::Database("a job of the writer panicked".into())))
                });
                result.insert(done).is_ok()
            }
            Turn::Reply(committed) => {
                // Whoever asked may have gone away meanwhile.
                match (sender.take(), result.take()) {
                    (Some(sender), Some(result)) => sender.send(committed.and(result)).is_ok(),
                    _ => false,
                }
            }
        };
        (Job { turn: Box::new(turn), bytes }, receiver)
    }

    fn work(&mut self, context: Result<&mut Work<'_>, StoreError>) -> bool {
        (self.turn)(Turn::Work(context))
    }

    fn reply(mut self, committed: Result<(), StoreError>) {
        (self.turn)(Turn::Reply(committed));
    }

    fn refuse(mut self, error: StoreError) {
        self.work(Err(error.clone()));
        self.reply(Err(error));
    }
}

/// Starts the thread. It ends when every sender is gone and all that was sent is done.
pub fn start(
    connection: Connection,
    changes: broadcast::Sender<Change>,
    mut checkpoints: Checkpoints,
) -> Result<(Sender<Job>, std::thread::JoinHandle<()>), std::io::Error> {
    let (sender, receiver) = channel();
    let thread =
        std::thread::Builder::new().name("store-writer".into()).spawn(move || run(&connection, &receiver, &changes, &mut checkpoints))?;
    Ok((sender, thread))
}

fn run(connection: &Connection, jobs: &Receiver<Job>, changes: &broadcast::Sender<Change>, checkpoints: &mut Checkpoints) {
    let mut seen = data_version(connection);
    loop {
        match jobs.recv_timeout(POLL) {
            Ok(first) => checkpoints.wrote(batch(connection, first, jobs, changes)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = data_version(connection);
        if now != seen {
            seen = now;
            publish(changes, Change::Anything);
        }
    }
}

/// Changes when another process has committed; our own commits don't count.
fn data_version(connection: &Connection) -> i64 {
    connection.prepare_cached("PRAGMA data_version").and_then(|mut pragma| pragma.query_row([], |row| row.get(0))).unwrap_or(0)
}

fn publish(changes: &broadcast::Sender<Change>, change: Change) {
    // An error only means that nobody listens.
    let _ = changes.send(change);
}

/// Runs a job and whatever else has come in, and commits. About how many bytes that wrote.
///
/// A savepoint for each job would copy every page that it touches. There is none as long as all goes well; what one job that fails takes
/// back of the others is done again, each under a savepoint of its own.
fn batch(connection: &Connection, first: Job, jobs: &Receiver<Job>, published: &broadcast::Sender<Change>) -> usize {
    if let Err(error) = step(connection, "BEGIN IMMEDIATE") {
        first.refuse(error);
        return 0;
    }
    let (mut done, mut changes, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut next = Some(first);
    let mut kept = true;
    while let Some(mut job) = next.take() {
        bytes += job.bytes;
        let mut work = Work { connection, changes: Vec::new() };
        kept = job.work(Ok(&mut work));
        changes.append(&mut work.changes);
        done.push(job);
        failpoint("job");
        if kept && done.len() < BATCH_JOBS && bytes < BATCH_BYTES {
            next = jobs.try_recv().ok();
        }
    }
    let outcome = if kept { Ok(()) } else { again(connection, &mut done, &mut changes) };
    failpoint("before_commit");
    let committed = outcome.and_then(|()| step(connection, "COMMIT"));
    failpoint("after_commit");
    if committed.is_err() && !connection.is_autocommit() {
        // Nothing can be done if this fails too; the next BEGIN will say so.
        let _ = step(connection, "ROLLBACK");
    }
    // Before the replies: once a client has its answer, every other session can know what it changed.
    if committed.is_ok() {
        changes.sort_unstable();
        changes.dedup();
        changes.into_iter().for_each(|change| publish(published, change));
    }
    for job in done {
        job.reply(committed.clone());
    }
    bytes
}

/// Takes back what was done, and does it again but for what fails. An error is about the transaction as a whole.
fn again(connection: &Connection, jobs: &mut [Job], changes: &mut Vec<Change>) -> Result<(), StoreError> {
    changes.clear();
    // A full disk may have rolled everything back.
    if !connection.is_autocommit() {
        step(connection, "ROLLBACK")?;
    }
    step(connection, "BEGIN IMMEDIATE")?;
    if jobs.len() == 1 {
        return Ok(());
    }
    for job in jobs {
        step(connection, "SAVEPOINT job")?;
        let mut work = Work { connection, changes: Vec::new() };
        let kept = job.work(Ok(&mut work));
        if kept {
            changes.append(&mut work.changes);
        } else if connection.is_autocommit() {
            return Err(StoreError::Full);
        } else {
            step(connection, "ROLLBACK TO job")?;
        }
        step(connection, "RELEASE job")?;
    }
    Ok(())
}

fn step(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
