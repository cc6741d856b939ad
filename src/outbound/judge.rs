//! What a smarthost's word means for a recipient, and when the next attempt is due. Pure.
//!
//! Only a 5yz about the message or the recipient is final. What the server says about the session, the log-in or itself is a matter
//! for the admin, and the mail waits: a changed password must not make a whole queue bounce.

use crate::smtp::client::{Stage, Verdict};
use crate::smtp::reply::{Class, Reply};
use std::time::Duration;

/// Greylisting servers want to see a second attempt, but not at once; most use five minutes.
pub const GREYLIST: Duration = Duration::from_secs(300);
/// After a lost answer to the final dot: the server may still be busy with the message (RFC 1047).
pub const UNANSWERED: Duration = Duration::from_secs(600);

/// What follows for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// The smarthost has it.
    Relayed(String),
    /// Again later, not before so long from now.
    Later(String, Duration),
    /// This server takes no more recipients in one mail: those who are left go in the next, at once if this one was taken for others.
    TooMany(String),
    /// Everything was sent and no answer came: again later, and it may be a second copy.
    Unanswered(String),
    /// The log-in or the smarthost's settings are at fault: again later, and the postmaster should know.
    Login(String),
    /// Never.
    Refused(Reply),
}

/// What follows from a verdict.
pub fn judge(verdict: &Verdict) -> Ruling {
    let (stage, reply) = match verdict {
        Verdict::Answer(stage, reply) => (*stage, reply),
        Verdict::Unanswered { sent: true } => {
            return Ruling::Unanswered("everything was sent, but the other server's answer never came; it may arrive twice".into());
        }
        Verdict::Unanswered { sent: false } => {
            return Ruling::Later("the connection ended too early".into(), Duration::ZERO);
        }
    };
    let shown = reply.to_string();
    match (reply.class(), reply.code, stage) {
        (Class::Done, _, Stage::Message) => Ruling::Relayed(shown),
        (Class::Permanent, 530 | 534 | 535 | 538, _) => Ruling::Login(shown),
        // RFC 5321 §4.5.3.1.10; old servers say 552.
        (Class::Temporary, 452, Stage::Recipient) | (Class::Permanent, 552, Stage::Recipient) => Ruling::TooMany(shown),
        // "I don't know that command", "not now": the conversation went wrong, not the mail.
        (Class::Permanent, 500 | 502..=504, _) => Ruling::Later(shown, Duration::ZERO),
        (Class::Permanent, ..) => Ruling::Refused(reply.clone()),
        (Class::Temporary, 450 | 451, _) => Ruling::Later(shown, GREYLIST),
        _ => Ruling::Later(shown, Duration::ZERO),
    }
}

/// When the next attempt is due after `attempts` earlier ones and the one that has just failed. Milliseconds since 1970. The last wait
/// of the schedule repeats; a mail that expires is looked at again then, not later.
pub fn next_attempt(now: i64, attempts: u32, not_before: Duration, retry: &[Duration], expires: i64) -> i64 {
    let step = usize::try_from(attempts).unwrap_or(usize::MAX).min(retry.len().saturating_sub(1));
    let wait = retry.get(step).copied().unwrap_or(GREYLIST).max(not_before);
    now.saturating_add(milliseconds(wait)).min(expires.max(now))
}

/// A duration in the unit of the store's times.
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stage: Stage, code: u16, expected: &str) {
        let ruling = match judge(&Verdict::Answer(stage, Reply::new(code, "", "x"))) {
            Ruling::Relayed(_) => "relayed",
            Ruling::Later(_, wait) if wait.is_zero() => "later",
            Ruling::Later(..) => "greylisted",
            Ruling::TooMany(_) => "too many",
            Ruling::Unanswered(_) => "unanswered",
            Ruling::Login(_) => "login",
            Ruling::Refused(_) => "refused",
        };
        assert_eq!(ruling, expected, "{code} at {stage:?}");
    }

    #[test]
    fn verdicts() {
        check(Stage::Message, 250, "relayed");
        check(Stage::Recipient, 250, "later");
        check(Stage::Recipient, 550, "refused");
        check(Stage::Recipient, 552, "too many");
        check(Stage::Recipient, 452, "too many");
        check(Stage::Message, 552, "refused");
        check(Stage::Sender, 553, "refused");
        check(Stage::Recipient, 450, "greylisted");
        check(Stage::Message, 451, "greylisted");
        check(Stage::Message, 452, "later");
        check(Stage::Sender, 421, "later");
        check(Stage::Data, 503, "later");
        check(Stage::Data, 354, "later");
    }

    #[test]
    fn a_refused_log_in_never_bounces() {
        for stage in [Stage::Sender, Stage::Recipient, Stage::Data, Stage::Message] {
            for code in [530, 534, 535, 538] {
                check(stage, code, "login");
            }
        }
    }

    #[test]
    fn a_lost_answer_is_told_from_a_lost_connection() {
        assert!(matches!(judge(&Verdict::Unanswered { sent: true }), Ruling::Unanswered(_)));
        assert!(matches!(judge(&Verdict::Unanswered { sent: false }), Ruling::Later(_, Duration::ZERO)));
    }

    #[test]
    fn waits_follow_the_schedule_and_stop_at_expiry() {
        let retry = [60, 300, 900].map(Duration::from_secs);
        let at = |attempts, not_before| next_attempt(1_000, attempts, Duration::from_secs(not_before), &retry, 10_000_000);
        assert_eq!(at(0, 0), 61_000);
        assert_eq!(at(0, 300), 301_000);
        assert_eq!(at(2, 300), 901_000);
        assert_eq!(at(99, 0), 901_000);
        assert_eq!(next_attempt(1_000, 2, Duration::ZERO, &retry, 5_000), 5_000);
        assert_eq!(next_attempt(9_000, 2, Duration::ZERO, &retry, 5_000), 9_000);
        assert_eq!(next_attempt(0, 0, Duration::ZERO, &[], 1_000_000), 300_000);
    }
}
