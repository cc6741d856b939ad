//! Every upstream message ever seen and what became of it, per (host, login, folder).
//!
//! `attempted` is a message that was in flight when something ended badly. `stored → delete_sent → gone`; `known` is mail that was
//! there before `start`. Rows that are `gone` are kept 400 days, the others as long as they are listed.

use super::{ContentId, Store, StoreError};

/// Which upstream mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// Lower case.
    pub host: String,
    /// As configured.
    pub login: String,
    /// IMAP folder; `INBOX` for POP3.
    pub folder: String,
}

/// What tells upstream messages of one source apart: UIDL or `UIDVALIDITY.UID`, and an ordinal from 0 for equal ones in one listing.
pub type UpstreamId = (String, u32);

/// What the ledger learns with an arrival.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which upstream mailbox.
    pub source: Source,
    /// UIDL, or `UIDVALIDITY.UID`.
    pub uid: String,
    /// Tells equal UIDLs of one listing apart, from 0.
    pub ordinal: u32,
    /// As the upstream announced it; 0 if it did not.
    pub size: u64,
    /// Recognises the message if all ids change: a hash over its header and size, made by the fetcher.
    pub fingerprint: Option<String>,
    /// delivered, forwarded, held, duplicate, stub, discarded, remote, quarantined.
    pub outcome: String,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Its fetch began and did not end.
    Attempted,
    /// There before `start`: entered as seen, not fetched.
    Known,
    /// Safely here.
    Stored,
    /// And deletion was asked for upstream.
    DeleteSent,
    /// No longer listed.
    Gone,
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// UIDL, or `UIDVALIDITY.UID`.
    pub uid: String,
    /// Tells equal ones of one listing apart.
    pub ordinal: u32,
    /// How far it is.
    pub state: State,
    /// What became of it; empty for attempted and known ones.
    pub outcome: String,
    /// As announced.
    pub size: u64,
    /// See [`Row::fingerprint`].
    pub fingerprint: Option<String>,
    /// Fetches that ended badly.
    pub attempts: u32,
    /// First entered.
    pub first_seen: i64,
    /// Stored at; what `after = "7d"` counts from.
    pub stored: Option<i64>,
    /// When it entered its state.
    pub changed: i64,
}

/// How many messages of a source are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// [`State::Attempted`]
    pub attempted: u64,
    /// [`State::Known`]
    pub known: u64,
    /// [`State::Stored`]
    pub stored: u64,
    /// [`State::DeleteSent`]
    pub delete_sent: u64,
    /// [`State::Gone`]
    pub gone: u64,
}

impl Store {
    /// Everything about a source but what is gone: what a listing is compared with.
    pub async fn ledger(&self, source: &Source) -> Result<Vec<Entry>, StoreError> {
        todo!("{source:?}")
    }

    /// Those of the given ids that are gone: asked before something new in a listing is fetched.
    pub async fn ledger_gone(&self, source: &Source, ids: Vec<UpstreamId>) -> Result<Vec<Entry>, StoreError> {
        todo!("{source:?} {ids:?}")
    }

    /// Whether the source was ever listed.
    pub async fn ledger_is_new(&self, source: &Source) -> Result<bool, StoreError> {
        todo!("{source:?}")
    }

    /// Counts one more attempt for each of these, durably, before their bytes are asked for. The counts, in order.
    pub async fn ledger_attempt(&self, source: &Source, ids: Vec<UpstreamId>) -> Result<Vec<u32>, StoreError> {
        todo!("{source:?} {ids:?}")
    }

    /// The connection broke through no fault of theirs: takes the count of the last attempt back.
    pub async fn ledger_forgive(&self, source: &Source, ids: Vec<UpstreamId>) -> Result<(), StoreError> {
        todo!("{source:?} {ids:?}")
    }

    /// Enters mail as seen without fetching it (`start`).
    pub async fn ledger_enter_known(&self, source: &Source, ids: Vec<UpstreamId>) -> Result<(), StoreError> {
        todo!("{source:?} {ids:?}")
    }

    /// Sets the state of many: [`State::DeleteSent`] when deletion was asked for, [`State::Gone`] when they are no longer listed.
    pub async fn ledger_mark(&self, source: &Source, ids: Vec<UpstreamId>, state: State) -> Result<(), StoreError> {
        todo!("{source:?} {ids:?} {state:?}")
    }

    /// The server gave all its messages new ids: (old, new).
    pub async fn ledger_rename(&self, source: &Source, ids: Vec<(UpstreamId, UpstreamId)>) -> Result<(), StoreError> {
        todo!("{source:?} {ids:?}")
    }

    /// For reconciliation and `status`.
    pub async fn ledger_counts(&self, source: &Source) -> Result<Counts, StoreError> {
        todo!("{source:?}")
    }

    /// The stored original of an upstream message.
    pub async fn ledger_content(&self, source: &Source, id: &UpstreamId) -> Result<Option<ContentId>, StoreError> {
        todo!("{source:?} {id:?}")
    }
}
