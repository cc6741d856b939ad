//! Whether two messages are the same one, where ids don't tell: by header, size and age.

use super::upstream::Item;
use crate::store::ledger::{Entry, State, UpstreamId};
use std::collections::HashMap;

/// As much of a header as its fingerprint is made of: `TOP` and `RETR` give the same bytes here.
const FINGERPRINT_BYTES: usize = 16 * 1024;
/// Fields that servers on mbox files (UW, qpopper) add to a message when it has been read: it is the same one with them.
const MARKS: [&[u8]; 4] = [b"status:", b"x-status:", b"x-keywords:", b"x-uid:"];
/// Clocks may differ by so much, in milliseconds: an hour.
const CLOCKS: i64 = 3600 * 1000;

/// What recognises a message by its header when ids don't.
pub fn fingerprint(header: &[u8]) -> String {
    let mut kept = Vec::with_capacity(header.len().min(FINGERPRINT_BYTES));
    let is_mark = |line: &[u8]| MARKS.iter().any(|mark| line.get(..mark.len()).is_some_and(|name| name.eq_ignore_ascii_case(mark)));
    for line in header.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_mark(line)) {
        kept.extend_from_slice(&line[..line.len().min(FINGERPRINT_BYTES - kept.len())]);
        if kept.len() == FINGERPRINT_BYTES {
            break;
        }
    }
    blake3::hash(kept.trim_ascii_end()).to_hex().to_string()
}

/// Whether what is listed is the message that the entry speaks of, by its header (as far as the server gives it) and its date.
pub fn is_same(entry: &Entry, item: &Item, header: Option<&[u8]>, arrived: Option<i64>) -> bool {
    if entry.outcome.is_empty() {
        // From before `start`: nothing is known of it but that it is older than its entry. Of what was asked for in vain not even that.
        return entry.attempts == 0 && arrived.is_none_or(|arrived| arrived <= entry.first_seen.saturating_add(CLOCKS));
    }
    let same_size = item.size.is_none_or(|size| size == entry.size);
    // All headers without a field are alike.
    match (header.filter(|header| !header.trim_ascii().is_empty()), &entry.fingerprint) {
        (Some(header), Some(print)) => (same_size || entry.state == State::Stored) && fingerprint(header) == *print,
        // A deletion that was undone is likelier than another message of the same size.
        _ => same_size && entry.state == State::DeleteSent,
    }
}

/// Old id → new id, for those listed messages whose header is one that we know; each id is used once.
pub fn match_fingerprints(ledger: &[Entry], fingerprints: &[(UpstreamId, String)]) -> Vec<(UpstreamId, UpstreamId)> {
    let mut by_fingerprint: HashMap<&str, Vec<&Entry>> = HashMap::new();
    for entry in ledger.iter().rev() {
        if let Some(fingerprint) = &entry.fingerprint {
            by_fingerprint.entry(fingerprint).or_default().push(entry);
        }
    }
    let pairs = fingerprints.iter().filter_map(|(new, fingerprint)| {
        let entry = by_fingerprint.get_mut(fingerprint.as_str())?.pop()?;
        Some(((entry.uid.clone(), entry.ordinal), new.clone()))
    });
    pairs.collect()
}

