//! How one session numbers the messages of its mailbox (RFC 9051 §2.3.1.2), a pure value.
//!
//! The mailbox moves on whenever anybody touches it; the numbers that a client counts with move only when it is told. A [`View`] holds
//! what the client knows and what it has yet to be told of removals, and turns a [`Delta`] into [`Notice`]s.

use super::sequence::{Ranges, SequenceSet};

/// What happened to a mailbox since the view's mod-sequence.
#[derive(Debug, Clone, Default)]
pub struct Delta {
    /// UIDs of new messages, ascending.
    pub new: Vec<u32>,
    /// UIDs that are gone, ascending.
    pub gone: Vec<u32>,
    /// Messages whose flags changed.
    pub changed: Vec<Changed>,
    /// The mailbox's highest mod-sequence now.
    pub modseq: u64,
}

/// The flags of one message after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Which.
    pub uid: u32,
    /// Its mod-sequence.
    pub modseq: u64,
    /// System flags.
    pub flags: u32,
    /// Keywords.
    pub keywords: Vec<String>,
}

/// What the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Messages are gone.
    Expunged {
        /// For VANISHED.
        uids: Ranges,
        /// For EXPUNGE: the numbers that they had, largest first, so that none shifts another.
        numbers: Vec<u32>,
    },
    /// So many messages are there.
    Exists(u32),
    /// Flags changed: number and message.
    Fetch(u32, Changed),
}

/// The messages as the client counts them. Kept as runs of UIDs: most mailboxes have few gaps, and the largest fits into some kilobytes.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Ascending, with gaps between them.
    runs: Vec<Run>,
    /// Gone, but the client was not told: ascending, a part of the above.
    pending: Vec<u32>,
    modseq: u64,
    /// The mod-sequence from before the first removal that is pending.
    withheld: Option<u64>,
}

/// UIDs side by side.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u32,
    last: u32,
    /// Messages in the runs before.
    before: u32,
}

impl View {
    /// Of a mailbox just opened.
    pub fn new(uids: &Ranges, modseq: u64) -> View {
        let mut view = View { runs: Vec::with_capacity(uids.as_slice().len()), pending: Vec::new(), modseq, withheld: None };
        uids.as_slice().iter().for_each(|(first, last)| view.push(*first, *last));
        view
    }

