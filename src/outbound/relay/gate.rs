//! How many connections a smarthost may have at once, whichever log-ins they are for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The connections that a smarthost may have, over all its lanes.
pub(super) struct Gate {
    places: Arc<Semaphore>,
    /// How many there are in all.
    most: AtomicUsize,
    waiting: AtomicUsize,
}

impl Gate {
    pub(super) fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), most: AtomicUsize::new(most), waiting: AtomicUsize::new(0) }
    }

    /// Follows a changed configuration: new places are there at once, those too many go as their connections end.
    pub(super) fn allow(&self, most: usize) {
        let before = self.most.swap(most, Ordering::SeqCst);
        if most >= before {
            self.places.add_permits(most - before);
            return;
        }
        let busy = before - most - self.places.forget_permits(before - most);
        for _ in 0..busy {
            let places = self.places.clone();
            tokio::spawn(async move {
                if let Ok(place) = places.acquire_owned().await {
                    place.forget();
                }
            });
        }
    }

    pub(super) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let place = self.places.clone().acquire_owned().await.ok();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        place
    }

    /// Whether another lane waits for a place.
    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
}
