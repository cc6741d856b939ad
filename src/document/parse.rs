//! From text to a tree that knows where each value stands.

use super::problem::{Place, Problem};
use super::syntax;
use super::table::Table;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// A parsed file, and what its readers found wrong in it.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    text: String,
    lines: Vec<usize>,
    root: Vec<Entry>,
    problems: RefCell<Vec<(usize, Problem)>>,
    warnings: RefCell<Vec<(usize, Problem)>>,
    keys: RefCell<BTreeSet<(String, String)>>,
}

/// A key with its value, in the order of the file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Range<usize>,
    pub(super) node: Node,
}

/// A value and where it stands: for a table with a header of its own, that header.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Text(String),
    Integer(i64),
    /// A number that fits no `i64`, or has a fraction.
    Number,
    Boolean(bool),
    /// A date without a time of day, as `YYYY-MM-DD`.
    Date(String),
    Time,
    List(Vec<Node>),
    Table(Vec<Entry>),
}

impl Document {
    /// Parses a text; `path` only names it in problems.
    pub fn parse(path: impl Into<PathBuf>, text: &str) -> Result<Self, Vec<Problem>> {
        // Editors on Windows still write a byte-order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        let mut document = Self {
            path: path.into(),
            text: text.to_owned(),
            lines,
            root: Vec::new(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            keys: RefCell::default(),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(syntax::explain(&document, &errors));
        }
        document.root = entries(table.get_ref());
        Ok(document)
    }

    /// The keys outside any header, and the headers.
    pub fn root(&self) -> Table<'_> {
        Table::new(self, &self.root, 0..0, String::new())
    }

    /// What its path is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text that was parsed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every key that the readers of finished tables know, with the table's name: what an annotated example has to mention.
    pub fn keys(&self) -> BTreeSet<(String, String)> {
        self.keys.borrow().clone()
    }

    pub(super) fn note_keys(&self, table: &str, keys: &BTreeSet<String>) {
        self.keys.borrow_mut().extend(keys.iter().map(|key| (table.to_owned(), key.clone())));
    }

    /// Everything that its readers found wrong, and everything that they warn about, each in the order of the file.
    pub fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |list: RefCell<Vec<(usize, Problem)>>| {
            let mut list = list.into_inner();
            list.sort_by_key(|(at, _)| *at);
            list.dedup();
            list.into_iter().map(|(_, problem)| problem).collect()
        };
        (sorted(self.problems), sorted(self.warnings))
    }

    pub(super) fn mark(&self, at: Range<usize>) -> Mark<'_> {
        Mark { document: self, start: at.start, end: at.end }
    }
}

/// A stretch of a document: where something stands, and what is to be said about it.
#[derive(Debug, Clone, Copy)]
pub struct Mark<'d> {
    document: &'d Document,
    start: usize,
    end: usize,
}

impl<'d> Mark<'d> {
    /// File, line and column.
    pub fn place(&self) -> Place {
        let line = self.line_index();
        let start = self.document.lines[line];
        let column = self.document.text.get(start..self.start).map_or(self.start - start, |before| before.chars().count());
        Place { file: self.document.path.clone(), line: line + 1, column: column + 1 }
    }

    /// A problem at this place, not yet noted.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        let line = self.line_index();
        let start = self.document.lines[line];
        let end = self.document.lines.get(line + 1).map_or(self.document.text.len(), |next| next - 1);
        let text = self.document.text.get(start..end).unwrap_or_default().trim_end_matches('\r');
        let marked = self.document.text.get(self.start..self.end.min(end).max(self.start)).unwrap_or_default();
        Problem { place: Some(self.place()), text: text.to_owned(), length: marked.chars().count(), message: message.into(), help: None }
    }

    /// Notes that this is wrong.
    pub fn wrong(&self, message: impl Into<String>) {
        self.note(self.problem(message));
    }

    /// Notes that this is wrong, and what to write instead.
    pub fn wrong_with(&self, message: impl Into<String>, help: impl Into<String>) {
        self.note(self.problem(message).with_help(help));
    }

    /// Notes that this is allowed, but worth a word.
    pub fn warn(&self, message: impl Into<String>, help: Option<String>) {
        let problem = Problem { help, ..self.problem(message) };
        self.document.warnings.borrow_mut().push((self.start, problem));
    }

    /// The text that stands here.
    pub fn text(&self) -> &'d str {
        self.document.text.get(self.start..self.end).unwrap_or_default()
    }

    /// The document that it is a part of.
    pub fn document(&self) -> &'d Document {
        self.document
    }

    /// Notes a problem that was made elsewhere, of this place.
    pub fn note(&self, problem: Problem) {
        self.document.problems.borrow_mut().push((self.start, problem));
    }

    fn line_index(&self) -> usize {
        self.document.lines.partition_point(|start| *start <= self.start).saturating_sub(1)
    }
}

/// The entries of a table in the order of the file. The recursion is bounded by the parser's own (80 levels).
fn entries(table: &DeTable<'_>) -> Vec<Entry> {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &toml::Spanned<std::borrow::Cow<'_, str>> = key;
        Entry { key: key.get_ref().to_string(), key_at: key.span(), node: node(value) }
    };
    let mut entries: Vec<Entry> = table.iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.key_at.start);
    entries
}

fn node(value: &toml::Spanned<DeValue<'_>>) -> Node {
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).map_or(Kind::Number, Kind::Integer),
        DeValue::Float(_) => Kind::Number,
        DeValue::Boolean(on) => Kind::Boolean(*on),
        DeValue::Datetime(time) if time.time.is_none() && time.offset.is_none() => Kind::Date(time.to_string()),
        DeValue::Datetime(_) => Kind::Time,
        DeValue::Array(list) => Kind::List(list.iter().map(node).collect()),
        DeValue::Table(table) => Kind::Table(entries(table)),
    };
    Node { at: value.span(), kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters() {
        let document = Document::parse("a.toml", "\u{feff}x = 1\r\n'ü' = { 'ö' = 'ä' }\n").unwrap();
        let outer = document.root().get("ü").unwrap();
        assert_eq!(outer.mark().place(), Place { file: "a.toml".into(), line: 2, column: 7 });
        let inner = outer.table().unwrap().get("ö").unwrap();
        assert_eq!(inner.mark().place().column, 15);
        assert_eq!(inner.mark().problem("x").text, "'ü' = { 'ö' = 'ä' }");
    }

    #[test]
    fn keeps_the_order_of_the_file() {
        let document = Document::parse("a.toml", "[t]\n\"z@x\" = 1\nb.c = 2\n\"a@x\" = 3\n").unwrap();
        let table = document.root().table("t").unwrap();
        let keys: Vec<String> = table.entries().into_iter().map(|(key, _)| key.value.to_owned()).collect();
        assert_eq!(keys, ["z@x", "b", "a@x"]);
    }

    #[test]
    fn a_file_nested_without_end_is_an_error_and_no_crash() {
        assert!(Document::parse("a.toml", &format!("a = {}", "[".repeat(100_000))).is_err());
        assert!(Document::parse("a.toml", &format!("a = {}1{}", "{a=".repeat(50_000), "}".repeat(50_000))).is_err());
    }
}
