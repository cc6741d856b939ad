//! How much a user may hand in, and whether outside at all: what `[senders]` says, as refusals in plain words.

use super::{Submitter, temporary};
use crate::config::Current;
use crate::mapping::Limits;
use crate::smtp::reply::Reply;
use crate::smtp::session::too_large;
use crate::store::Store;

/// `per_hour` looks back so far, in milliseconds.
const HOUR: i64 = 3_600_000;

/// The user and what holds for him; nothing holds for a machine that sends as an address, nor for a stranger.
fn of<'s>(current: &Current, submitter: &'s Submitter) -> Option<(&'s str, Limits)> {
    let user = submitter.user()?;
    Some((user, current.mapping.limits(user)))
}

/// The largest message that he may hand in, where `general` is everybody's limit.
pub fn max_size(current: &Current, submitter: &Submitter, general: u64) -> u64 {
    of(current, submitter).and_then(|(_, limits)| limits.max_size).map_or(general, |own| own.min(general))
}

/// Whether a message of the announced size may come.
pub fn check_size(current: &Current, submitter: &Submitter, announced: Option<u64>, general: u64) -> Result<(), Reply> {
    let limit = max_size(current, submitter, general);
    if announced.is_some_and(|size| size > limit) { Err(too_large(limit)) } else { Ok(()) }
}

/// Whether one more recipient may follow those.
pub fn check_recipients(current: &Current, submitter: &Submitter, already: usize) -> Result<(), Reply> {
    let Some((user, Limits { recipients: Some(most), .. })) = of(current, submitter) else { return Ok(()) };
    if (already as u64) < most {
        return Ok(());
    }
    // 452 would make a program send the rest in a second mail, past the limit.
    let text = format!("A mail of {user} may have {most} recipients at most; the admin can raise that (recipients in [senders])");
    Err(Reply::new(550, "5.5.3", text))
}

/// Whether he may write to the outside.
pub(super) fn check_outside(current: &Current, submitter: &Submitter) -> Result<(), Reply> {
    match of(current, submitter) {
        Some((user, limits)) if !limits.external => {
            let text = format!("{user} may write to people here only; the admin can change that (external in [senders])");
            Err(Reply::new(550, "5.7.1", text))
        }
        _ => Ok(()),
    }
}

/// Whether his mails are counted: only where somebody asks.
pub(super) fn counts(current: &Current, submitter: &Submitter) -> bool {
    of(current, submitter).is_some_and(|(_, limits)| limits.per_hour.is_some())
}

/// Whether he may hand in one more mail at this time, milliseconds since 1970.
pub async fn check_rate(store: &Store, current: &Current, submitter: &Submitter, now: i64) -> Result<(), Reply> {
    let Some((user, Limits { per_hour: Some(most), .. })) = of(current, submitter) else { return Ok(()) };
    let times = store.submitted_since(user, now - HOUR).await.map_err(|error| temporary(&error))?;
    if (times.len() as u64) < most {
        return Ok(());
    }
    let kept = usize::try_from(most).unwrap_or(usize::MAX);
    let free = times.len().checked_sub(kept).and_then(|at| times.get(at)).map_or(now, |oldest| oldest + HOUR);
    let minutes = (free - now).div_euclid(60_000) + 1;
    tracing::warn!(user, most, "more mails in an hour than [senders] allows: refused");
    let text = format!(
        "{user} may send {most} mails in an hour, and has; the next one in {minutes} minutes. Was that not you? Then tell the admin at once"
    );
    Err(Reply::new(450, "4.7.1", text))
}
