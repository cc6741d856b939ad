//! How each collector fares: what `status` shows and a restart remembers.

use super::{Store, StoreError};

/// The state of a collector, by its name in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectorState {
    /// A fetch runs since then.
    pub fetching_since: Option<i64>,
    /// When the last run ended.
    pub last_run: Option<i64>,
    /// When the last run ended well.
    pub last_success: Option<i64>,
    /// When the next one is due.
    pub next_run: Option<i64>,
    /// In plain words; `None` after a good run.
    pub last_error: Option<String>,
    /// Failures in a row.
    pub failures: u32,
    /// Log-ins refused in a row, and when the first of them was.
    pub refused: u32,
    /// See `refused`.
    pub first_refused: Option<i64>,
    /// Stopped until the secret changes or somebody fetches by hand; the reason.
    pub suspended: Option<String>,
    /// What the last run counted, as `fetch --json` prints it for one collector.
    pub figures: Option<String>,
}

impl Store {
    /// One collector; the default if it never ran.
    pub async fn collector_state(&self, name: &str) -> Result<CollectorState, StoreError> {
        todo!("{name}")
    }

    /// All that ever ran, by name.
    pub async fn collector_states(&self) -> Result<Vec<(String, CollectorState)>, StoreError> {
        todo!()
    }

    /// Sets it.
    pub async fn collector_state_set(&self, name: &str, state: CollectorState) -> Result<(), StoreError> {
        todo!("{name} {state:?}")
    }
}
