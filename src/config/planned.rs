//! Keys that this version reads and checks, but can't act on yet: said in words, never silently ignored.

use crate::document::{Table, Value};

/// What happens to a file that has such a key.
enum Answer {
    /// It does not load.
    Refused,
    /// It loads, with a warning.
    Ignored,
}

/// A key, or one value of it, whose feature is not built.
struct NotBuilt {
    table: &'static str,
    key: &'static str,
    /// Only this value; `None` is any that is not empty.
    value: Option<&'static str>,
    answer: Answer,
    /// What to do meanwhile.
    instead: &'static str,
}

const fn refused(table: &'static str, key: &'static str, value: Option<&'static str>, instead: &'static str) -> NotBuilt {
    NotBuilt { table, key, value, answer: Answer::Refused, instead }
}

const fn ignored(table: &'static str, key: &'static str, instead: &'static str) -> NotBuilt {
    NotBuilt { table, key, value: None, answer: Answer::Ignored, instead }
}

/// The list; a feature that gets built loses its line.
const NOT_BUILT: &[NotBuilt] = &[
    refused("storage", "backup", None, "leave it out; stop mailroom and copy the directory instead"),
    ignored("listen", "admin", "`mailroom status` says how things are"),
];

/// Notes every key of the list that the file has.
pub(super) fn note(root: &Table<'_>) {
    for entry in NOT_BUILT {
        let tables = match entry.table {
            "" => vec![root.clone()],
            name => root.get(name).map_or_else(Vec::new, |value| value.one_or_more().iter().filter_map(Value::as_table).collect()),
        };
        for table in tables {
            let (Some(mark), Some(value)) = (table.key_mark(entry.key), table.get(entry.key)) else { continue };
            let applies = match entry.value {
                Some(word) => value.as_text() == Some(word),
                None => value.as_list().is_none_or(|list| !list.is_empty()),
            };
            if !applies {
                continue;
            }
            let what = match (entry.table, entry.value) {
                ("", _) => format!("[[{}]]", entry.key),
                (_, Some(value)) => format!("{} = \"{value}\"", entry.key),
                (_, None) => format!("\"{}\"", entry.key),
            };
            match entry.answer {
                Answer::Refused => mark.wrong_with(format!("{what} is not built yet in this version"), entry.instead),
                Answer::Ignored => {
                    mark.warn(format!("{what} is not built yet in this version and does nothing"), Some(entry.instead.to_owned()))
                }
            }
        }
    }
}

/// The list as (table, key), for the test of the annotated example.
#[cfg(test)]
pub(super) fn keys() -> Vec<(&'static str, &'static str)> {
    NOT_BUILT.iter().map(|entry| (entry.table, entry.key)).collect()
}
