//! Keys that this version reads and checks, but can't act on yet: said in words, never silently ignored.

use crate::document::{Table, Value};

/// A key whose feature is not built.
struct NotBuilt {
    table: &'static str,
    key: &'static str,
    /// What to do meanwhile.
    instead: &'static str,
}

/// The list; a feature that gets built loses its line.
const NOT_BUILT: &[NotBuilt] = &[NotBuilt { table: "listen", key: "admin", instead: "`mailroom status` says how things are" }];

/// Notes every key of the list that the file has, unless it is an empty list.
pub(super) fn note(root: &Table<'_>) {
    for NotBuilt { table, key, instead } in NOT_BUILT {
        let tables = root.get(table).map_or_else(Vec::new, |value| value.one_or_more().iter().filter_map(Value::as_table).collect());
        for table in tables {
            let (Some(mark), Some(value)) = (table.key_mark(key), table.get(key)) else { continue };
            if value.as_list().is_none_or(|list| !list.is_empty()) {
                mark.warn(format!("\"{key}\" is not built yet in this version and does nothing"), Some((*instead).to_owned()));
            }
        }
    }
}

/// The list as (table, key), for the test of the annotated example.
#[cfg(test)]
pub(super) fn keys() -> Vec<(&'static str, &'static str)> {
    NOT_BUILT.iter().map(|entry| (entry.table, entry.key)).collect()
}
