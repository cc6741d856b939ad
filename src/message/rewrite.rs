//! A header with some fields changed and every other byte as it was.

use super::address_list::{self, Entry, RawMailbox};
use super::header::{Header, without_line_end};
use crate::address::Address;

/// RFC 5322 §2.1.1; folding beyond that needs a space, which an id or a long address has not.
const FOLD: usize = 76;

/// Changes to one header, made when it is [finished](Rewrite::finish).
#[derive(Debug)]
pub struct Rewrite<'a> {
    bytes: &'a [u8],
    header: Header<'a>,
    /// What stands in the place of each field; `None`: itself.
    instead: Vec<Option<Vec<u8>>>,
    above: Vec<u8>,
    below: Vec<u8>,
}

impl<'a> Rewrite<'a> {
    /// Of the header at the start of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        let header = Header::parse(message);
        Self { bytes: &message[..header.size()], instead: vec![None; header.fields().len()], header, above: Vec::new(), below: Vec::new() }
    }

    /// As it was before any change.
    pub fn header(&self) -> &Header<'a> {
        &self.header
    }

    /// Takes out all fields of that name.
    pub fn remove(&mut self, name: &str) {
        for (field, instead) in self.header.fields().iter().zip(&mut self.instead) {
            if field.is(name) {
                *instead = Some(Vec::new());
            }
        }
    }

    /// Gives the field that value, at the place of the first of its name or else at the end. Others of its name go.
    pub fn set(&mut self, name: &str, value: &str) {
        let line = field(name, value);
        let first = self.header.fields().iter().position(|field| field.is(name));
        self.remove(name);
        match first {
            Some(first) => self.instead[first] = Some(line),
            None => self.below.extend(line),
        }
    }

    /// Adds the field at the end if there is none.
    pub fn set_if_missing(&mut self, name: &str, value: &str) {
        if self.header.first(name).is_none() {
            self.below.extend(field(name, value));
        }
    }

    /// Adds the field above everything, below what was put there before.
    pub fn prepend(&mut self, name: &str, value: &str) {
        self.above.extend(field(name, value));
    }

    /// Replaces single addresses in all lists of that name: names, comments, spacing and folding stay. `new` gets each piece that
    /// stands in the place of a mailbox, bare words included, and says what becomes of it.
    pub fn replace_addresses(&mut self, name: &str, new: impl Fn(&RawMailbox) -> Option<Address>) {
        for (at, field) in self.header.fields().iter().enumerate() {
            if !field.is(name) {
                continue;
            }
            let mut value = Vec::with_capacity(field.value.len());
            let mut copied = 0;
            for entry in address_list::entries(field.value) {
                let Entry::Mailbox(raw) = entry else { continue };
                if let Some(address) = new(&raw) {
                    value.extend_from_slice(&field.value[copied..raw.range.start]);
                    value.extend_from_slice(address.to_string().as_bytes());
                    copied = raw.range.end;
                }
            }
            if copied > 0 {
                value.extend_from_slice(&field.value[copied..]);
                // Name, colon and line end are what lies around the value.
                let line = &self.bytes[field.range.clone()];
                let end = without_line_end(line).len();
                self.instead[at] = Some([&line[..end - field.value.len()], &value, &line[end..]].concat());
            }
        }
    }

    /// The whole new header, blank line included.
    pub fn finish(self) -> Vec<u8> {
        let blank = self.blank_line();
        let mut out = self.above;
        let mut copied = 0;
        for (field, instead) in self.header.fields().iter().zip(&self.instead) {
            if let Some(instead) = instead {
                out.extend_from_slice(&self.bytes[copied..field.range.start]);
                out.extend_from_slice(instead);
                copied = field.range.end;
            }
        }
        out.extend_from_slice(&self.bytes[copied..self.bytes.len() - blank.len()]);
        if !out.is_empty() && !out.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
        out.extend(self.below);
        out.extend_from_slice(if blank.is_empty() { b"\r\n" } else { blank });
        out
    }

    fn blank_line(&self) -> &'a [u8] {
        if !self.header.ended() {
            return b"";
        }
        let before = self.bytes.len() - 1;
        let start = self.bytes[..before].iter().rposition(|&b| b != b'\r').map_or(0, |at| at + 1);
        &self.bytes[start..]
    }
}