    /// Messages, as the client counts them.
    pub fn exists(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.before + (run.last - run.first) + 1)
    }

    /// The mod-sequence up to which everything is known.
    pub fn modseq(&self) -> u64 {
        self.modseq
    }

    /// The mod-sequence up to which the client was told of everything: what it may come back with.
    pub fn told_modseq(&self) -> u64 {
        self.withheld.unwrap_or(self.modseq)
    }

    /// The largest UID; 0 in an empty mailbox.
    pub fn last_uid(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.last)
    }

    /// All UIDs, ascending.
    pub fn uids(&self) -> impl Iterator<Item = u32> + '_ {
        self.runs.iter().flat_map(|run| run.first..=run.last)
    }

    /// The number of a message.
    pub fn number(&self, uid: u32) -> Option<u32> {
        let run = self.runs[..self.runs.partition_point(|run| run.first <= uid)].last()?;
        (uid <= run.last).then(|| run.before + (uid - run.first) + 1)
    }

    /// The UID of a message.
    pub fn uid(&self, number: u32) -> Option<u32> {
        let run = self.runs[..self.runs.partition_point(|run| run.before < number)].last()?;
        let uid = run.first.checked_add(number - run.before - 1)?;
        (uid <= run.last).then_some(uid)
    }

    /// Whether a message is gone though the client was not told yet.
    pub fn is_pending(&self, uid: u32) -> bool {
        self.pending.binary_search(&uid).is_ok()
    }

    /// Whether the client has yet to be told of removals.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The UIDs that a set names, as ranges that may hold UIDs of no message, but none above the last one of this view. Message numbers that
    /// do not exist are the client's error; UIDs that do not exist are passed over.
    pub fn spans(&self, set: &SequenceSet, by_uid: bool, saved: &Ranges) -> Result<Ranges, NoSuchNumber> {
        if *set == SequenceSet::Saved {
            return Ok(saved.clone());
        }
        let last = self.last_uid();
        if by_uid {
            let named = set.resolve(last);
            return Ok(Ranges::from_pairs(
                named.as_slice().iter().filter(|(low, _)| *low <= last).map(|(low, high)| (*low, (*high).min(last))),
            ));
        }
        if set.exceeds(self.exists()) {
            return Err(NoSuchNumber);
        }
        let numbers = set.resolve(self.exists());
        Ok(Ranges::from_pairs(numbers.as_slice().iter().filter_map(|(low, high)| Some((self.uid(*low)?, self.uid(*high)?)))))
    }

    /// How many messages of the mailbox lie in `ranges`.
    pub fn count(&self, ranges: &Ranges) -> usize {
        ranges.as_slice().iter().map(|(low, high)| (self.up_to(*high) - self.up_to(low.saturating_sub(1))) as usize).sum()
    }

    /// The UIDs of the mailbox that lie in `ranges`, ascending.
    pub fn within(&self, ranges: &Ranges) -> Vec<u32> {
        let mut found = Vec::new();
        for (low, high) in ranges.as_slice() {
            let start = self.runs.partition_point(|run| run.last < *low);
            for run in self.runs[start..].iter().take_while(|run| run.first <= *high) {
                found.extend(run.first.max(*low)..=run.last.min(*high));
            }
        }
        found
    }

    /// Takes in what happened, and says what the client is told now. Removals wait while `may_expunge` is false.
    pub fn update(&mut self, delta: Delta, may_expunge: bool) -> Vec<Notice> {
        let mut notices = Vec::new();
        for uid in delta.gone {
            if self.number(uid).is_some()
                && let Err(at) = self.pending.binary_search(&uid)
            {
                self.pending.insert(at, uid);
            }
        }
        if may_expunge {
            notices.extend(self.expunge());
        } else if self.has_pending() {
            self.withheld.get_or_insert(self.modseq);
        }
        let before = self.exists();
        let last = self.last_uid();
        delta.new.into_iter().filter(|uid| *uid > last).for_each(|uid| self.push(uid, uid));
        if self.exists() > before {
            notices.push(Notice::Exists(self.exists()));
        }
        // A client asks for the flags of new messages itself.
        notices.extend(
            delta
                .changed
                .into_iter()
                .filter(|changed| changed.uid <= last && !self.is_pending(changed.uid))
                .filter_map(|changed| Some(Notice::Fetch(self.number(changed.uid)?, changed))),
        );
        self.modseq = self.modseq.max(delta.modseq);
        notices
    }

    fn expunge(&mut self) -> Option<Notice> {
        if self.pending.is_empty() {
            return None;
        }
        let pending = std::mem::take(&mut self.pending);
        self.withheld = None;
        let numbers = pending.iter().rev().filter_map(|uid| self.number(*uid)).collect();
        let gone = Ranges::from_sorted(pending);
        let mut cuts = gone.as_slice().iter().copied().peekable();
        for run in std::mem::take(&mut self.runs) {
            let mut first = run.first;
            // What is pending is in the view, so no cut reaches beyond its run.
            while let Some((from, to)) = cuts.next_if(|(from, _)| *from <= run.last) {
                if from > first {
                    self.push(first, from - 1);
                }
                first = to.saturating_add(1);
            }
            if first <= run.last {
                self.push(first, run.last);
            }
        }
        Some(Notice::Expunged { uids: gone, numbers })
    }

    /// Adds UIDs above all others.
    fn push(&mut self, first: u32, last: u32) {
        let before = self.exists();
        match self.runs.last_mut() {
            Some(run) if run.last.checked_add(1) == Some(first) => run.last = last,
            _ => self.runs.push(Run { first, last, before }),
        }
    }

    /// Messages with a UID up to this one.
    fn up_to(&self, uid: u32) -> u32 {
        let runs = &self.runs[..self.runs.partition_point(|run| run.first <= uid)];
        runs.last().map_or(0, |run| run.before + (uid.min(run.last) - run.first) + 1)
    }
}

