//! Whose turn it is at a smarthost that takes so many mails in a time: each that has to wait is given its turn, and a letter takes the
//! turns of mailings. Pure.

use crate::store::queue::MailId;
use std::collections::{BTreeMap, VecDeque};

/// A turn that nobody has taken for so long is free again (milliseconds): its mail was deleted or held.
const MISSED: i64 = 60_000;

/// The departures of one smarthost. Times are milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Within the last period, oldest first.
    departures: VecDeque<i64>,
    /// Turns that were promised, and whether to a mailing.
    promised: BTreeMap<MailId, (i64, bool)>,
}

impl Pace {
    /// From before a restart, in their order.
    pub(super) fn remember(&mut self, departure: i64) {
        self.departures.push_back(departure);
    }

    /// Whether the mail may leave now; `Err` is its turn.
    pub(super) fn ask(&mut self, id: MailId, bulk: bool, now: i64, most: usize, period: i64) -> Result<(), i64> {
        let most = most.max(1);
        while self.departures.front().is_some_and(|time| time + period <= now) {
            self.departures.pop_front();
        }
        self.promised.retain(|_, (turn, _)| *turn + MISSED > now);
        let mine = self.promised.remove(&id).map(|(turn, _)| turn);
        // Those who were promised a turn before it: all, or for a letter only letters.
        let others = self.promised.values().filter(|(turn, other)| (bulk || !other) && mine.is_none_or(|mine| *turn < mine));
        let others: Vec<i64> = others.map(|(turn, _)| *turn).collect();
        if self.departures.len() + others.iter().filter(|turn| **turn <= now).count() < most {
            self.departures.push_back(now);
            return Ok(());
        }
        let mut taken: Vec<i64> = self.departures.iter().copied().chain(others).collect();
        taken.sort_unstable();
        let turn = taken.len().checked_sub(most).and_then(|at| taken.get(at)).map_or(now, |time| time + period);
        // A letter's turn may be a mailing's, which then finds no room and is given another.
        let turn = turn.max(now + 1);
        self.promised.insert(id, (turn, bulk));
        Err(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_turn_and_letters_go_first() {
        let mut pace = Pace::default();
        let mut ask = |id, bulk, now| pace.ask(MailId(id), bulk, now, 2, 100);
        assert_eq!((ask(1, true, 0), ask(2, true, 10)), (Ok(()), Ok(())));
        // Three mailings wait: two a hundred.
        assert_eq!([3, 4, 5].map(|id| ask(id, true, 20)), [Err(100), Err(110), Err(200)]);
        // A letter has the first of these turns.
        assert_eq!(ask(6, false, 30), Err(100));
        assert_eq!(ask(6, false, 100), Ok(()));
        assert_eq!(ask(3, true, 100), Err(110));
        assert_eq!(ask(3, true, 110), Ok(()));
        assert_eq!(ask(4, true, 110), Err(200));
        assert_eq!(ask(4, true, 200), Ok(()));
        assert_eq!(ask(5, true, 200), Err(210));
        assert_eq!(ask(5, true, 210), Ok(()));
    }

    #[test]
    fn never_more_than_allowed_whoever_asks_whenever() {
        let mut pace = Pace::default();
        pace.remember(-30);
        let (mut left, mut waiting) = (vec![-30], (0..60).map(MailId).collect::<Vec<_>>());
        for now in (0..6_000).step_by(7) {
            waiting.retain(|id| match pace.ask(*id, id.0 % 3 == 0, now, 5, 400) {
                Ok(()) => {
                    left.push(now);
                    false
                }
                Err(turn) => {
                    assert!(turn > now);
                    true
                }
            });
        }
        assert!(waiting.is_empty(), "{waiting:?}");
        assert!(left.windows(6).all(|six| six[5] - six[0] >= 400), "{left:?}");
        assert!(*left.last().unwrap() <= 60 / 5 * 407 + 407, "{left:?}");
    }
}