/// `name: value` with its line end; what could end the line early is a space instead, and long values are folded at spaces.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut line = format!("{name}:");
    let mut length = line.len();
    for word in value.split(|c: char| c.is_control() || c == ' ').filter(|word| !word.is_empty()) {
        if length + 1 + word.len() > FOLD && length > name.len() + 1 {
            line.push_str("\r\n");
            length = 0;
        }
        line.push(' ');
        line.push_str(word);
        length += 1 + word.len();
    }
    line.push_str("\r\n");
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAIL: &str = "From: Alice <alice@office.lan>\r\nX:\tkept \r\n\tas it is\r\nTo: \"Bob, B\" <bob@office.lan>,\r\n c@x.example (c),\
        alice@office.lan\r\nBcc: d@x.example\r\nbcc: e@x.example\r\n\r\nbody";

    fn check(message: &str, change: impl Fn(&mut Rewrite<'_>), expected: &str) {
        let mut rewrite = Rewrite::new(message.as_bytes());
        change(&mut rewrite);
        assert_eq!(String::from_utf8_lossy(&rewrite.finish()), expected);
    }

    #[test]
    fn nothing_changes_by_itself() {
        check(MAIL, |_| {}, MAIL.strip_suffix("body").unwrap());
        check("To: a\n\n", |_| {}, "To: a\n\n");
        check("To: a\r\r\n\r\r\nx", |_| {}, "To: a\r\r\n\r\r\n");
        check("To: a", |_| {}, "To: a\r\n\r\n");
        check("", |_| {}, "\r\n");
    }

    #[test]
    fn fields_are_set_added_and_removed() {
        check(
            "A: 1\r\nB: 2\r\nA: 3\r\n\r\n",
            |mail| {
                mail.set("a", "4");
                mail.set("C", "5");
                mail.remove("B");
                mail.set_if_missing("A", "6");
                mail.set_if_missing("D", "7");
                mail.prepend("E", "8");
            },
            "E: 8\r\na: 4\r\nC: 5\r\nD: 7\r\n\r\n",
        );
        check(MAIL, |mail| mail.remove("Bcc"), &MAIL.strip_suffix("body").unwrap().replace("Bcc: d@x.example\r\nbcc: e@x.example\r\n", ""));
        check("", |mail| mail.set("X", "a\r\nBcc: b\0c"), "X: a Bcc: b c\r\n\r\n");
    }

    #[test]
    fn addresses_change_and_nothing_around_them() {
        let outside = |raw: &RawMailbox| match raw.address()?.to_string().as_str() {
            "alice@office.lan" => Address::parse("alice@example.com").ok(),
            "bob@office.lan" => Address::parse("\"b b\"@example.com").ok(),
            _ => None,
        };
        check(
            MAIL,
            |mail| mail.replace_addresses("To", outside),
            &MAIL
                .strip_suffix("body")
                .unwrap()
                .replace("<bob@office.lan>", "<\"b b\"@example.com>")
                .replace(",alice@office.lan", ",alice@example.com"),
        );
        check("to :  alice@office.lan\n\n", |mail| mail.replace_addresses("To", outside), "to :  alice@example.com\n\n");
    }

    #[test]
    fn long_values_are_folded() {
        let long = "word ".repeat(40);
        assert!(field("Subject", &long).split(|&b| b == b'\n').all(|line| line.len() <= 78));
    }

    proptest! {
        #[test]
        fn the_rest_stays(message in "(To|X|:|a@b|,|<|>|\"|\r\n|\n| ){0,30}") {
            let mut rewrite = Rewrite::new(message.as_bytes());
            rewrite.replace_addresses("To", |raw| raw.address());
            rewrite.set("New", "1");
            let new = rewrite.finish();
            prop_assert!(Header::parse(&new).ended());
            prop_assert_eq!(Header::parse(&new).size(), new.len());
        }
    }
}
