//! The largest message that each smarthost takes: learnt from its EHLO (RFC 1870) whenever the relay connects, remembered over restarts,
//! and applied where the sender can still see it, when a mail is handed in.

use crate::config::{Current, Endpoint};
use crate::mapping::Identity;
use crate::outbound::route;
use crate::store::{Store, StoreError};

/// Remembers what the server says now; `None`: it names no limit. Writes only what is new.
pub async fn learn(store: &Store, endpoint: &Endpoint, limit: Option<u64>) -> Result<(), StoreError> {
    let (key, limit) = (key(endpoint), limit.map(|limit| limit.to_string()));
    match store.setting(&key).await? == limit {
        true => Ok(()),
        false => store.setting_set(&key, limit.as_deref()).await,
    }
}

/// The most that any smarthost takes from one of these; `None`: not known, or no limit.
pub async fn limit(store: &Store, current: &Current, identities: &[Identity]) -> Result<Option<u64>, StoreError> {
    let mut most = None;
    for smarthost in identities.iter().flat_map(|identity| route::smarthosts(&current.config, identity)) {
        match store.setting(&key(&smarthost.endpoint)).await?.and_then(|text| text.parse::<u64>().ok()) {
            Some(limit) => most = most.max(Some(limit)),
            None => return Ok(None),
        }
    }
    Ok(most)
}

fn key(endpoint: &Endpoint) -> String {
    format!("largest message for {}:{}", endpoint.host, endpoint.port)
}
