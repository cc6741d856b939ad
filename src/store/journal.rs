//! Originals of fetched mail, kept for a time so that a wrong mapping can be undone.

use super::{ContentId, Store, StoreError};

/// The journal's view of an arrival.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The collector's name.
    pub collector: String,
    /// The decision, as `explain --json` prints it.
    pub decision: String,
}

/// A journaled original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Ascending.
    pub id: i64,
    /// The original.
    pub content: ContentId,
    /// When it came.
    pub received: i64,
    /// Which collector brought it.
    pub collector: String,
    /// The decision at the time, as JSON.
    pub decision: String,
}

impl Store {
    /// Entries that came at or after `since`, oldest first, with ids above `after`, at most `limit`.
    pub async fn journal(&self, since: i64, after: i64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        todo!("{since} {after} {limit}")
    }
}
