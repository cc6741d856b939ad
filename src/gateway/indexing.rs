//! Keeps the index of texts up with the mail, at leisure: see [`crate::store::fulltext`].

use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;

use crate::serve::Stop;
use crate::store::indexer::Indexer;
use crate::store::{Change, Store};

/// Mail comes in bursts, and so do the questions of whoever opens a mailbox: this long others have to want next to nothing before a turn begins.
const QUIET: Duration = Duration::from_secs(1);
/// Reads of the store in that time that are next to nothing. The gateway itself looks at something now and then; a list of mail takes hundreds.
const FEW_READS: u64 = 20;
/// A burst that lasts longer than this shares the machine.
const BURST: Duration = Duration::from_secs(20);
/// After a failure, which is nearly always a full disk.
const RETRY: Duration = Duration::from_secs(60);

/// Indexes whatever is not yet, until `stop`. While others write or read, it waits; in a long burst, it rests after each turn for as long as
/// the turn took.
pub async fn run(store: Store, mut stop: Stop) {
    let mut others = Others::new(store.clone());
    let mut indexer = Indexer::new(store);
    // When what waits is to wait no longer.
    let mut burst_over = Instant::now() + BURST;
    let work = async {
        others.until_quiet(burst_over).await;
        loop {
            let began = Instant::now();
            match indexer.index_some().await {
                Ok(0) => {
                    others.until_mail().await;
                    burst_over = Instant::now() + BURST;
                    others.until_quiet(burst_over).await;
                }
                Ok(_) if !others.were_busy() => {}
                Ok(_) if Instant::now() < burst_over => others.until_quiet(burst_over).await,
                Ok(_) => tokio::time::sleep(began.elapsed()).await,
                Err(error) => {
                    tracing::error!(%error, "mail can't be indexed: searches take longer until it can");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = stop.requested() => {}
        () = work => {}
    }
}

/// Whoever else uses the store.
struct Others {
    store: Store,
    changes: Receiver<Change>,
    /// As they were counted at the last look.
    reads: u64,
}

impl Others {
    fn new(store: Store) -> Others {
        Others { changes: store.changes(), reads: store.reads(), store }
    }

    /// Whether anybody wrote or read since the last look.
    fn were_busy(&mut self) -> bool {
        let mut wrote = false;
        loop {
            match self.changes.try_recv() {
                Ok(_) | Err(TryRecvError::Lagged(_)) => wrote = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return self.read_much() || wrote,
            }
        }
    }

    fn read_much(&mut self) -> bool {
        let before = std::mem::replace(&mut self.reads, self.store.reads());
        self.reads - before > FEW_READS
    }

    async fn until_quiet(&mut self, at_last: Instant) {
        let quiet = async {
            loop {
                match tokio::time::timeout(QUIET, self.changes.recv()).await {
                    Ok(Err(RecvError::Closed)) => return std::future::pending().await,
                    Err(_) if !self.read_much() => return,
                    _ => {}
                }
            }
        };
        // That it took too long is as good.
        let _ = tokio::time::timeout_at(at_last, quiet).await;
    }

    async fn until_mail(&mut self) {
        loop {
            match self.changes.recv().await {
                Ok(Change::Folder(_) | Change::Anything) | Err(RecvError::Lagged(_)) => return,
                Ok(_) => {}
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}
