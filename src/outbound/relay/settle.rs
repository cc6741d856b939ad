//! From rulings to what is written down: outcomes, and the bounce, notice or confirmation that becomes visible in the same transaction.
//!
//! What the sender wanted to hear (RFC 3461) decides who is told of. Deviation: where a smarthost offers no DSN, mail with NOTIFY=NEVER
//! leaves as any other, since smarthosts refuse the null sender that §5.2.2 would have.

use super::Job;
use crate::config::Current;
use crate::message::header::Header;
use crate::message::wish::Return;
use crate::outbound::dsn::{Addressee, Fate, Notice};
use crate::outbound::judge::{Ruling, UNANSWERED, milliseconds, next_attempt};
use crate::outbound::notice::Reader;
use crate::store::queue::{Lease, Outcome, Settlement, Told};
use crate::store::tray::{Kind, NewHeld};
use crate::store::{Arrival, Store, StoreError};
use bytes::Bytes;
use std::time::Duration;

/// The owner hears of a mail that is this late, once.
const NOTICE: Duration = Duration::from_secs(4 * 3600);
/// Of smarthosts that are configured no more.
const DEFAULT_RETRY: [Duration; 1] = [Duration::from_secs(900)];
/// The product's default.
const DEFAULT_EXPIRE: Duration = Duration::from_secs(5 * 24 * 3600);
/// Bytes of the original's header that are looked at.
const MAX_HEADER: usize = 64 * 1024;
/// Bytes of a mail that `RET=FULL` gives back. Deviation from RFC 3461 §4.3: of a larger one the header alone comes back; its sender has
/// the rest, and a mailbox would fill up with every attempt at a full one.
const MAX_RETURNED: u64 = 1_000_000;

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
    let notice = job.lease.queued_at.saturating_add(milliseconds(NOTICE));
    let mut settlement = Settlement { attempted: true, ..Settlement::of(job.id()) };
    let (mut failed, mut delayed, mut arrived) = (Vec::new(), Vec::new(), Vec::new());
    let some_left = rulings.iter().any(|ruling| matches!(ruling, Ruling::Relayed(_)));
    for (due, ruling) in job.lease.recipients.iter().zip(rulings) {
        let again = |not_before| {
            let next = next_attempt(now, due.attempts, not_before, retry, expires);
            // The notice comes with an attempt: one that is due then makes it come in time.
            let early = notice.max(now.saturating_add(milliseconds(not_before)));
            Outcome::Delayed(if now < notice && !job.lease.notified { next.min(early) } else { next })
        };
        let (outcome, reply) = match ruling {
            Ruling::Relayed(text) => (Outcome::Relayed, text.clone()),
            Ruling::Refused(reply) => (Outcome::Failed, reply.to_string()),
            Ruling::TooMany(text) if some_left => (Outcome::LeftOver(now), text.clone()),
            Ruling::Later(text, _) | Ruling::TooMany(text) | Ruling::Unanswered(text) | Ruling::Login(text) if now >= expires => {
                (Outcome::Failed, text.clone())
            }
            Ruling::Later(text, not_before) => (again(*not_before), text.clone()),
            Ruling::TooMany(text) | Ruling::Login(text) => (again(Duration::ZERO), text.clone()),
            Ruling::Unanswered(text) => {
                settlement.unanswered = true;
                (again(UNANSWERED), text.clone())
            }
        };
        let expired = outcome == Outcome::Failed && !matches!(ruling, Ruling::Refused(_));
        let shown = if expired { format!("given up: {reply}") } else { reply.clone() };
        settlement.outcomes.push((due.address.clone(), outcome.clone(), shown));
        let about = Addressee { address: due.address.clone(), original: due.wish.original.clone(), reply, expired };
        let wanted = due.wish.notify();
        match outcome {
            Outcome::Failed if wanted.failure || job.lease.from_outside => failed.push(about),
            Outcome::Delayed(_) if wanted.delay => delayed.push(about),
            Outcome::Relayed if wanted.success && !job.server_reports => arrived.push(about),
            _ => {}
        }
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
    let late = now >= notice && !job.lease.notified;
    if !failed.is_empty() {
        let notice = report(store, current, job, Fate::Failed, &failed, now).await?;
        settlement.notices.extend(notice.map(|notice| (Told::Failure, notice)));
    } else if late && !delayed.is_empty() {
        let notice = report(store, current, job, Fate::Delayed(expires), &delayed, now).await?;
        settlement.notified = notice.is_some();
        settlement.notices.extend(notice.map(|notice| (Told::Delay, notice)));
    }
    if !arrived.is_empty() {
        // By LMTP it has arrived: the server behind it keeps mailboxes (RFC 2033 §1).
        let fate = if job.lease.lmtp.is_some() { Fate::Delivered } else { Fate::Relayed };
        let notice = report(store, current, job, fate, &arrived, now).await?;
        settlement.notices.extend(notice.map(|notice| (Told::Success, notice)));
    }
    Ok(settlement)
}

