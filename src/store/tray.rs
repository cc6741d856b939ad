//! Held mail, stubs of mail that is too large, and quarantine.

use super::{Arrived, ContentId, Deposit, Store, StoreError};

/// Why something is in the tray.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nobody claims it.
    Held,
    /// Bytes that could not be handled three times.
    Quarantine,
    /// Header of a mail that is too large; the original is still upstream.
    Stub,
}

/// A place in the tray for the content of its [`super::Arrival`].
#[derive(Debug, Clone)]
pub struct NewHeld {
    /// In plain words.
    pub reason: String,
    /// Addresses that nobody claims, or that it was for.
    pub addresses: Vec<String>,
    /// From, decoded, for the list.
    pub from: String,
    /// Decoded.
    pub subject: String,
    /// Why it is here.
    pub kind: Kind,
    /// The collector that brought it.
    pub collector: Option<String>,
}

/// Something in the tray.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub id: i64,
    /// The original.
    pub content: ContentId,
    /// When it came.
    pub received: i64,
    /// Why it is here.
    pub kind: Kind,
    /// In plain words.
    pub reason: String,
    /// Addresses that nobody claims, or that it was for.
    pub addresses: Vec<String>,
    /// Decoded.
    pub from: String,
    /// Decoded.
    pub subject: String,
    /// Bytes of the original.
    pub size: u64,
    /// The collector that brought it.
    pub collector: Option<String>,
}

impl Store {
    /// All of it, oldest first.
    pub async fn tray(&self) -> Result<Vec<Held>, StoreError> {
        todo!()
    }

    /// How much is in it.
    pub async fn tray_count(&self) -> Result<u64, StoreError> {
        todo!()
    }

    /// Delivers it and takes it out: one transaction. `by` is who did it, for the trace.
    pub async fn tray_give(&self, id: i64, deposits: Vec<Deposit>, by: &str) -> Result<Arrived, StoreError> {
        todo!("{id} {deposits:?} {by}")
    }

    /// Takes it out for nobody. The original stays in the journal as long as that keeps it.
    pub async fn tray_drop(&self, ids: Vec<i64>, by: &str) -> Result<usize, StoreError> {
        todo!("{ids:?} {by}")
    }
}
