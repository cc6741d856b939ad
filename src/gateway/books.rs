//! The nightly proof that nothing was lost: what was ever listed at each mailbox, and what became of it, in a line of the log.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::Current;
use crate::store::reconciliation::Reconciliation;
use crate::store::{Store, StoreError};

/// Setting: the day of the last one.
const MARK: &str = "reconciled";

/// Reconciles every mailbox, once on each day of the office's clock. `now` is milliseconds since 1970.
pub async fn reconcile_if_due(store: &Store, current: &Current, now: i64) -> Result<(), StoreError> {
    let zone = current.config.office.timezone.clone().unwrap_or_else(TimeZone::system);
    let Ok(time) = Timestamp::from_millisecond(now) else { return Ok(()) };
    let today = time.to_zoned(zone).date().to_string();
    if store.setting(MARK).await?.as_deref() == Some(&today) {
        return Ok(());
    }
    for (collector, books) in of_all(store, current).await? {
        match books.unaccounted {
            0 => tracing::info!(collector, "{books}"),
            _ => tracing::error!(collector, "{books}"),
        }
    }
    store.setting_set(MARK, Some(&today)).await
}

/// What became of everything at each mailbox that is configured.
pub async fn of_all(store: &Store, current: &Current) -> Result<Vec<(String, Reconciliation)>, StoreError> {
    let mut all = Vec::with_capacity(current.config.collectors.len());
    for collector in &current.config.collectors {
        let books = store.reconcile(&collector.endpoint.host.to_ascii_lowercase(), collector.log_in_as()).await?;
        all.push((collector.name.clone(), books));
    }
    Ok(all)
}