/// A notice for the mail's owner, or for the postmaster if he is gone.
async fn report(
    store: &Store,
    current: &Current,
    job: &Job,
    fate: Fate,
    about: &[Addressee],
    now: i64,
) -> Result<Option<Arrival>, StoreError> {
    let lease = &job.lease;
    let Some(reader) = Reader::of(store, current, &lease.owner).await? else { return Ok(None) };
    let header = header(store, lease).await?;
    let wanted = fate == Fate::Failed && lease.ret == Some(Return::Full) && lease.size <= MAX_RETURNED;
    let message = if wanted { Some(message(store, lease).await?) } else { None };
    let word = match fate {
        Fate::Failed => "bounce",
        Fate::Delayed(_) => "late",
        Fate::Relayed | Fate::Delivered => "sent",
    };
    let notice = Notice {
        letterhead: &reader.letterhead,
        fate,
        about,
        smarthost: job.candidates.front().map(|candidate| candidate.smarthost.endpoint.host.as_str()),
        header: &header,
        message: message.as_deref(),
        envid: lease.envid.as_deref(),
        queued_at: lease.queued_at,
        now,
        id: &format!("{word}.{}.{now:x}", job.id().0),
    };
    Ok(Some(reader.gets(notice.render(), now)))
}

async fn is_automatic(store: &Store, job: &Job) -> Result<bool, StoreError> {
    let header = header(store, &job.lease).await?;
    let submitted = Header::parse(&header).text("Auto-Submitted");
    Ok(submitted.is_some_and(|value| value.trim().to_lowercase().starts_with("auto-replied")))
}

/// The start of the mail's header, as it leaves.
async fn header(store: &Store, lease: &Lease) -> Result<Bytes, StoreError> {
    match &lease.header {
        Some(header) => Ok(header.slice(..header.len().min(MAX_HEADER))),
        None => {
            let length = usize::try_from(lease.header_size).unwrap_or(MAX_HEADER).min(MAX_HEADER);
            store.content(lease.content, 0, length).await
        }
    }
}

/// The whole mail, as it leaves.
async fn message(store: &Store, lease: &Lease) -> Result<Vec<u8>, StoreError> {
    let mut message = lease.header.as_ref().map(|header| header.to_vec()).unwrap_or_default();
    let mut at = if lease.header.is_some() { lease.header_size } else { 0 };
    while at < lease.size {
        let piece = store.content(lease.content, at, usize::try_from(lease.size - at).unwrap_or(usize::MAX)).await?;
        if piece.is_empty() {
            break;
        }
        at += piece.len() as u64;
        message.extend_from_slice(&piece);
    }
    Ok(message)
}

/// A place in the tray for a mail that another mail system does not take, with that system's words.
async fn held(store: &Store, job: &Job, failed: &[Addressee]) -> Result<NewHeld, StoreError> {
    let server = job.lease.lmtp.as_deref().unwrap_or("the next server");
    let why = |one: &Addressee| match one.expired {
        true => format!("{server} did not take it for {} in all the time it was tried: {}", one.address, one.reply),
        false => format!("{server} refuses it for {}: {}", one.address, one.reply),
    };
    let header = header(store, &job.lease).await?;
    let header = Header::parse(&header);
    Ok(NewHeld {
        reason: failed.iter().map(why).collect::<Vec<_>>().join("; "),
        addresses: failed.iter().map(|one| one.address.to_string()).collect(),
        from: header.text("from").unwrap_or_default(),
        subject: header.text("subject").unwrap_or_default(),
        kind: Kind::Held,
        collector: None,
    })
}
