//! The one thread that writes. Jobs come through a channel, each runs under a savepoint of its own, and one commit serves all that
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
    /// Inside a savepoint.
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

/// Called after the commit, or with why there was none.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Does the work, or learns that there is no transaction to do it in. Says whether to keep what it did.
type Run = Box<dyn FnOnce(Result<&mut Work<'_>, StoreError>) -> (bool, Reply) + Send>;

/// Work for the writer.
pub struct Job {
    run: Run,
    bytes: usize,
}

impl Job {
    /// A job and where its result comes out. `bytes` is about how much it writes.
    pub fn new<T: Send + 'static>(
        bytes: usize,
        work: impl FnOnce(&mut Work<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> (Job, oneshot::Receiver<Result<T, StoreError>>) {
        let (sender, receiver) = oneshot::channel();
        let run: Run = Box::new(move |context| {
            let result = context.and_then(|context| {
                catch_unwind(AssertUnwindSafe(|| work(context)))
                    .unwrap_or_else(|_| Err(StoreError::Database("a job of the writer panicked".into())))
            });
            let keep = result.is_ok();
            // Whoever asked may have gone away meanwhile.
            let reply: Reply = Box::new(move |committed| drop(sender.send(committed.and(result))));
            (keep, reply)
        });
        (Job { run, bytes }, receiver)
    }

    fn refuse(self, error: StoreError) {
        let (_, reply) = (self.run)(Err(error.clone()));
        reply(Err(error));
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
fn batch(connection: &Connection, first: Job, jobs: &Receiver<Job>, published: &broadcast::Sender<Change>) -> usize {
    if let Err(error) = step(connection, "BEGIN IMMEDIATE") {
        first.refuse(error);
        return 0;
    }
    let (mut replies, mut changes, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut outcome = Ok(());
    let mut next = Some(first);
    while let Some(job) = next.take() {
        bytes += job.bytes;
        let (reply, result) = one(connection, job, &mut changes);
        replies.push(reply);
        failpoint("job");
        // A full disk may have rolled everything back, the jobs before this one as well.
        outcome = result.and(if connection.is_autocommit() { Err(StoreError::Full) } else { Ok(()) });
        if outcome.is_ok() && replies.len() < BATCH_JOBS && bytes < BATCH_BYTES {
            next = jobs.try_recv().ok();
        }
    }
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
    for reply in replies {
        reply(committed.clone());
    }
    bytes
}

/// Runs one job under its savepoint. An error is about the transaction as a whole.
fn one(connection: &Connection, job: Job, changes: &mut Vec<Change>) -> (Reply, Result<(), StoreError>) {
    if let Err(error) = step(connection, "SAVEPOINT job") {
        let (_, reply) = (job.run)(Err(error.clone()));
        return (reply, Err(error));
    }
    let mut work = Work { connection, changes: Vec::new() };
    let (keep, reply) = (job.run)(Ok(&mut work));
    if keep {
        changes.append(&mut work.changes);
        return (reply, step(connection, "RELEASE job"));
    }
    if connection.is_autocommit() {
        return (reply, Err(StoreError::Full));
    }
    (reply, step(connection, "ROLLBACK TO job").and_then(|()| step(connection, "RELEASE job")))
}

fn step(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
