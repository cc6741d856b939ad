//! What a session will do: the listing compared with the ledger. Values in, values out.

use super::roll::Roll;
use super::upstream::Item;
use crate::config::After;
use crate::store::ledger::{Entry, State, UpstreamId};
use std::time::Duration;

/// Outcomes that leave the upstream copy where it is, whatever `after` says: it is somebody else's, or not all of it is here.
pub const STAYS: [&str; 3] = ["remote", "stub", "quarantined"];
/// Larger messages wait until a backlog of others has come.
const SMALL: u64 = 1_000_000;
/// As long as everything comes within this, it comes in the order in which it arrived.
const BACKLOG: Duration = Duration::from_secs(30);
/// So many messages of one listing are held against what is known of them; a mailbox whose deletions were all undone has more, and takes
/// some sessions.
const SUSPECTS: usize = 2000;
/// A deletion that the server has not carried out after so long is worth an alarm: a day.
const STUCK_AFTER: i64 = 24 * 3600 * 1000;

/// What a session will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// New: to be retrieved, many at once.
    pub fetch: Vec<Item>,
    /// In flight when something ended badly: to be retrieved after the others, one at a time, those that were it most often last.
    pub singly: Vec<(Item, u32)>,
    /// Those of `fetch` that came before, in a session that got out of step, with the fingerprint of what came.
    pub doubtful: Vec<(Item, String)>,
    /// Stubs whose original somebody asked for, with the mailbox that gets it ('' is whom the mapping says).
    pub wanted: Vec<(Item, String)>,
    /// Safely here and still listed, and `after` says that they go.
    pub dispose: Vec<Item>,
    /// In the ledger and no longer listed.
    pub gone: Vec<UpstreamId>,
    /// The same, of what is not here: it is new if it ever comes back.
    pub lost: Vec<UpstreamId>,
    /// Listed under an id of which the ledger knows something else: perhaps another message, that is neither here nor to be deleted.
    pub suspects: Vec<(Item, Entry)>,
    /// Listed and dealt with before.
    pub known: u64,
    /// Deletions that the server was asked for long ago.
    pub stuck: u64,
    /// Stored, or known without being fetched, and not known to be gone: listed or not.
    pub here: u64,
}

/// What can be said of a listing as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// It could be read, every line of it, and each message has an id.
    pub legible: bool,
    /// And it shows everything that is there.
    pub complete: bool,
    /// An id may become another message's when its own has gone (POP3, RFC 1939 §7).
    pub reuses_ids: bool,
    /// Ids are made from headers and sizes: the same id proves the same header.
    pub by_header: bool,
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
    suspects: Vec<(u32, Entry)>,
    nature: Nature,
    after: After,
    now: i64,
    /// For `after = "seen"`: all that was stored until then is marked as read.
    pub marked: i64,
    plan: Plan,
}

impl Comparison {
    /// Nothing has been seen yet.
    pub fn new(listing: Roll, nature: Nature, after: &After, now: i64) -> Self {
        Self {
            found: vec![false; listing.len()],
            by_id: listing.by_id(),
            listing,
            singly: Vec::new(),
            again: Vec::new(),
            wanted: Vec::new(),
            dispose: Vec::new(),
            suspects: Vec::new(),
            nature,
            after: after.clone(),
            now,
            marked: 0,
            plan: Plan::default(),
        }
    }

    /// What the ledger knows of the source. Entries that are gone are needed only for listed ids.
    pub fn see(&mut self, entry: Entry) {
        self.plan.here += u64::from(matches!(entry.state, State::Stored | State::Known));
        let key = (entry.uid.as_str(), entry.ordinal);
        let Ok(at) = self.by_id.binary_search_by(|place| self.listing.id(*place as usize).cmp(&key)) else {
            self.miss(entry);
            return;
        };
        let place = self.by_id[at];
        self.found[place as usize] = true;
        if self.is_suspect(&entry, place) {
            self.plan.known += 1;
            self.plan.stuck += u64::from(entry.state == State::DeleteSent && self.now - entry.changed > STUCK_AFTER);
            if self.suspects.len() < SUSPECTS {
                self.suspects.push((place, entry));
            }
            return;
        }
        match entry.state {
            State::Attempted if entry.attempts == 0 => self.again.push((place, entry.fingerprint)),
            State::Attempted => self.singly.push((place, entry.attempts)),
            State::Stored if entry.outcome == "stub" && entry.wanted.is_some() => {
                self.wanted.push((place, entry.wanted.unwrap_or_default()));
            }
            _ => {
                self.plan.known += 1;
                self.plan.stuck += u64::from(entry.state == State::DeleteSent && self.now - entry.changed > STUCK_AFTER);
                if is_due(&entry, &self.after, self.now) || self.is_unmarked(&entry) {
                    self.dispose.push(place);
                }
            }
        }
    }

