//! Keeps the index of texts up with the mail, at leisure: see [`crate::store::fulltext`].

use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;

use crate::serve::Stop;
use crate::store::{Change, Store};

/// Mail comes in bursts, and a turn for many costs less than one for each.
const GATHER: Duration = Duration::from_secs(1);
/// After a failure, which is nearly always a full disk.
const RETRY: Duration = Duration::from_secs(60);

/// Indexes whatever is not yet, until `stop`. While others write, it rests after each turn for as long as the turn took.
pub async fn run(store: Store, mut stop: Stop) {
    let mut changes = store.changes();
    loop {
        let began = Instant::now();
        let pause = async {
            match store.index_some().await {
                Ok(0) => {
                    until_mail(&mut changes).await;
                    tokio::time::sleep(GATHER).await;
                }
                Ok(_) if others_write(&mut changes) => tokio::time::sleep(began.elapsed()).await,
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
