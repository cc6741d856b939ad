//! What a session will do: the listing compared with the ledger. Values in, values out.

use super::roll::Roll;
use super::upstream::Item;
use crate::config::After;
use crate::store::ledger::{Entry, State, UpstreamId};
use std::collections::HashMap;
use std::time::Duration;

/// Outcomes that leave the upstream copy where it is, whatever `after` says: it is somebody else's, or not all of it is here.
pub const STAYS: [&str; 3] = ["remote", "stub", "quarantined"];
/// Larger messages wait until a backlog of others has come.
const SMALL: u64 = 1_000_000;
/// As long as everything comes within this, it comes in the order in which it arrived.
const BACKLOG: Duration = Duration::from_secs(30);
/// As much of a header as its fingerprint is made of: `TOP` and `RETR` give the same bytes here.
const FINGERPRINT_BYTES: usize = 16 * 1024;
/// A deletion that the server has not carried out after so long is worth an alarm: a day.
const STUCK_AFTER: i64 = 24 * 3600 * 1000;

/// What a session will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// New: to be retrieved, many at once.
    pub fetch: Vec<Item>,
    /// In flight when something ended badly: to be retrieved after the others, one at a time.
    pub singly: Vec<(Item, u32)>,
    /// Those of `fetch` that came before, in a session that got out of step, with the fingerprint of what came.
    pub doubtful: Vec<(Item, String)>,
    /// Stubs whose original somebody asked for, with the mailbox that gets it ('' is whom the mapping says).
    pub wanted: Vec<(Item, String)>,
    /// Safely here and still listed, and `after` says that they go.
    pub dispose: Vec<Item>,
    /// In the ledger and no longer listed.
    pub gone: Vec<UpstreamId>,
    /// Listed and dealt with before.
    pub known: u64,
    /// Deletions that the server was asked for long ago.
    pub stuck: u64,
    /// Stored, or known without being fetched, and not known to be gone: listed or not.
    pub here: u64,
}

/// A listing that is being compared with the ledger, entry by entry: neither has to be in memory twice.
pub struct Comparison {
    listing: Roll,
    /// Places in the listing, by id.
    by_id: Vec<u32>,
    /// Which places have an entry.
    found: Vec<bool>,
    singly: Vec<(u32, u32)>,
    again: Vec<(u32, Option<String>)>,
    wanted: Vec<(u32, String)>,
    dispose: Vec<u32>,
    complete: bool,
    after: After,
    now: i64,
    plan: Plan,
}

impl Comparison {
    /// `complete`: the listing shows everything that is there.
    pub fn new(listing: Roll, complete: bool, after: &After, now: i64) -> Self {
        Self {
            found: vec![false; listing.len()],
            by_id: listing.by_id(),
            listing,
            singly: Vec::new(),
            again: Vec::new(),
            wanted: Vec::new(),
            dispose: Vec::new(),
            complete,
            after: after.clone(),
            now,
            plan: Plan::default(),
        }
    }

    /// What the ledger knows of the source. Entries that are gone are needed only for listed ids.
    pub fn see(&mut self, entry: Entry) {
        self.plan.here += u64::from(matches!(entry.state, State::Stored | State::Known));
        let key = (entry.uid.as_str(), entry.ordinal);
        let Ok(at) = self.by_id.binary_search_by(|place| self.listing.id(*place as usize).cmp(&key)) else {
            if self.complete && entry.state != State::Gone {
                self.plan.gone.push((entry.uid, entry.ordinal));
            }
            return;
        };
        let place = self.by_id[at];
        self.found[place as usize] = true;
        match entry.state {
            State::Attempted if entry.attempts == 0 => self.again.push((place, entry.fingerprint)),
            State::Attempted => self.singly.push((place, entry.attempts)),
            State::Stored if entry.outcome == "stub" && entry.wanted.is_some() => {
                self.wanted.push((place, entry.wanted.unwrap_or_default()));
            }
            _ => {
                self.plan.known += 1;
                self.plan.stuck += u64::from(entry.state == State::DeleteSent && self.now - entry.changed > STUCK_AFTER);
                if is_due(&entry, &self.after, self.now) {
                    self.dispose.push(place);
                }
            }
        }
    }

    /// Listed ids that no entry was seen for.
    pub fn unknown(&self) -> Vec<UpstreamId> {
        self.unseen().map(|place| self.listing.id(place)).map(|(uid, ordinal)| (uid.to_owned(), ordinal)).collect()
    }

