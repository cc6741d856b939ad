//! Sets of message numbers and UIDs (RFC 9051 §9, `sequence-set`). Pure; knows no mailbox: `*` is resolved by who does.

/// More ranges than this in one set are refused: clients that name every UID singly stay far below.
pub const MAX_RANGES: usize = 20_000;

/// One end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A number, never 0.
    Number(u32),
    /// `*`: the largest number in use.
    Star,
}

/// `sequence-set`, as written; or `$`, the result of the last search that was asked to be saved (RFC 5182).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequenceSet {
    /// Ranges in the order given; both ends may come in either order.
    Ranges(Vec<(End, End)>),
    /// `$`
    Saved,
}

/// Inclusive ranges in ascending order that neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges(Vec<(u32, u32)>);

impl SequenceSet {
    /// With `*` standing for `largest`. In an empty mailbox (`largest` 0) `*` names nothing.
    pub fn resolve(&self, largest: u32) -> Ranges {
        let SequenceSet::Ranges(ranges) = self else { return Ranges::default() };
        let value = |end: &End| match end {
            End::Number(number) => *number,
            End::Star => largest,
        };
        Ranges::from_pairs(ranges.iter().filter_map(|(one, other)| {
            let (low, high) = (value(one).min(value(other)), value(one).max(value(other)));
            (high > 0).then_some((low.max(1), high))
        }))
    }

    /// True if it is a `seq-number`: one number or `*`.
    pub fn is_one(&self) -> bool {
        matches!(self, SequenceSet::Ranges(ranges) if matches!(ranges[..], [(one, other)] if one == other))
    }

    /// True if a number above `largest` is named: for message numbers that is the client's error.
    pub fn exceeds(&self, largest: u32) -> bool {
        let SequenceSet::Ranges(ranges) = self else { return false };
        let beyond = |end: &End| match end {
            End::Number(number) => *number > largest,
            End::Star => largest == 0,
        };
        ranges.iter().any(|(one, other)| beyond(one) || beyond(other))
    }
}

impl Ranges {
    /// From ranges in any order, overlapping or not.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (u32, u32)>) -> Ranges {
        let mut sorted: Vec<(u32, u32)> = pairs.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(sorted.len());
        for (low, high) in sorted {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        Ranges(merged)
    }

    /// From numbers in ascending order.
    pub fn from_sorted(numbers: impl IntoIterator<Item = u32>) -> Ranges {
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for number in numbers {
            match merged.last_mut() {
                Some(last) if last.1.saturating_add(1) == number => last.1 = number,
                _ => merged.push((number, number)),
            }
        }
        Ranges(merged)
    }

    /// The ranges themselves.
    pub fn as_slice(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Whether `number` lies in one of them.
    pub fn contains(&self, number: u32) -> bool {
        let after = self.0.partition_point(|(low, _)| *low <= number);
        after > 0 && self.0[after - 1].1 >= number
    }

    /// What lies in both.
    pub fn intersection(&self, other: &Ranges) -> Ranges {
        let (mut one, mut two) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(&&(low, high)), Some(&&(other_low, other_high))) = (one.peek(), two.peek()) {
            let (start, end) = (low.max(other_low), high.min(other_high));
            if start <= end {
                both.push((start, end));
            }
            if high < other_high {
                one.next();
            } else {
                two.next();
            }
        }
        Ranges(both)
    }

    /// Nothing at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `1:3,5`; the empty set has no form of its own and renders as nothing.
impl std::fmt::Display for Ranges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, (low, high)) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            if low == high { write!(f, "{low}")? } else { write!(f, "{low}:{high}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(End, End)]) -> SequenceSet {
        SequenceSet::Ranges(ranges.to_vec())
    }

    #[test]
    fn stars_and_order() {
        use End::{Number as N, Star};
        let check = |ranges: &[(End, End)], largest, expected: &str| assert_eq!(set(ranges).resolve(largest).to_string(), expected);
        check(&[(N(4), N(2)), (N(7), N(7))], 9, "2:4,7");
        check(&[(N(1), N(3)), (N(3), N(5)), (N(6), N(6))], 9, "1:6");
        check(&[(Star, Star)], 9, "9");
        // Beyond the end, `n:*` still names the last message.
        check(&[(N(12), Star)], 9, "9:12");
        check(&[(N(1), Star)], 0, "1");
        check(&[(Star, Star)], 0, "");
        check(&[(N(u32::MAX), N(1)), (N(u32::MAX), Star)], 9, "1:4294967295");
    }

    #[test]
    fn membership() {
        let ranges = Ranges::from_pairs([(5, 7), (1, 2), (20, 20)]);
        let inside: Vec<u32> = (0..30).filter(|number| ranges.contains(*number)).collect();
        assert_eq!(inside, [1, 2, 5, 6, 7, 20]);
        assert_eq!(Ranges::from_sorted(inside), ranges);
        let other = Ranges::from_pairs([(2, 5), (7, 30)]);
        assert_eq!(ranges.intersection(&other).to_string(), "2,5,7,20");
        assert_eq!(other.intersection(&ranges), ranges.intersection(&other));
    }

    #[test]
    fn numbers_beyond_the_end() {
        assert!(set(&[(End::Number(1), End::Number(4))]).exceeds(3));
        assert!(!set(&[(End::Number(3), End::Star)]).exceeds(3));
        assert!(set(&[(End::Star, End::Star)]).exceeds(0));
    }
}
