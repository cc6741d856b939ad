//! Keeps the index of texts up with the mail, at leisure: see [`crate::store::fulltext`].

use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;

use crate::serve::Stop;
use crate::store::fulltext::Indexer;
use crate::store::{Change, Store};

/// Mail comes in bursts, and whoever brings it shall have the machine: this long nothing has to be written before a turn begins.
const QUIET: Duration = Duration::from_secs(1);
/// A burst that lasts longer than this shares the machine.
const BURST: Duration = Duration::from_secs(20);
/// After a failure, which is nearly always a full disk.
const RETRY: Duration = Duration::from_secs(60);

/// Indexes whatever is not yet, until `stop`. While others write, it waits; in a long burst, it rests after each turn for as long as the
/// turn took.
pub async fn run(store: Store, mut stop: Stop) {
    let mut changes = store.changes();
    let mut indexer = Indexer::new(store);
    // When what waits is to wait no longer.
    let mut burst_over = Instant::now();
    loop {
        let began = Instant::now();
        let pause = async {
            match indexer.index_some().await {
                Ok(0) => {
                    until_mail(&mut changes).await;
                    burst_over = Instant::now() + BURST;
                    until_quiet(&mut changes, burst_over).await;
                }
                Ok(_) if others_write(&mut changes) => {
                    let turn = began.elapsed();
                    if Instant::now() < burst_over {
                        until_quiet(&mut changes, burst_over).await;
                    } else {
                        tokio::time::sleep(turn).await;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "mail can't be indexed: searches take longer until it can");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        tokio::select! {
            () = stop.requested() => return,
            () = pause => (),
        }
    }
}

async fn until_quiet(changes: &mut Receiver<Change>, at_last: Instant) {
    let quiet = async {
        while let Ok(change) = tokio::time::timeout(QUIET, changes.recv()).await {
            if matches!(change, Err(RecvError::Closed)) {
                return std::future::pending().await;
            }
        }
    };
    // That it took too long is as good.
    let _ = tokio::time::timeout_at(at_last, quiet).await;
}

async fn until_mail(changes: &mut Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::Folder(_) | Change::Anything) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

fn others_write(changes: &mut Receiver<Change>) -> bool {
    let mut any = false;
    loop {
        match changes.try_recv() {
            Ok(_) | Err(TryRecvError::Lagged(_)) => any = true,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return any,
        }
    }
}