    fn unseen(&self) -> impl Iterator<Item = usize> + '_ {
        self.found.iter().enumerate().filter(|(_, found)| !**found).map(|(place, _)| place)
    }

    /// The plan, in the order of the listing, and the listing.
    pub fn finish(mut self) -> (Plan, Roll) {
        self.singly.sort_unstable();
        self.wanted.sort_unstable();
        self.dispose.sort_unstable();
        self.again.sort_unstable();
        self.plan.gone.sort_unstable();
        self.again.iter().for_each(|(place, _)| self.found[*place as usize] = false);
        let fetch = self.unseen().map(|place| self.listing.item(place)).collect();
        let (listing, mut plan) = (self.listing, self.plan);
        let item = |place: u32| listing.item(place as usize);
        plan.fetch = fetch;
        plan.singly = self.singly.into_iter().map(|(place, attempts)| (item(place), attempts)).collect();
        plan.doubtful = self.again.into_iter().filter_map(|(place, fingerprint)| Some((item(place), fingerprint?))).collect();
        plan.wanted = self.wanted.into_iter().map(|(place, whose)| (item(place), whose)).collect();
        plan.dispose = self.dispose.into_iter().map(item).collect();
        (plan, listing)
    }
}

/// Large messages last if the rest takes long on this line, where so many bytes came within so much time: people wait for the many small
/// ones.
pub fn small_first(rest: &mut [Item], came: u64, within: Duration) {
    let left = bytes(rest) as f64 / came.max(1) as f64;
    if within.as_secs_f64() * left > BACKLOG.as_secs_f64() {
        rest.sort_by_key(|item| item.size.unwrap_or(0) > SMALL);
    }
}

/// As they were listed.
pub fn bytes(items: &[Item]) -> u64 {
    items.iter().filter_map(|item| item.size).fold(0, u64::saturating_add)
}

/// Whether `after` says that the upstream copy goes now. Ageing does not wait for new mail.
pub fn is_due(entry: &Entry, after: &After, now: i64) -> bool {
    let here = matches!(entry.state, State::Stored | State::DeleteSent | State::Gone) && !STAYS.contains(&entry.outcome.as_str());
    here && match after {
        After::Delete | After::Move(_) => true,
        After::Age(age) => {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            entry.stored.is_some_and(|stored| stored.saturating_add(age) <= now)
        }
        After::Keep | After::Seen => false,
    }
}

/// Messages that were stored by then may be due; `None`: none ever is, once it is settled.
pub fn due_since(after: &After, now: i64) -> Option<i64> {
    match after {
        After::Delete | After::Move(_) => Some(i64::MAX),
        After::Age(age) => Some(now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))),
        After::Keep | After::Seen => None,
    }
}

/// Whether a fresh arrival with this outcome goes at once.
pub fn goes_at_once(outcome: &str, after: &After) -> bool {
    let now = match after {
        After::Delete | After::Move(_) | After::Seen => true,
        After::Age(age) => age.is_zero(),
        After::Keep => false,
    };
    now && !STAYS.contains(&outcome)
}

