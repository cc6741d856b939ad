//! What command lines ask of a running gateway: rows in the store, answered there.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::config::Current;
use crate::inbound::scheduler::Scheduler;
use crate::serve::Stop;
use crate::store::requests::{Request, RequestId};
use crate::store::{Change, Store};

/// Answers requests until `stop`.
pub async fn run(store: Store, current: watch::Receiver<Arc<Current>>, scheduler: Scheduler, mut stop: Stop) {
    let mut changes = store.changes();
    loop {
        match store.requests_take().await {
            Ok(requests) => {
                for request in requests {
                    answer(&store, &current, &scheduler, request).await;
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

async fn answer(store: &Store, _current: &watch::Receiver<Arc<Current>>, scheduler: &Scheduler, request: Request) {
    if request.kind == "fetch" {
        let names = request.arguments["names"].as_array().into_iter().flatten();
        let names = names.filter_map(|name| Some(name.as_str()?.to_owned())).collect();
        tokio::spawn(fetch(store.clone(), scheduler.clone(), request.id, names));
        return;
    }
    let result =
        json!({ "error": format!("this gateway does not know “{}”; is the program newer than the gateway that runs?", request.kind) });
    give(store, &request.kind, request.id, result).await;
}

/// A fetch takes its time; other requests don't wait for it.
async fn fetch(store: Store, scheduler: Scheduler, id: RequestId, names: Vec<String>) {
    let figures = scheduler.fetch(&names).await;
    give(&store, "fetch", id, json!({ "collectors": figures })).await;
}

async fn give(store: &Store, kind: &str, id: RequestId, result: Value) {
    if let Err(error) = store.request_answer(id, result).await {
        tracing::error!(%error, kind, "a request can't be answered");
    }
}