/// A message number beyond the end of the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchNumber;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Event {
        Deliver(u8),
        Expunge(Vec<prop::sample::Index>),
        Command { may_expunge: bool },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (1_u8..4).prop_map(Event::Deliver),
            prop::collection::vec(any::<prop::sample::Index>(), 1..4).prop_map(Event::Expunge),
            any::<bool>().prop_map(|may_expunge| Event::Command { may_expunge }),
        ]
    }

    proptest! {
        /// What a client builds from the answers is what the server thinks it knows, and in the end what there is.
        #[test]
        fn a_client_that_counts_agrees(events in prop::collection::vec(event(), 0..60)) {
            let mut mailbox: Vec<u32> = vec![1, 2, 3];
            let mut next = 4;
            let mut view = View::new(&Ranges::from_sorted(mailbox.iter().copied()), 1);
            let mut client: Vec<u32> = mailbox.clone();
            let mut delta = Delta::default();
            let drain = |view: &mut View, delta: &mut Delta, client: &mut Vec<u32>, may_expunge| {
                for notice in view.update(std::mem::take(delta), may_expunge) {
                    match notice {
                        Notice::Expunged { numbers, uids } => {
                            for number in numbers {
                                let uid = client.remove(number as usize - 1);
                                prop_assert!(uids.contains(uid));
                            }
                        }
                        Notice::Exists(count) => {
                            while client.len() < count as usize {
                                client.push(view.uid(client.len() as u32 + 1).unwrap());
                            }
                        }
                        Notice::Fetch(number, changed) => prop_assert_eq!(view.uid(number), Some(changed.uid)),
                    }
                }
                prop_assert_eq!(&*client, &view.uids().collect::<Vec<_>>());
                prop_assert_eq!(client.len(), view.exists() as usize);
                for (uid, number) in client.iter().zip(1..) {
                    prop_assert_eq!((view.uid(number), view.number(*uid)), (Some(*uid), Some(number)));
                }
                Ok(())
            };
            for event in events {
                match event {
                    Event::Deliver(count) => for _ in 0..count {
                        mailbox.push(next);
                        delta.new.push(next);
                        next += 1;
                    },
                    Event::Expunge(indices) => for index in indices {
                        if !mailbox.is_empty() {
                            let uid = mailbox.remove(index.index(mailbox.len()));
                            // A message that came and went unseen is in neither list.
                            if let Some(at) = delta.new.iter().position(|new| *new == uid) {
                                delta.new.remove(at);
                            } else {
                                delta.gone.push(uid);
                            }
                        }
                    },
                    Event::Command { may_expunge } => {
                        delta.changed.extend(mailbox.first().map(|uid| Changed { uid: *uid, modseq: 2, flags: 0, keywords: vec![] }));
                        drain(&mut view, &mut delta, &mut client, may_expunge)?;
                    }
                }
            }
            drain(&mut view, &mut delta, &mut client, true)?;
            prop_assert_eq!(client, mailbox);
        }
    }

    #[test]
    fn sets_in_a_mailbox() {
        use crate::imap::sequence::End::{self, Number as N, Star};
        let view = View::new(&Ranges::from_sorted([10, 20, 30, 40]), 1);
        let check = |ranges: &[(End, End)], by_uid, expected: Result<&[u32], NoSuchNumber>| {
            let set = SequenceSet::Ranges(ranges.to_vec());
            let found = view.spans(&set, by_uid, &Ranges::default()).map(|spans| view.within(&spans));
            assert_eq!(view.spans(&set, by_uid, &Ranges::default()).map(|spans| view.count(&spans)), expected.map(<[u32]>::len));
            assert_eq!(found, expected.map(<[u32]>::to_vec), "{ranges:?}");
        };
        check(&[(N(2), N(3))], false, Ok(&[20, 30]));
        check(&[(N(4), N(5))], false, Err(NoSuchNumber));
        check(&[(Star, Star)], false, Ok(&[40]));
        check(&[(N(15), N(35))], true, Ok(&[20, 30]));
        check(&[(N(50), Star)], true, Ok(&[40]));
        check(&[(N(1), N(5)), (N(40), N(40))], true, Ok(&[40]));
        let view = View::new(&Ranges::from_pairs([(3, 5), (9, 9)]), 1);
        assert_eq!([1, 3, 4, 5].map(|number| view.uid(number)), [Some(3), Some(5), Some(9), None]);
        assert_eq!(view.uid(0), None);
        assert_eq!([2, 3, 6, 9, 10].map(|uid| view.number(uid)), [None, Some(1), None, Some(4), None]);
        assert_eq!(view.within(&Ranges::from_pairs([(1, 4), (8, 20)])), [3, 4, 9]);
        assert_eq!(view.count(&Ranges::from_pairs([(0, 4), (8, 20)])), 3);
    }
}
