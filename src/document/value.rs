//! A value, read as what the reader wants it to be.

use super::parse::{Document, Kind, Mark, Node};
use super::problem::Place;
use super::table::Table;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

/// Something that was read, and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Found<'d, T> {
    /// What was read.
    pub value: T,
    /// Where it stands.
    pub mark: Mark<'d>,
}

impl<T> Found<'_, T> {
    /// File, line and column.
    pub fn place(&self) -> Place {
        self.mark.place()
    }
}

/// A value in a document. Its typed readers note a problem and answer `None` when it is something else.
#[derive(Debug, Clone)]
pub struct Value<'d> {
    document: &'d Document,
    node: &'d Node,
    /// The key that it was found under, for messages.
    key: String,
}

impl<'d> Value<'d> {
    pub(super) fn new(document: &'d Document, node: &'d Node, key: String) -> Self {
        Self { document, node, key }
    }

    /// Where it stands.
    pub fn mark(&self) -> Mark<'d> {
        self.document.mark(self.node.at.clone())
    }

    /// File, line and column.
    pub fn place(&self) -> Place {
        self.mark().place()
    }

    /// The key that it stands under.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What it is, in words: "a text", "a number", …
    pub fn kind(&self) -> &'static str {
        match self.node.kind {
            Kind::Text(_) => "a text",
            Kind::Integer(_) | Kind::Number => "a number",
            Kind::Boolean(_) => "true or false",
            Kind::Date(_) => "a date",
            Kind::Time => "a time",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }

    /// Notes that it has the wrong type; `wanted` such as "a text in quotes".
    pub fn wrong_type(&self, wanted: &str) {
        self.mark().wrong(format!("\"{}\" is {} here, but should be {wanted}", self.key, self.kind()));
    }

    /// The text, if it is one; no problem is noted if not.
    pub fn as_text(&self) -> Option<&'d str> {
        match &self.node.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, if it is a list; no problem is noted if not.
    pub fn as_list(&self) -> Option<Vec<Value<'d>>> {
        match &self.node.kind {
            Kind::List(list) => Some(list.iter().map(|node| Value::new(self.document, node, self.key.clone())).collect()),
            _ => None,
        }
    }

    /// The table, if it is one; no problem is noted if not.
    pub fn as_table(&self) -> Option<Table<'d>> {
        match &self.node.kind {
            Kind::Table(entries) => Some(Table::new(self.document, entries, self.node.at.clone(), self.key.clone())),
            _ => None,
        }
    }

    /// The truth value, if it is one; no problem is noted if not.
    pub fn as_boolean(&self) -> Option<bool> {
        match self.node.kind {
            Kind::Boolean(on) => Some(on),
            _ => None,
        }
    }

    /// A date as `YYYY-MM-DD`, if it is one; no problem is noted if not.
    pub fn as_date(&self) -> Option<&'d str> {
        match &self.node.kind {
            Kind::Date(text) => Some(text),
            _ => None,
        }
    }

    /// A text in quotes.
    pub fn text(&self) -> Option<&'d str> {
        self.or_wrong(self.as_text(), "a text in quotes")
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        self.or_wrong(self.as_boolean(), "true or false, without quotes")
    }

    /// A whole number within bounds.
    pub fn integer(&self, bounds: std::ops::RangeInclusive<i64>) -> Option<i64> {
        match self.node.kind {
            Kind::Integer(number) if bounds.contains(&number) => Some(number),
            Kind::Integer(_) | Kind::Number => {
                self.mark().wrong(format!("\"{}\" must be a whole number from {} to {}", self.key, bounds.start(), bounds.end()));
                None
            }
            _ => self.or_wrong(None, "a number without quotes"),
        }
    }

    /// A list.
    pub fn list(&self) -> Option<Vec<Value<'d>>> {
        self.or_wrong(self.as_list(), "a list, such as [\"one\", \"two\"]")
    }

    /// The elements of a list, or the value itself: for keys that take one or several.
    pub fn one_or_more(&self) -> Vec<Value<'d>> {
        self.as_list().unwrap_or_else(|| vec![self.clone()])
    }

    /// A table.
    pub fn table(&self) -> Option<Table<'d>> {
        self.or_wrong(self.as_table(), "a table, such as { key = \"value\" }")
    }

    /// A text that `parse` makes something of; its error becomes the problem's message.
    pub fn parse<T, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        match parse(self.text()?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.mark().wrong(error.to_string());
                None
            }
        }
    }

    /// One of some words; the nearest is suggested for another.
    pub fn word<T: Clone>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(meaning.clone());
        }
        let list: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let message = format!("\"{}\" is \"{text}\" here, but should be {}", self.key, list.join(" or "));
        self.mark().wrong(match nearest(text, words.iter().map(|(word, _)| *word)) {
            Some(word) => format!("{message}; did you mean \"{word}\"?"),
            None => message,
        });
        None
    }

    /// A duration: an integer with s, m, h, d or w, in quotes.
    pub fn duration(&self) -> Option<Duration> {
        self.or_wrong(self.as_text(), "a duration in quotes, such as \"30d\" or \"5m\"")?;
        self.parse(super::duration)
    }

    /// A size in bytes: an integer with KB, MB or GB, in quotes.
    pub fn size(&self) -> Option<u64> {
        self.or_wrong(self.as_text(), "a size in quotes, such as \"50MB\"")?;
        self.parse(super::size)
    }

    /// A mail address.
    pub fn address(&self) -> Option<crate::address::Address> {
        self.parse(|text| crate::address::Address::parse(text).map_err(|error| format!("this is no mail address: {error}")))
    }

    /// A domain.
    pub fn domain(&self) -> Option<crate::address::Domain> {
        self.parse(|text| crate::address::Domain::parse(text).map_err(|error| format!("this is no domain: {error}")))
    }

    /// A file or directory, relative to the directory of the document.
    pub fn path(&self) -> Option<PathBuf> {
        let text = self.text()?;
        // "C:\temp" in double quotes has a tab in it and no backslash.
        if text.contains(char::is_control) {
            let written = self.mark().text().trim_matches('"');
            let help = format!("write the path in single quotes: '{written}', or with slashes: \"{}\"", written.replace('\\', "/"));
            self.mark().wrong_with("in double quotes, a backslash starts a special character", help);
            return None;
        }
        if text.is_empty() {
            self.mark().wrong(format!("\"{}\" is empty", self.key));
            return None;
        }
        Some(self.document.path().parent().map_or_else(|| PathBuf::from(text), |directory| directory.join(text)))
    }

    fn or_wrong<T>(&self, value: Option<T>, wanted: &str) -> Option<T> {
        if value.is_none() {
            self.wrong_type(wanted);
        }
        value
    }
}

/// The known word that an unknown one was probably meant to be.
pub fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let scored = known.map(|k| (strsim::damerau_levenshtein(&word.to_lowercase(), k), k));
    scored.filter(|(distance, k)| *distance <= 1 + k.len().max(word.len()) / 4).min().map(|(_, k)| k)
}
