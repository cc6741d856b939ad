//! What command lines ask of a running gateway: rows in the store, answered there.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::config::Current;
use crate::serve::Stop;
use crate::store::requests::Request;
use crate::store::{Change, Store};

/// Answers requests until `stop`.
pub async fn run(store: Store, current: watch::Receiver<Arc<Current>>, mut stop: Stop) {
    let mut changes = store.changes();
    loop {
        match store.requests_take().await {
            Ok(requests) => {
                for request in requests {
                    answer(&store, &current, request).await;
                }
            }
            Err(error) => tracing::error!(%error, "requests can't be read"),
        }
        // The next look is worth it when somebody posted, or when another process wrote anything at all.
        loop {
            let change = tokio::select! {
                () = stop.requested() => return,
                change = changes.recv() => change,
            };
            match change {
                Ok(Change::Request | Change::Anything) | Err(RecvError::Lagged(_)) => break,
                Ok(_) => (),
                Err(RecvError::Closed) => return,
            }
        }
    }
}

async fn answer(store: &Store, _current: &watch::Receiver<Arc<Current>>, request: Request) {
    let result =
        json!({ "error": format!("this gateway does not know “{}”; is the program newer than the gateway that runs?", request.kind) });
    if let Err(error) = store.request_answer(request.id, result).await {
        tracing::error!(%error, kind = request.kind, "a request can't be answered");
    }
}
