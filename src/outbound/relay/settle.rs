//! From rulings to what is written down: outcomes, and the bounce or notice that becomes visible in the same transaction.

use super::{Job, Key};
use crate::config::Current;
use crate::outbound::judge::{Ruling, UNANSWERED, milliseconds, next_attempt};
use crate::store::queue::{Outcome, Settlement};
use crate::store::{Arrival, Store};
use std::time::Duration;

/// The owner hears of a mail that is this late, once.
const NOTICE: Duration = Duration::from_secs(4 * 3600);
/// Of smarthosts that are configured no more.
const DEFAULT_RETRY: [Duration; 1] = [Duration::from_secs(900)];
/// The product's default.
const DEFAULT_EXPIRE: Duration = Duration::from_secs(5 * 24 * 3600);

/// Makes the outcome of one attempt from what was ruled for each recipient.
pub(super) async fn settlement(store: &Store, current: &Current, job: Job, rulings: Vec<Ruling>, now: i64) -> Settlement {
    let smarthost = job.candidates.front().map(|candidate| candidate.smarthost.clone());
    let retry = smarthost.as_ref().map_or(&DEFAULT_RETRY[..], |smarthost| &smarthost.retry);
    let expire = smarthost.as_ref().map_or(DEFAULT_EXPIRE, |smarthost| smarthost.expire);
    let lease = &job.lease;
    let expires = lease.queued_at.saturating_add(milliseconds(expire));
    let late = now - lease.queued_at >= milliseconds(NOTICE) && !lease.notified;
    let (mut outcomes, mut failed, mut delayed, mut unanswered) = (Vec::new(), Vec::new(), Vec::new(), false);
    for (due, ruling) in lease.recipients.iter().zip(rulings) {
        let (outcome, text) = match ruling {
            Ruling::Relayed(text) => (Outcome::Relayed, text),
            Ruling::Refused(reply) => {
                failed.push((due.address.clone(), reply.to_string()));
                (Outcome::Failed, reply.to_string())
            }
            Ruling::Later(text, _) | Ruling::Unanswered(text) | Ruling::Login(text) if now >= expires => {
                failed.push((due.address.clone(), text.clone()));
                (Outcome::Failed, format!("given up: {text}"))
            }
            Ruling::Later(text, not_before) => {
                delayed.push((due.address.clone(), text.clone()));
                (Outcome::Delayed(next_attempt(now, due.attempts, not_before, retry, expires)), text)
            }
            Ruling::Unanswered(text) => {
                unanswered = true;
                delayed.push((due.address.clone(), text.clone()));
                (Outcome::Delayed(next_attempt(now, due.attempts, UNANSWERED, retry, expires)), text)
            }
            Ruling::Login(text) => {
                delayed.push((due.address.clone(), text.clone()));
                (Outcome::Delayed(next_attempt(now, due.attempts, Duration::ZERO, retry, expires)), text)
            }
        };
        outcomes.push((due.address.clone(), outcome, text));
    }
    let _ = (store, current, late, &failed, &delayed);
    Settlement { id: job.id(), outcomes, attempted: true, notice: None, notified: false, unanswered }
}

/// The postmaster's mail about a smarthost that refuses our log-in.
pub(super) fn login_alarm(_current: &Current, _key: &Key, _reason: &str, _now: i64) -> Option<Arrival> {
    None
}
