//! How each collector fares: what `status` shows and a restart remembers.

use super::{SMALL, Store, StoreError};
use rusqlite::{OptionalExtension, Row, params};

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
    /// A keyed hash of the log-in that was refused, so that the same one is not tried again.
    pub refused_with: Option<String>,
    /// Fetches that ended by a fault of the program, ever.
    pub faults: u64,
    /// What the last run counted, as `fetch --json` prints it for one collector.
    pub figures: Option<String>,
}

impl Store {
    /// One collector; the default if it never ran.
    pub async fn collector_state(&self, name: &str) -> Result<CollectorState, StoreError> {
        let name = name.to_owned();
        self.read(move |connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE name = ?1"))?;
            Ok(select.query_row([name], state).optional()?.map(|(_, state)| state).unwrap_or_default())
        })
        .await
    }

    /// All that ever ran, by name.
    pub async fn collector_states(&self) -> Result<Vec<(String, CollectorState)>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} ORDER BY name"))?;
            Ok(select.query_map([], state)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Sets it.
    pub async fn collector_state_set(&self, name: &str, state: CollectorState) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(SMALL, move |work| {
            work.prepare_cached(
                "INSERT OR REPLACE INTO collector (name, fetching_since, last_run, last_success, next_run, last_error, failures, refused,
                                                   first_refused, suspended, figures, refused_with, faults)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                name,
                state.fetching_since,
                state.last_run,
                state.last_success,
                state.next_run,
                state.last_error,
                state.failures,
                state.refused,
                state.first_refused,
                state.suspended,
                state.figures,
                state.refused_with,
                state.faults
            ])?;
            Ok(())
        })
        .await
    }
}

const SELECT: &str = "SELECT name, fetching_since, last_run, last_success, next_run, last_error, failures, refused, first_refused, \
                      suspended, figures, refused_with, faults FROM collector";

fn state(row: &Row<'_>) -> rusqlite::Result<(String, CollectorState)> {
    let state = CollectorState {
        fetching_since: row.get(1)?,
        last_run: row.get(2)?,
        last_success: row.get(3)?,
        next_run: row.get(4)?,
        last_error: row.get(5)?,
        failures: row.get(6)?,
        refused: row.get(7)?,
        first_refused: row.get(8)?,
        suspended: row.get(9)?,
        figures: row.get(10)?,
        refused_with: row.get(11)?,
        faults: row.get(12)?,
    };
    Ok((row.get(0)?, state))
}
