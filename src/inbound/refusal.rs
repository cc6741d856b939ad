//! Which log-in was refused: a suspended collector stays so, restarts included, until the log-in is another one or somebody fetches by hand.

use crate::config::Collector;
use crate::oauth::{self, Consent};
use crate::outbound::credentials;
use crate::store::Store;
use crate::store::collectors::CollectorState;
use secrecy::ExposeSecret;

/// Whether the log-in is still the one that was refused. One that can't be read now is.
pub async fn is_the_same(state: &CollectorState, collector: &Collector, store: &Store) -> bool {
    match (&state.refused_with, mark(collector, store).await) {
        (Some(refused), Some(now)) => *refused == now,
        _ => true,
    }
}

/// Stands for everything that a log-in is made of: where, as whom, with what; tells nothing about it. `None`: it can't be read now.
pub async fn mark(collector: &Collector, store: &Store) -> Option<String> {
    let port = collector.endpoint.port.to_string();
    let place = [collector.endpoint.host.as_str(), &port, collector.log_in_as()];
    let mark = match Consent::to_fetch(collector) {
        Some(consent) => {
            let granted = oauth::health(store, &consent).await.ok()?.granted;
            store.mark_of(&[&place[..], &["granted", &granted.unwrap_or_default().to_string()]].concat())
        }
        None => {
            let secret = credentials::of_collector(collector, store).await.ok()?;
            store.mark_of(&[&place[..], &["password", secret.text().expose_secret()]].concat())
        }
    };
    mark.inspect_err(|error| tracing::error!(collector = collector.name, %error, "the log-in can't be marked as refused")).ok()
}
