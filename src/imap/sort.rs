//! The order of SORT (RFC 5256 §3, RFC 5957). Pure: the keys were computed when the messages were stored.

use std::cmp::Ordering;

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

/// Sorts by the criteria, the first deciding first.
pub fn sort(rows: &mut [SortRow], criteria: &[SortCriterion]) {
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
    let text = |one: &str, other: &str| casemap(one).cmp(casemap(other));
    match key {
        SortKey::Arrival => one.arrival.cmp(&other.arrival),
        SortKey::Date => one.date.cmp(&other.date),
        SortKey::Size => one.size.cmp(&other.size),
        SortKey::Subject => text(&one.subject, &other.subject),
        SortKey::From => text(&one.from, &other.from),
        SortKey::To => text(&one.to, &other.to),
        SortKey::Cc => text(&one.cc, &other.cc),
        SortKey::DisplayFrom => text(&one.display_from, &other.display_from),
        SortKey::DisplayTo => text(&one.display_to, &other.display_to),
    }
}

/// Without regard to case (RFC 5051 asks for title case; upper and title case differ in a few ligatures only).
fn casemap(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_uppercase)
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
}