/// Whether the server seems to have given everything new ids: there is about as much as we know of, and next to nothing has an id that
/// we know.
pub fn looks_renumbered(plan: &Plan, listed: usize) -> bool {
    let here = usize::try_from(plan.here).unwrap_or(usize::MAX);
    here > 0 && plan.known.saturating_mul(20) <= plan.here && listed.saturating_mul(2) >= here && plan.fetch.len() * 20 >= listed * 19
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

/// What recognises a message by its header when ids don't.
pub fn fingerprint(header: &[u8]) -> String {
    let header = &header[..header.len().min(FINGERPRINT_BYTES)];
    blake3::hash(header.trim_ascii_end()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const DAY: i64 = 24 * 3600 * 1000;
    const NOW: i64 = 1000 * DAY;

    fn item(handle: u32, uid: &str) -> Item {
        Item { handle, id: (uid.into(), 0), size: Some(1), arrived: None }
    }

    fn entry(uid: &str, state: State, outcome: &str, days_ago: i64) -> Entry {
        Entry {
            uid: uid.into(),
            ordinal: 0,
            state,
            outcome: outcome.into(),
            size: 1,
            fingerprint: Some(format!("print of {uid}")),
            attempts: u32::from(state == State::Attempted),
            first_seen: NOW - days_ago * DAY,
            stored: Some(NOW - days_ago * DAY),
            changed: NOW - days_ago * DAY,
            wanted: None,
        }
    }

    fn plan(listing: &[Item], complete: bool, ledger: &[Entry], after: &After, now: i64) -> Plan {
        let mut comparison = Comparison::new(listing.iter().cloned().collect(), complete, after, now);
        ledger.iter().cloned().for_each(|entry| comparison.see(entry));
        comparison.finish().0
    }

    fn handles(items: &[Item]) -> Vec<u32> {
        items.iter().map(|item| item.handle).collect()
    }

    #[test]
    fn each_message_has_its_place() {
        let listing = [item(1, "new"), item(2, "tried"), item(3, "here"), item(4, "asked"), item(5, "before"), item(6, "returned")];
        let ledger = [
            entry("tried", State::Attempted, "", 0),
            entry("here", State::Stored, "delivered", 1),
            entry("asked", State::DeleteSent, "held", 2),
            entry("before", State::Known, "", 1),
            entry("returned", State::Gone, "delivered", 9),
            entry("vanished", State::DeleteSent, "delivered", 1),
        ];
        let plan = plan(&listing, true, &ledger, &After::Delete, NOW);
        assert_eq!(handles(&plan.fetch), [1]);
        assert_eq!(plan.singly, [(item(2, "tried"), 1)]);
        assert_eq!(handles(&plan.dispose), [3, 4, 6], "a message that reappears is deleted again, not fetched again");
        assert_eq!(plan.gone, [("vanished".to_owned(), 0)]);
        assert_eq!((plan.known, plan.stuck), (4, 1));
    }

    #[test]
    fn a_backlog_brings_large_messages_last() {
        let sized = |handle, size| Item { size: Some(size), ..item(handle, "x") };
        let mut items = [sized(1, 9_000_000), sized(2, 5), sized(3, 2_000_000), sized(4, 900_000)];
        small_first(&mut items, 1_000_000, Duration::from_secs(2));
        assert_eq!(handles(&items), [1, 2, 3, 4], "24 seconds are no backlog");
        small_first(&mut items, 1_000_000, Duration::from_secs(3));
        assert_eq!(handles(&items), [2, 4, 1, 3]);
    }

    #[test]
    fn a_listing_with_broken_lines_makes_nothing_gone() {
        let plan = plan(&[], false, &[entry("a", State::Stored, "delivered", 1)], &After::Delete, NOW);
        assert!(plan.gone.is_empty());
    }

    #[test]
    fn what_stays_upstream_and_for_how_long() {
        let week = After::Age(Duration::from_secs(7 * 86_400));
        for (outcome, days, after, due) in [
            ("delivered", 8, &week, true),
            ("delivered", 6, &week, false),
            ("discarded", 0, &After::Delete, true),
            ("remote", 90, &week, false),
            ("stub", 90, &After::Delete, false),
            ("quarantined", 90, &After::Delete, false),
            ("delivered", 90, &After::Keep, false),
            ("delivered", 90, &After::Seen, false),
            ("delivered", 0, &After::Move("Done".into()), true),
        ] {
            assert_eq!(is_due(&entry("x", State::Stored, outcome, days), after, NOW), due, "{outcome} {days} {after:?}");
        }
        assert!(!is_due(&entry("x", State::Known, "", 90), &After::Delete, NOW));
    }

    #[test]
    fn new_ids_for_old_mail_are_found_out() {
        let ledger: Vec<Entry> = (0..100).map(|n| entry(&format!("old{n}"), State::Stored, "delivered", 1)).collect();
        let listing: Vec<Item> = (0..101).map(|n| item(n, &format!("new{n}"))).collect();
        let renumbered = plan(&listing, true, &ledger, &After::Keep, NOW);
        assert!(looks_renumbered(&renumbered, listing.len()));
        let prints: Vec<_> = listing.iter().map(|item| (item.id.clone(), format!("print of old{}", item.handle))).collect();
        let pairs = match_fingerprints(&ledger, &prints);
        assert_eq!(pairs.len(), 100);
        assert_eq!(pairs[0], (("old0".into(), 0), ("new0".into(), 0)));
        let few_new: Vec<Item> = (0..10).map(|n| item(n, &format!("new{n}"))).collect();
        assert!(!looks_renumbered(&plan(&few_new, true, &ledger, &After::Keep, NOW), few_new.len()), "somebody emptied the mailbox");
        assert!(!looks_renumbered(&plan(&few_new, true, &[], &After::Keep, NOW), few_new.len()), "a new mailbox");
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
