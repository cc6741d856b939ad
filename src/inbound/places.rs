//! How many fetches go on at once: providers count connections, and memory has an end.
//!
//! A provider that turns sessions away at the door gets fewer of them at once from then on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Fetches at once, of all providers: each may hold 8 MB of mail on its way to the store.
const AT_ONCE: usize = 16;
/// Fetches at once from one provider: what Dovecot allows one user from one address, unless it is told otherwise.
const AT_ONE_HOST: usize = 10;

/// All places of a process.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

#[derive(Debug)]
struct Host {
    places: Arc<Semaphore>,
    size: AtomicUsize,
}

/// One of them, free again when dropped.
#[derive(Debug)]
pub struct Place {
    host: Arc<Host>,
    at_host: Option<OwnedSemaphorePermit>,
    of_all: Option<OwnedSemaphorePermit>,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE)), hosts: Mutex::default() }
    }
}

impl Places {
    /// Waits for a place at this host.
    pub async fn take(&self, host: &str) -> Place {
        let host = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Host { places: Arc::new(Semaphore::new(AT_ONE_HOST)), size: AtomicUsize::new(AT_ONE_HOST) });
            Arc::clone(hosts.entry(host.to_ascii_lowercase()).or_insert_with(new))
        };
        // Never closed, so that there always is a permit.
        let at_host = Arc::clone(&host.places).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        Place { host, at_host, of_all }
    }
}

impl Place {
    /// The provider had no room: this place is gone for good, unless it is the last one there. Whether others are left.
    pub fn give_up(&mut self) -> bool {
        let fewer = |size: usize| (size > 1).then(|| size - 1);
        if self.host.size.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_err() {
            return false;
        }
        self.of_all = None;
        if let Some(permit) = self.at_host.take() {
            permit.forget();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_crowded_provider_gets_fewer_sessions_but_never_none() {
        let places = Places::default();
        let mut taken = Vec::new();
        for _ in 0..AT_ONE_HOST {
            taken.push(places.take("pop.example").await);
        }
        let waits = async |host: &str| tokio::time::timeout(Duration::from_secs(1), places.take(host)).await.is_err();
        assert!(waits("POP.example").await);
        assert!(!waits("imap.example").await);
        let mut last = taken.pop().unwrap();
        for mut place in taken {
            assert!(place.give_up());
        }
        assert!(waits("pop.example").await);
        assert!(!last.give_up(), "one is left");
        drop(last);
        assert!(!waits("pop.example").await);
    }
}
