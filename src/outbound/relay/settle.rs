//! From rulings to what is written down: outcomes, and the bounce or notice that becomes visible in the same transaction.

use super::{Job, notice};
use crate::config::Current;
use crate::message::header::Header;
use crate::outbound::dsn::{Fate, Trouble};
use crate::outbound::judge::{Ruling, UNANSWERED, milliseconds, next_attempt};
use crate::store::queue::{Outcome, Settlement};
use crate::store::tray::{Kind, NewHeld};
use crate::store::{Store, StoreError};
use std::time::Duration;

/// The owner hears of a mail that is this late, once.
const NOTICE: Duration = Duration::from_secs(4 * 3600);
/// Of smarthosts that are configured no more.
const DEFAULT_RETRY: [Duration; 1] = [Duration::from_secs(900)];
/// The product's default.
const DEFAULT_EXPIRE: Duration = Duration::from_secs(5 * 24 * 3600);

/// Makes the outcome of one attempt from what was ruled for each recipient, in order.
pub(super) async fn settlement(
    store: &Store,
    current: &Current,
    job: &Job,
    rulings: &[Ruling],
    now: i64,
) -> Result<Settlement, StoreError> {
    let smarthost = job.candidates.front().map(|candidate| &candidate.smarthost);
    let retry = smarthost.map_or(&DEFAULT_RETRY[..], |smarthost| &smarthost.retry);
    let expires = job.lease.queued_at.saturating_add(milliseconds(smarthost.map_or(DEFAULT_EXPIRE, |smarthost| smarthost.expire)));
    let mut settlement =
        Settlement { id: job.id(), outcomes: vec![], attempted: true, notice: None, tray: None, notified: false, unanswered: false };
    let (mut failed, mut delayed) = (Vec::new(), Vec::new());
    for (due, ruling) in job.lease.recipients.iter().zip(rulings) {
        let trouble = |reply: &str, expired| Trouble { address: due.address.clone(), reply: reply.to_owned(), expired };
        let again = |not_before| Outcome::Delayed(next_attempt(now, due.attempts, not_before, retry, expires));
        let (outcome, text) = match ruling {
            Ruling::Relayed(text) => (Outcome::Relayed, text.clone()),
            Ruling::Refused(reply) => {
                failed.push(trouble(&reply.to_string(), false));
                (Outcome::Failed, reply.to_string())
            }
            Ruling::Later(text, _) | Ruling::Unanswered(text) | Ruling::Login(text) if now >= expires => {
                failed.push(trouble(text, true));
                (Outcome::Failed, format!("given up: {text}"))
            }
            Ruling::Later(text, not_before) => (again(*not_before), text.clone()),
            Ruling::Login(text) => (again(Duration::ZERO), text.clone()),
            Ruling::Unanswered(text) => {
                settlement.unanswered = true;
                (again(UNANSWERED), text.clone())
            }
        };
        if matches!(outcome, Outcome::Delayed(_)) {
            delayed.push(trouble(&text, false));
        }
        settlement.outcomes.push((due.address.clone(), outcome, text));
    }
    // Nobody outside gets a bounce: what came from there waits for a person.
    if job.lease.from_outside {
        if !failed.is_empty() {
            settlement.tray = Some(Box::new(held(store, job, &failed).await?));
        }
        return Ok(settlement);
    }
    // Somebody who sent as nobody wants to hear nothing (RFC 5321 §4.5.5).
    if job.lease.sender.is_none() {
        return Ok(settlement);
    }
    // What a program sent by itself is nobody's concern (RFC 3834 §3.3).
    if !(failed.is_empty() && delayed.is_empty()) && is_automatic(store, job).await? {
        return Ok(settlement);
    }
    let late = now - job.lease.queued_at >= milliseconds(NOTICE) && !job.lease.notified;
    if !failed.is_empty() {
        settlement.notice = notice::report(store, current, job, Fate::Failed, &failed, now).await?.map(Box::new);
    } else if late && !delayed.is_empty() {
        settlement.notice = notice::report(store, current, job, Fate::Delayed(expires), &delayed, now).await?.map(Box::new);
        settlement.notified = settlement.notice.is_some();
    }
    Ok(settlement)
}

async fn is_automatic(store: &Store, job: &Job) -> Result<bool, StoreError> {
    let header = notice::header(store, &job.lease).await?;
    let submitted = Header::parse(&header).text("Auto-Submitted");
    Ok(submitted.is_some_and(|value| value.trim().to_lowercase().starts_with("auto-replied")))
}

/// A place in the tray for a mail that another mail system does not take, with that system's words.
async fn held(store: &Store, job: &Job, failed: &[Trouble]) -> Result<NewHeld, StoreError> {
    let server = job.lease.lmtp.as_deref().unwrap_or("the next server");
    let why = |trouble: &Trouble| match trouble.expired {
        true => format!("{server} did not take it for {} in all the time it was tried: {}", trouble.address, trouble.reply),
        false => format!("{server} refuses it for {}: {}", trouble.address, trouble.reply),
    };
    let header = notice::header(store, &job.lease).await?;
    let header = Header::parse(&header);
    Ok(NewHeld {
        reason: failed.iter().map(why).collect::<Vec<_>>().join("; "),
        addresses: failed.iter().map(|trouble| trouble.address.to_string()).collect(),
        from: header.text("from").unwrap_or_default(),
        subject: header.text("subject").unwrap_or_default(),
        kind: Kind::Held,
        collector: None,
    })
}