    /// It is not listed.
    fn miss(&mut self, entry: Entry) {
        let goes = match entry.state {
            State::Gone => false,
            State::Stored | State::DeleteSent => self.nature.legible,
            State::Attempted | State::Known => self.nature.complete,
        };
        let is_here = entry.state != State::Attempted || !entry.outcome.is_empty();
        match (goes, is_here) {
            (false, _) => {}
            (true, true) => self.plan.gone.push((entry.uid, entry.ordinal)),
            (true, false) => self.plan.lost.push((entry.uid, entry.ordinal)),
        }
    }

    /// Whether it is here, and was not marked as read when it came: the session broke.
    fn is_unmarked(&self, entry: &Entry) -> bool {
        let is_here = entry.state == State::Stored && !STAYS.contains(&entry.outcome.as_str());
        self.after == After::Seen && is_here && entry.stored.is_some_and(|stored| stored > self.marked)
    }

    /// Whether what is listed under this id may be another message than the one that the ledger speaks of.
    fn is_suspect(&self, entry: &Entry, place: u32) -> bool {
        let size = self.listing.size(place as usize);
        !self.nature.by_header
            && match entry.state {
                State::Gone => true,
                State::DeleteSent => self.nature.reuses_ids,
                State::Stored => self.nature.reuses_ids && entry.wanted.is_none() && size.is_some_and(|size| size != entry.size),
                State::Attempted | State::Known => false,
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
        self.singly.sort_unstable_by_key(|(place, attempts)| (*attempts, *place));
        self.wanted.sort_unstable();
        self.dispose.sort_unstable();
        self.again.sort_unstable();
        self.suspects.sort_unstable_by_key(|(place, _)| *place);
        self.plan.gone.sort_unstable();
        self.plan.lost.sort_unstable();
        self.again.iter().for_each(|(place, _)| self.found[*place as usize] = false);
        let fetch = self.unseen().map(|place| self.listing.item(place)).collect();
        let (listing, mut plan) = (self.listing, self.plan);
        let item = |place: u32| listing.item(place as usize);
        plan.fetch = fetch;
        plan.singly = self.singly.into_iter().map(|(place, attempts)| (item(place), attempts)).collect();
        plan.doubtful = self.again.into_iter().filter_map(|(place, fingerprint)| Some((item(place), fingerprint?))).collect();
        plan.wanted = self.wanted.into_iter().map(|(place, whose)| (item(place), whose)).collect();
        plan.dispose = self.dispose.into_iter().map(item).collect();
        plan.suspects = self.suspects.into_iter().map(|(place, entry)| (item(place), entry)).collect();
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
    let here = matches!(entry.state, State::Stored | State::DeleteSent | State::Gone);
    let goes = !entry.outcome.is_empty() && !STAYS.contains(&entry.outcome.as_str());
    here && goes
        && match after {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::time::Duration;

    pub const DAY: i64 = 24 * 3600 * 1000;
    pub const NOW: i64 = 1000 * DAY;

    pub fn item(handle: u32, uid: &str) -> Item {
        Item { handle, id: (uid.into(), 0), size: Some(1), arrived: None }
    }

    pub fn entry(uid: &str, state: State, outcome: &str, days_ago: i64) -> Entry {
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

    const IMAP: Nature = Nature { legible: true, complete: true, reuses_ids: false, by_header: false };
    const POP3: Nature = Nature { reuses_ids: true, ..IMAP };

    fn plan(listing: &[Item], nature: Nature, ledger: &[Entry], after: &After, now: i64) -> Plan {
        let mut comparison = Comparison::new(listing.iter().cloned().collect(), nature, after, now);
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
        let suspects = |plan: &Plan| plan.suspects.iter().map(|(item, _)| item.handle).collect::<Vec<_>>();
        let by_uid = plan(&listing, IMAP, &ledger, &After::Delete, NOW);
        assert_eq!(handles(&by_uid.fetch), [1]);
        assert_eq!(by_uid.singly, [(item(2, "tried"), 1)]);
        assert_eq!((handles(&by_uid.dispose), suspects(&by_uid)), (vec![3, 4], vec![6]), "nothing that reappears goes unseen");
        assert_eq!(by_uid.gone, [("vanished".to_owned(), 0)]);
        assert_eq!((by_uid.known, by_uid.stuck), (4, 1));
        let by_uidl = plan(&listing, POP3, &ledger, &After::Delete, NOW);
        assert_eq!((handles(&by_uidl.dispose), suspects(&by_uidl)), (vec![3], vec![4, 6]), "a UIDL may be used again");
        let by_header = plan(&listing, Nature { by_header: true, ..POP3 }, &ledger, &After::Delete, NOW);
        assert_eq!((handles(&by_header.dispose), suspects(&by_header)), (vec![3, 4, 6], vec![]));
        let grown = [Item { size: Some(2), ..item(3, "here") }];
        assert_eq!(suspects(&plan(&grown, POP3, &ledger, &After::Keep, NOW)), [3], "it was smaller");
    }

    #[test]
    fn trap_20_whoever_was_in_flight_most_often_comes_last() {
        let listing = [item(1, "twice"), item(2, "once"), item(3, "too")];
        let ledger = [("twice", 2), ("too", 1), ("once", 1)];
        let ledger = ledger.map(|(uid, attempts)| Entry { attempts, ..entry(uid, State::Attempted, "", 0) });
        let singly = plan(&listing, POP3, &ledger, &After::Delete, NOW).singly;
        assert_eq!(singly, [(item(2, "once"), 1), (item(3, "too"), 1), (item(1, "twice"), 2)]);
    }

    #[test]
    fn what_is_not_here_is_never_gone() {
        let attempted = entry("attempted", State::Attempted, "", 1);
        let doubted = Entry { attempts: 0, ..entry("doubted", State::Attempted, "delivered", 1) };
        let ledger = [attempted, doubted, entry("known", State::Known, "", 1), entry("stored", State::Stored, "delivered", 1)];
        let id = |uid: &str| (uid.to_owned(), 0);
        let whole = plan(&[], POP3, &ledger, &After::Delete, NOW);
        assert_eq!(whole.gone, [id("doubted"), id("known"), id("stored")]);
        assert_eq!(whole.lost, [id("attempted")], "it is new if it comes back");
        let part = plan(&[], Nature { complete: false, ..POP3 }, &ledger, &After::Delete, NOW);
        assert_eq!((part.gone, part.lost), (vec![id("stored")], vec![]), "the rest may be behind what is shown");
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
        let broken = Nature { legible: false, complete: false, ..POP3 };
        let plan = plan(&[], broken, &[entry("a", State::Stored, "delivered", 1)], &After::Delete, NOW);
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
        assert!(!is_due(&entry("x", State::Gone, "", 90), &After::Delete, NOW), "it never was here");
    }

    #[test]
    fn new_ids_for_all_mail_are_noticed() {
        let ledger: Vec<Entry> = (0..100).map(|n| entry(&format!("old{n}"), State::Stored, "delivered", 1)).collect();
        let listing: Vec<Item> = (0..101).map(|n| item(n, &format!("new{n}"))).collect();
        let renumbered = plan(&listing, POP3, &ledger, &After::Keep, NOW);
        assert!(looks_renumbered(&renumbered, listing.len()));
        let few_new: Vec<Item> = (0..10).map(|n| item(n, &format!("new{n}"))).collect();
        assert!(!looks_renumbered(&plan(&few_new, POP3, &ledger, &After::Keep, NOW), few_new.len()), "somebody emptied the mailbox");
        assert!(!looks_renumbered(&plan(&few_new, POP3, &[], &After::Keep, NOW), few_new.len()), "a new mailbox");
    }
}
