//! Proof that nothing was lost: every message ever listed at a mailbox is accounted for, and what the ledger says of it is so.
//!
//! The ledger alone would prove nothing: it is held against what it speaks of, the tray and the life of each message.

use super::housekeeping::MEMORY_DAYS;
use super::{DAY, SMALL, Store, StoreError, now};
use rusqlite::{OptionalExtension, params};
use serde::Serialize;
use std::fmt;

/// What became of all messages of a mailbox that the ledger still remembers (those that are gone, for 400 days).
///
/// `listed` = `before_start` + `waiting` + `fetched` + what is missing, and `fetched` is the sum of the eight that follow it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// Seen in any listing.
    pub listed: u64,
    /// Older than `start`: left alone.
    pub before_start: u64,
    /// Its fetch began and did not end; tried again.
    pub waiting: u64,
    /// Dealt with.
    pub fetched: u64,
    /// To at least one mailbox here.
    pub delivered: u64,
    /// To nobody here, but sent on.
    pub forwarded: u64,
    /// To the tray.
    pub held: u64,
    /// Everybody had it already.
    pub duplicate: u64,
    /// Its header is in the tray, or was; the original is upstream.
    pub stub: u64,
    /// Thrown away because a rule says so.
    pub discarded: u64,
    /// Somebody else's, left where it is.
    pub remote: u64,
    /// Its bytes are in the tray, or were.
    pub quarantined: u64,
    /// The provider was asked to delete it more than a day ago, and still lists it.
    pub undeleted: u64,
    /// Nobody can say where it is. Must be 0.
    pub unaccounted: u64,
}

/// A deletion that the provider has not carried out after so long is worth an alarm.
const STUCK_AFTER: i64 = DAY;

/// What the ledger says of these can be checked: a line of their life was written in the same transaction.
const FETCHED: &str = "FROM ledger JOIN source ON source.id = ledger.source
     WHERE source.host = ?1 AND source.login = ?2 AND state IN ('stored', 'delete_sent', 'gone')";

impl Store {
    /// Reconciles all folders of a mailbox. Reads every row of its ledger: some hundred thousand a second.
    pub async fn reconcile(&self, host: &str, login: &str) -> Result<Reconciliation, StoreError> {
        let (host, login) = (host.to_owned(), login.to_owned());
        self.read(move |connection| {
            let mut found = Reconciliation::default();
            let mut select = connection.prepare_cached(
                "SELECT state, outcome, count(*) FROM ledger JOIN source ON source.id = ledger.source
                 WHERE source.host = ?1 AND source.login = ?2 GROUP BY state, outcome",
            )?;
            let mut rows = select.query([&host, &login])?;
            while let Some(row) = rows.next()? {
                let (state, outcome, count): (String, String, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                found.count(&state, &outcome, count);
            }
            let missing: u64 = connection
                .prepare_cached("SELECT ifnull(sum(missing), 0) FROM source WHERE host = ?1 AND login = ?2")?
                .query_row([&host, &login], |row| row.get(0))?;
            // Traces are kept as long as rows of what is gone, and not longer: what was stored before has no proof left.
            let since = now() - (MEMORY_DAYS - 1) * DAY;
            let lifeless: u64 = connection
                .prepare_cached(&format!(
                    "SELECT count(*) {FETCHED} AND stored > ?3 AND NOT EXISTS (SELECT 1 FROM trace WHERE trace.content = ledger.content)"
                ))?
                .query_row(params![host, login, since], |row| row.get(0))?;
            let strayed: u64 = connection
                .prepare_cached(&format!(
                    "SELECT count(*) {FETCHED} AND stored > ?3 AND outcome IN ('held', 'stub', 'quarantined')
                     AND EXISTS (SELECT 1 FROM trace WHERE trace.content = ledger.content)
                     AND NOT EXISTS (SELECT 1 FROM tray WHERE tray.content = ledger.content)
                     AND NOT EXISTS (SELECT 1 FROM trace WHERE trace.content = ledger.content
                                     AND event IN ('given', 'dropped', 'expired', 'remapped'))"
                ))?
                .query_row(params![host, login, since], |row| row.get(0))?;
            found.undeleted = connection
                .prepare_cached(
                    "SELECT count(*) FROM ledger JOIN source ON source.id = ledger.source
                     WHERE source.host = ?1 AND source.login = ?2 AND state = 'delete_sent' AND changed < ?3",
                )?
                .query_row(params![host, login, now() - STUCK_AFTER], |row| row.get(0))?;
            found.listed += missing;
            found.unaccounted += missing + lifeless + strayed;
            Ok(found)
        })
        .await
    }

    /// Notes how many of these, which a fetch says it dealt with, the ledger does not have. The number.
    pub async fn ledger_verify(&self, source: &super::ledger::Source, ids: Vec<super::ledger::UpstreamId>) -> Result<u64, StoreError> {
        let source = source.clone();
        let missing = self
            .read(move |connection| {
                let mut select = connection.prepare_cached(
                    "SELECT 1 FROM ledger WHERE source = (SELECT id FROM source WHERE host = ?1 AND login = ?2 AND folder = ?3)
                     AND uid = ?4 AND ordinal = ?5",
                )?;
                let mut missing = 0;
                for (uid, ordinal) in ids {
                    let found: Option<i64> =
                        select.query_row(params![source.host, source.login, source.folder, uid, ordinal], |row| row.get(0)).optional()?;
                    missing += u64::from(found.is_none());
                }
                Ok((source, missing))
            })
            .await?;
        let (source, missing) = missing;
        self.write(SMALL, move |work| {
            work.prepare_cached("UPDATE source SET missing = ?4 WHERE host = ?1 AND login = ?2 AND folder = ?3 AND missing <> ?4")?
                .execute(params![source.host, source.login, source.folder, missing])?;
            Ok(missing)
        })
        .await
    }
}

/// `12 listed: 10 delivered, 1 held, 1 waiting; 0 unaccounted for`
impl fmt::Display for Reconciliation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.before_start, "from before start"),
            (self.delivered, "delivered"),
            (self.forwarded, "forwarded"),
            (self.held, "held"),
            (self.duplicate, "duplicate"),
            (self.stub, "too large"),
            (self.discarded, "discarded"),
            (self.remote, "remote"),
            (self.quarantined, "quarantined"),
            (self.waiting, "waiting"),
        ];
        write!(out, "{} listed", self.listed)?;
        for (at, (count, word)) in parts.into_iter().filter(|(count, _)| *count > 0).enumerate() {
            write!(out, "{} {count} {word}", if at == 0 { ":" } else { "," })?;
        }
        if self.undeleted > 0 {
            write!(out, "; {} not deleted by the provider since more than a day", self.undeleted)?;
        }
        write!(out, "; {} unaccounted for", self.unaccounted)
    }
}

impl Reconciliation {
    fn count(&mut self, state: &str, outcome: &str, count: u64) {
        self.listed += count;
        match state {
            "known" => return self.before_start += count,
            "attempted" => return self.waiting += count,
            // There before `start`, and gone since.
            "gone" if outcome.is_empty() => return self.before_start += count,
            _ => {}
        }
        let place = match outcome {
            "delivered" => &mut self.delivered,
            "forwarded" => &mut self.forwarded,
            "held" => &mut self.held,
            "duplicate" => &mut self.duplicate,
            "stub" => &mut self.stub,
            "discarded" => &mut self.discarded,
            "remote" => &mut self.remote,
            "quarantined" => &mut self.quarantined,
            _ => return self.unaccounted += count,
        };
        *place += count;
        self.fetched += count;
    }
}
