//! The confirmation for a sender who wants to know that his mail has arrived (RFC 3461 §5.2.6): colleagues have it at once.

use super::{Submission, recipient_address, sender_address};
use crate::address::Address;
use crate::config::Current;
use crate::outbound::dsn::{Addressee, Fate, Notice};
use crate::outbound::notice::Reader;
use crate::store::{Arrival, Store, StoreError};

/// For those of `arrived` that the sender asked about; `owner` reads it.
pub(super) async fn confirmation(
    store: &Store,
    current: &Current,
    submission: &Submission<'_>,
    owner: &str,
    arrived: &[Address],
) -> Result<Option<Arrival>, StoreError> {
    let envelope = submission.envelope;
    let asked = envelope.recipients.iter().filter(|rcpt| rcpt.wish.notify().success);
    let about: Vec<Addressee> = asked
        .filter_map(|rcpt| Some((recipient_address(current, &rcpt.to)?, rcpt.wish.original.clone())))
        .filter(|(address, _)| arrived.contains(address))
        .map(|(address, original)| Addressee { address, original, reply: String::new(), expired: false })
        .collect();
    // Somebody who sends as nobody wants to hear nothing (RFC 5321 §4.5.5).
    if about.is_empty() || sender_address(current, &envelope.mail.from).is_none() {
        return Ok(None);
    }
    let Some(reader) = Reader::of(store, current, owner).await? else { return Ok(None) };
    let notice = Notice {
        letterhead: &reader.letterhead,
        fate: Fate::Delivered,
        about: &about,
        smarthost: None,
        header: &submission.taken.facts.header,
        message: None,
        envid: envelope.mail.envid.as_deref(),
        queued_at: submission.now,
        now: submission.now,
        id: &format!("arrived.{}", submission.id),
    };
    Ok(Some(reader.gets(notice.render(), submission.now)))
}