/// Old id → new id, for mail that was there before `start`: of that no header is known, but that it is older than its entry. `rest` is
/// what no fingerprint recognised, with the dates; the oldest are taken, and not more than there were.
pub fn match_older(ledger: &[Entry], rest: &[(UpstreamId, Option<i64>)]) -> Vec<(UpstreamId, UpstreamId)> {
    let known: Vec<&Entry> = ledger.iter().filter(|entry| entry.state == State::Known && entry.fingerprint.is_none()).collect();
    let Some(entered) = known.iter().map(|entry| entry.first_seen).max() else { return Vec::new() };
    let mut old: Vec<(i64, &UpstreamId)> = rest.iter().filter_map(|(id, at)| Some(((*at)?, id))).filter(|(at, _)| *at <= entered).collect();
    old.sort();
    known.iter().zip(old).map(|(entry, (_, new))| ((entry.uid.clone(), entry.ordinal), new.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{DAY, NOW, entry, item};
    use super::*;

    #[test]
    fn what_recognises_a_message() {
        let header = b"From: a\r\nSubject: b\r\n\r\n";
        let check = |other: &[u8], same: bool| assert_eq!(fingerprint(other) == fingerprint(header), same, "{}", other.escape_ascii());
        check(b"From: a\r\nSubject: b\r\n", true);
        check(b"From: a\r\nSTATUS: RO\r\nX-UID: 7\r\nSubject: b\r\n\r\n", true);
        check(b"From: a\r\nSubject: b\r\nX-Status-Of: b\r\n\r\n", false);
        check(b"From: a\r\nSubject: c\r\n\r\n", false);
        let long = vec![b'x'; 2 * FINGERPRINT_BYTES];
        assert_eq!(fingerprint(&long), fingerprint(&long[..FINGERPRINT_BYTES]));
    }

    #[test]
    fn what_is_listed_under_an_old_id_may_be_something_else() {
        const HEADER: &[u8] = b"Subject: x\r\n\r\n";
        let returned = |state| Entry { fingerprint: Some(fingerprint(HEADER)), ..entry("x", state, "delivered", 1) };
        let sized = |size| Item { size: Some(size), ..item(1, "x") };
        let other: &[u8] = b"Subject: y\r\n\r\n";
        for (state, size, header, same) in [
            (State::Gone, 1, Some(HEADER), true),
            (State::Gone, 2, Some(HEADER), false),
            (State::Gone, 1, Some(other), false),
            (State::Gone, 1, None, false),
            (State::DeleteSent, 1, Some(HEADER), true),
            (State::DeleteSent, 1, Some(other), false),
            (State::DeleteSent, 1, None, true),
            (State::DeleteSent, 2, None, false),
            (State::Stored, 2, Some(HEADER), true),
            (State::Stored, 2, Some(other), false),
        ] {
            assert_eq!(is_same(&returned(state), &sized(size), header, None), same, "{state:?} {size} {header:?}");
        }
        let blank = Entry { fingerprint: Some(fingerprint(b"")), ..returned(State::Gone) };
        assert!(!is_same(&blank, &sized(1), Some(b"\r\n"), None), "all headers without a field are alike");
        let known = Entry { fingerprint: None, attempts: 0, ..entry("x", State::Gone, "", 10) };
        for (days_ago, same) in [(Some(11), true), (Some(9), false), (None, true)] {
            assert_eq!(is_same(&known, &sized(1), None, days_ago.map(|days| NOW - days * DAY)), same, "{days_ago:?}");
        }
        assert!(!is_same(&Entry { attempts: 1, ..known }, &sized(1), None, None), "it was asked for in vain");
    }

    #[test]
    fn new_ids_for_old_mail_are_found_out() {
        let ledger: Vec<Entry> = (0..100).map(|n| entry(&format!("old{n}"), State::Stored, "delivered", 1)).collect();
        let prints: Vec<_> = (0..101).map(|n| ((format!("new{n}"), 0), format!("print of old{n}"))).collect();
        let pairs = match_fingerprints(&ledger, &prints);
        assert_eq!(pairs.len(), 100);
        assert_eq!(pairs[0], (("old0".into(), 0), ("new0".into(), 0)));
    }

    #[test]
    fn mail_from_before_start_is_recognised_by_its_age() {
        let known = |uid: &str| Entry { fingerprint: None, ..entry(uid, State::Known, "", 10) };
        let ledger = [known("old1"), known("old2"), entry("here", State::Stored, "delivered", 5)];
        let id = |uid: &str| (uid.to_owned(), 0);
        let rest = [
            (id("younger"), Some(NOW - 11 * DAY)),
            (id("oldest"), Some(NOW - 30 * DAY)),
            (id("second"), Some(NOW - 20 * DAY)),
            (id("after"), Some(NOW - 9 * DAY)),
            (id("undated"), None),
        ];
        assert_eq!(match_older(&ledger, &rest), [(id("old1"), id("oldest")), (id("old2"), id("second"))]);
        assert!(match_older(&ledger[2..], &rest).is_empty());
    }

    #[test]
    fn a_fingerprint_is_the_same_by_top_and_by_retr() {
        assert_eq!(fingerprint(b"A: b\r\nC: d\r\n\r\n"), fingerprint(b"A: b\r\nC: d\r\n"));
        assert_ne!(fingerprint(b"A: b\r\n"), fingerprint(b"A: c\r\n"));
    }
}
