//! A table whose reader asks for keys by name; what nobody asked for is unknown.

use super::parse::{Document, Entry, Kind, Mark};
use super::problem::Place;
use super::value::{Found, Value, nearest};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// A table; remembers which keys were asked for, so that [`finish`](Self::finish) can report the others.
///
/// Every typed reader answers `None` both for a key that is absent and for one that is wrong; the latter is noted.
#[derive(Debug, Clone)]
pub struct Table<'d> {
    document: &'d Document,
    entries: &'d [Entry],
    at: Range<usize>,
    name: String,
    asked: RefCell<BTreeSet<String>>,
}

impl<'d> Table<'d> {
    pub(super) fn new(document: &'d Document, entries: &'d [Entry], at: Range<usize>, name: String) -> Self {
        Self { document, entries, at, name, asked: RefCell::default() }
    }

    /// Its header, or its braces.
    pub fn mark(&self) -> Mark<'d> {
        self.document.mark(self.at.clone())
    }

    /// File, line and column of its header or braces.
    pub fn place(&self) -> Place {
        self.mark().place()
    }

    /// The key or header that it stands under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the key is there; does not count as asking for it.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// The value of a key, whatever it is.
    pub fn get(&self, key: &str) -> Option<Value<'d>> {
        self.asked.borrow_mut().insert(key.to_owned());
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Value::new(self.document, &entry.node, entry.key.clone()))
    }

    /// Where a key stands, if it is there.
    pub fn key_mark(&self, key: &str) -> Option<Mark<'d>> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| self.document.mark(entry.key_at.clone()))
    }

    /// The value of a key that must be there; `example` is what to write if it is not.
    pub fn require(&self, key: &str, example: &str) -> Option<Value<'d>> {
        let value = self.get(key);
        if value.is_none() {
            self.missing(key, example);
        }
        value
    }

    /// Notes that a key is missing.
    pub fn missing(&self, key: &str, example: &str) {
        let message = match self.name.as_str() {
            "" => format!("\"{key}\" is missing"),
            name => format!("\"{key}\" is missing in \"{name}\""),
        };
        self.mark().wrong_with(message, format!("add {example}"));
    }

    /// Every entry in the order of the file; all of them count as asked for.
    pub fn entries(&self) -> Vec<(Found<'d, &'d str>, Value<'d>)> {
        let mut asked = self.asked.borrow_mut();
        let entry = |entry: &'d Entry| {
            asked.insert(entry.key.clone());
            let key = Found { value: entry.key.as_str(), mark: self.document.mark(entry.key_at.clone()) };
            (key, Value::new(self.document, &entry.node, entry.key.clone()))
        };
        self.entries.iter().map(entry).collect()
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<Found<'d, &'d str>> {
        self.read(key, |value| value.text())
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str) -> Option<Found<'d, bool>> {
        self.read(key, |value| value.boolean())
    }

    /// A whole number within bounds.
    pub fn integer(&self, key: &str, bounds: std::ops::RangeInclusive<i64>) -> Option<Found<'d, i64>> {
        self.read(key, |value| value.integer(bounds))
    }

    /// A duration.
    pub fn duration(&self, key: &str) -> Option<Found<'d, Duration>> {
        self.read(key, |value| value.duration())
    }

    /// A size in bytes.
    pub fn size(&self, key: &str) -> Option<Found<'d, u64>> {
        self.read(key, |value| value.size())
    }

    /// A mail address.
    pub fn address(&self, key: &str) -> Option<Found<'d, crate::address::Address>> {
        self.read(key, |value| value.address())
    }

    /// A file or directory, relative to the directory of the document.
    pub fn path(&self, key: &str) -> Option<Found<'d, PathBuf>> {
        self.read(key, |value| value.path())
    }

    /// One of some words.
    pub fn word<T: Clone>(&self, key: &str, words: &[(&str, T)]) -> Option<Found<'d, T>> {
        self.read(key, |value| value.word(words))
    }

    /// Texts: a list of them or a single one; `None` only if the key is absent.
    pub fn texts(&self, key: &str) -> Option<Vec<Found<'d, &'d str>>> {
        let values = self.get(key)?.one_or_more();
        Some(values.into_iter().filter_map(|value| Some(Found { value: value.text()?, mark: value.mark() })).collect())
    }

    /// The elements of a list, or the single value in its stead; `None` only if the key is absent.
    pub fn one_or_more(&self, key: &str) -> Option<Vec<Value<'d>>> {
        Some(self.get(key)?.one_or_more())
    }

    /// A table.
    pub fn table(&self, key: &str) -> Option<Table<'d>> {
        self.get(key)?.table()
    }

    /// The tables of `[[key]]`; none if the key is absent. A single `[key]` is noted as wrong.
    pub fn tables(&self, key: &str) -> Vec<Table<'d>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        if value.as_table().is_some() {
            value.mark().wrong_with(format!("\"{key}\" may come several times"), format!("write [[{key}]]"));
            return Vec::new();
        }
        value.list().unwrap_or_default().iter().filter_map(Value::table).collect()
    }

    /// Reports the keys that nobody asked for, with the nearest one that somebody did.
    pub fn finish(self) {
        let asked = self.asked.into_inner();
        self.document.note_keys(&self.name, &asked);
        for entry in self.entries.iter().filter(|entry| !asked.contains(&entry.key)) {
            let mark = self.document.mark(entry.key_at.clone());
            let is_header = self.name.is_empty() && matches!(entry.node.kind, Kind::Table(_) | Kind::List(_));
            let what = if is_header { "table" } else { "key" };
            // A key that is there already was not meant, but [[collector]] may come again.
            let given = |key: &str| !is_header && self.entries.iter().any(|entry| entry.key == key);
            let known = asked.iter().map(String::as_str).filter(|key| !given(key));
            match nearest(&entry.key, known) {
                Some(near) => mark.wrong(format!("unknown {what} \"{}\"; did you mean \"{near}\"?", entry.key)),
                None => {
                    let list: Vec<&str> = asked.iter().map(String::as_str).collect();
                    mark.wrong_with(format!("unknown {what} \"{}\"", entry.key), format!("known here: {}", list.join(", ")));
                }
            }
        }
    }

    fn read<T>(&self, key: &str, read: impl FnOnce(&Value<'d>) -> Option<T>) -> Option<Found<'d, T>> {
        let value = self.get(key)?;
        Some(Found { value: read(&value)?, mark: value.mark() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a collector-like table and returns the problems in a line each.
    fn problems(text: &str) -> Vec<String> {
        let document = Document::parse("a.toml", text).unwrap();
        let root = document.root();
        for table in root.tables("collector") {
            table.require("name", "name = \"isp\"");
            table.integer("port", 1..=65_535);
            table.boolean("enabled");
            table.duration("after");
            table.texts("folders");
            table.word("protocol", &[("pop3", 1), ("imap", 2)]);
            table.path("ca");
            table.finish();
        }
        root.finish();
        document.finish().0.iter().map(|p| format!("{}: {}", p.place.as_ref().unwrap().line, p.message)).collect()
    }

    #[test]
    fn notes_every_mistake_in_the_order_of_the_file() {
        let text = "shedule = 1\n[[collector]]\nport = 70000\nenabled = \"yes\"\nafter = 7\nfolders = [\"a\", 1]\nprotocol = \"pop\"\nafterr = 1\n[[colector]]\n";
        assert_eq!(
            problems(text),
            [
                "1: unknown key \"shedule\"",
                "2: \"name\" is missing in \"collector\"",
                "3: \"port\" must be a whole number from 1 to 65535",
                "4: \"enabled\" is a text here, but should be true or false, without quotes",
                "5: \"after\" is a number here, but should be a duration in quotes, such as \"30d\" or \"5m\"",
                "6: \"folders\" is a number here, but should be a text in quotes",
                "7: \"protocol\" is \"pop\" here, but should be \"pop3\" or \"imap\"; did you mean \"pop3\"?",
                "8: unknown key \"afterr\"",
                "9: unknown table \"colector\"; did you mean \"collector\"?",
            ]
        );
        assert_eq!(
            problems("[[collector]]\nname = \"a\"\nprotocoll = \"imap\""),
            ["3: unknown key \"protocoll\"; did you mean \"protocol\"?"]
        );
        assert_eq!(problems("[collector]\nname = \"a\""), ["1: \"collector\" may come several times"]);
        assert_eq!(
            problems("[[collector]]\nname = \"a\"\nca = \"C:\\temp\\new\""),
            ["3: in double quotes, a backslash starts a special character"]
        );
        assert_eq!(problems("[[collector]]\nname = \"a\"\nport = 1.5"), ["3: \"port\" must be a whole number from 1 to 65535"]);
    }
}
