//! How many fetches go on at once: providers count connections, and memory has an end.
//!
//! A provider that turns sessions away at the door, while others of ours are inside, gets fewer of them at once for a time.

use crate::wire::Instant;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Fetches at once, of all providers: each may hold 8 MB of mail on its way to the store.
const AT_ONCE: usize = 16;
/// Fetches at once from one provider: what Dovecot allows one user from one address, unless it is told otherwise.
const AT_ONE_HOST: usize = 10;
/// A provider that had no room is tried with one session more after each time like this.
const WIN_BACK: Duration = Duration::from_secs(10 * 60);
/// So long a server may still count a session that has ended.
const AFTERGLOW: Duration = Duration::from_secs(10);

/// All places of a process.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

#[derive(Debug)]
struct Host {
    places: Arc<Semaphore>,
    room: Mutex<Room>,
}

#[derive(Debug)]
struct Room {
    /// Places there are, free or taken.
    size: usize,
    /// When that changed.
    changed: Instant,
    /// When a session ended that the server may still count; whoever was turned away for it alone asks once more.
    left: Option<Instant>,
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
            Arc::clone(hosts.entry(host.to_ascii_lowercase()).or_insert_with(Host::new))
        };
        host.win_back();
        // Never closed, so that there always is a permit.
        let at_host = Arc::clone(&host.places).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        Place { host, at_host, of_all }
    }
}

impl Host {
    fn new() -> Arc<Self> {
        let room = Room { size: AT_ONE_HOST, changed: Instant::now(), left: None };
        Arc::new(Self { places: Arc::new(Semaphore::new(AT_ONE_HOST)), room: Mutex::new(room) })
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn win_back(&self) {
        let mut room = self.room();
        if room.size < AT_ONE_HOST && room.changed.elapsed() >= WIN_BACK {
            room.size += 1;
            room.changed = Instant::now();
            self.places.add_permits(1);
        }
    }
}

impl Place {
    /// The provider had no room for this session: it gets no more at once than those that go on beside it. False: there are none, and it
    /// is not for us that it has no room.
    pub fn give_up(&mut self) -> bool {
        let mut room = self.host.room();
        let free = self.host.places.available_permits();
        if room.size <= free + 1 {
            self.of_all = None;
            self.at_host = None;
            return room.left.take().is_some_and(|left| left.elapsed() < AFTERGLOW);
        }
        let free = self.host.places.forget_permits(free);
        room.size -= free + 1;
        room.changed = Instant::now();
        self.of_all = None;
        if let Some(permit) = self.at_host.take() {
            permit.forget();
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.at_host.is_some() {
            self.host.room().left = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn has_room(places: &Places, host: &str) -> bool {
        tokio::time::timeout(Duration::from_secs(1), places.take(host)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowded_provider_gets_fewer_sessions_but_never_none() {
        let places = Places::default();
        let mut taken = Vec::new();
        for _ in 0..AT_ONE_HOST {
            taken.push(places.take("pop.example").await);
        }
        assert!(!has_room(&places, "POP.example").await);
        assert!(has_room(&places, "imap.example").await);
        let mut last = taken.pop().unwrap();
        for mut place in taken {
            assert!(place.give_up());
        }
        assert!(!has_room(&places, "pop.example").await);
        assert!(!last.give_up(), "one is left");
        drop(last);
        assert!(has_room(&places, "pop.example").await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_and_turned_away_gives_up_nothing() {
        let places = Places::default();
        for _ in 0..3 {
            assert!(!places.take("pop.example").await.give_up());
        }
        // A session that has just ended may be counted still, once.
        drop(places.take("pop.example").await);
        assert!(places.take("pop.example").await.give_up());
        assert!(!places.take("pop.example").await.give_up());
        let mut taken = Vec::new();
        for _ in 0..AT_ONE_HOST {
            taken.push(tokio::time::timeout(Duration::from_secs(1), places.take("pop.example")).await.expect("a place"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn places_come_back_with_time() {
        let places = Places::default();
        let (one, two) = (places.take("pop.example").await, places.take("pop.example").await);
        let mut three = places.take("pop.example").await;
        assert!(three.give_up(), "those that nobody used are gone with it");
        assert!(!has_room(&places, "pop.example").await);
        tokio::time::advance(WIN_BACK).await;
        let four = tokio::time::timeout(Duration::from_secs(1), places.take("pop.example")).await.expect("one more");
        assert!(!has_room(&places, "pop.example").await);
        drop((one, two, four));
        tokio::time::advance(WIN_BACK * 20).await;
        for _ in 0..AT_ONE_HOST {
            assert!(has_room(&places, "pop.example").await);
        }
    }
}
