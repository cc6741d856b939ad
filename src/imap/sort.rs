//! The order of SORT (RFC 5256 §3, RFC 5957). Pure: the keys were computed when the messages were stored.

use std::cmp::Ordering;

use super::casemap::casemap;
use super::command::{SortCriterion, SortKey};

/// What is compared of one message.
#[derive(Debug, Clone, Default)]
pub struct SortRow {
    /// The last tie-break: order in the mailbox.
    pub uid: u32,
    /// INTERNALDATE.
    pub arrival: i64,
    /// Date field; INTERNALDATE where that is missing.
    pub date: i64,
    /// RFC822.SIZE.
    pub size: u64,
    /// Base subject.
    pub subject: String,
    /// First mailbox's local part.
    pub from: String,
    /// First mailbox's local part.
    pub to: String,
    /// First mailbox's local part.
    pub cc: String,
    /// Display name or address of the first From.
    pub display_from: String,
    /// Display name or address of the first To.
    pub display_to: String,
}

/// Sorts by the criteria, the first deciding first. Texts that are compared are left as they were compared.
pub fn sort(rows: &mut [SortRow], criteria: &[SortCriterion]) {
    for (at, criterion) in criteria.iter().enumerate() {
        if criteria[..at].iter().all(|earlier| earlier.key != criterion.key) {
            rows.iter_mut().filter_map(|row| text(row, criterion.key)).for_each(|text| *text = casemap(text));
        }
    }
    rows.sort_by(|one, other| {
        criteria
            .iter()
            .map(|criterion| {
                let ordering = compare(one, other, criterion.key);
                if criterion.reverse { ordering.reverse() } else { ordering }
            })
            .find(|ordering| ordering.is_ne())
            .unwrap_or_else(|| one.uid.cmp(&other.uid))
    });
}

fn compare(one: &SortRow, other: &SortRow, key: SortKey) -> Ordering {
    match key {
        SortKey::Arrival => one.arrival.cmp(&other.arrival),
        SortKey::Date => one.date.cmp(&other.date),
        SortKey::Size => one.size.cmp(&other.size),
        SortKey::Subject => one.subject.cmp(&other.subject),
        SortKey::From => one.from.cmp(&other.from),
        SortKey::To => one.to.cmp(&other.to),
        SortKey::Cc => one.cc.cmp(&other.cc),
        SortKey::DisplayFrom => one.display_from.cmp(&other.display_from),
        SortKey::DisplayTo => one.display_to.cmp(&other.display_to),
    }
}

fn text(row: &mut SortRow, key: SortKey) -> Option<&mut String> {
    match key {
        SortKey::Arrival | SortKey::Date | SortKey::Size => None,
        SortKey::Subject => Some(&mut row.subject),
        SortKey::From => Some(&mut row.from),
        SortKey::To => Some(&mut row.to),
        SortKey::Cc => Some(&mut row.cc),
        SortKey::DisplayFrom => Some(&mut row.display_from),
        SortKey::DisplayTo => Some(&mut row.display_to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criteria_in_turn() {
        let row = |uid, subject: &str, size| SortRow { uid, subject: subject.into(), size, ..SortRow::default() };
        let mut rows = vec![row(1, "b", 5), row(2, "A", 5), row(3, "B", 9), row(4, "a", 5)];
        let by = |key, reverse| SortCriterion { key, reverse };
        sort(&mut rows, &[by(SortKey::Size, true), by(SortKey::Subject, false)]);
        assert_eq!(rows.iter().map(|row| row.uid).collect::<Vec<_>>(), [3, 2, 4, 1]);
    }

    #[test]
    fn accents_stand_with_their_letters() {
        let row = |uid, subject: &str| SortRow { uid, subject: subject.into(), ..SortRow::default() };
        let mut rows = vec![row(1, "Zoo"), row(2, "Ärger"), row(3, "öl"), row(4, "arm"), row(5, "ÄRGER"), row(6, "Eis")];
        sort(&mut rows, &[SortCriterion { key: SortKey::Subject, reverse: false }]);
        assert_eq!(rows.iter().map(|row| row.uid).collect::<Vec<_>>(), [4, 2, 5, 6, 3, 1]);
    }
}
