//! What has to be done now and then: certificates renewed, old things forgotten, the postmaster told, the books checked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::start::identity;
use super::{books, digest, quota};
use crate::config::Current;
use crate::serve::Stop;
use crate::store::Store;
use crate::store::housekeeping::Ages;
use crate::wire::tls::Acceptor;

/// Ages are days; an hour is near enough.
const ROUND: Duration = Duration::from_secs(3600);
/// A certificate that is not ours to renew is warned about when fewer days than this are left.
const WARN_DAYS: i64 = 14;

/// Goes round until `stop`.
pub async fn run(store: Store, current: watch::Receiver<Arc<Current>>, tls: Acceptor, mut stop: Stop) {
    loop {
        let now = current.borrow().clone();
        look_at_certificate(&store, &now, &tls);
        let (storage, office) = (&now.config.storage, &now.config.office);
        let ages = Ages { journal: storage.journal, tray: storage.tray, trash: office.trash, junk: office.junk };
        match store.forget(ages).await {
            Ok(forgotten) => {
                forgotten.tray.iter().for_each(|mail| tracing::warn!(%mail, "left the tray by age"));
                if forgotten.emptied > 0 {
                    tracing::info!(mails = forgotten.emptied, "left Trash and Junk by age");
                }
            }
            Err(error) => tracing::error!(%error, "old things could not be forgotten"),
        }
        let time = jiff::Timestamp::now().as_millisecond();
        if let Err(error) = quota::warn(&store, &now, time).await {
            tracing::error!(%error, "notices about quota can't be delivered");
        }
        // Behind the tray's ageing, so that what left it today is told today.
        if let Err(error) = digest::write_if_due(&store, &now, time).await {
            tracing::error!(%error, "the postmaster's digest can't be delivered");
        }
        if let Err(error) = books::reconcile_if_due(&store, &now, time).await {
            tracing::error!(%error, "the ledger can't be reconciled");
        }
        let until_digest = digest::seconds_until_due(&now, time).map_or(ROUND, |seconds| Duration::from_secs(seconds + 1));
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep(ROUND.min(until_digest)) => (),
        }
    }
}

/// The local certificate is made anew in time; a configured one can only be warned about.
fn look_at_certificate(store: &Store, current: &Current, tls: &Acceptor) {
    match identity(&current.config, store.directory()) {
        Ok(identity) => tls.replace(identity),
        Err(error) => tracing::error!(%error, "the certificate can't be renewed"),
    }
    let Some(validity) = tls.validity() else { return };
    let days = (validity.not_after - jiff::Timestamp::now().as_second()) / 86_400;
    if days < WARN_DAYS {
        tracing::warn!(days, "the certificate that mail programs see ends soon: renew the files of [tls]");
    }
}
