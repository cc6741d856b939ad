//! Whether a message answers a SEARCH: the keys, made ready once, tried on one message after the other. Pure.
//!
//! What is in bodies is found out only when nothing cheaper has decided: [`Program::test`] answers `None` until it is told. Whoever knows
//! where a text may be learns from [`Program::reach`] which messages are worth a look.

use jiff::civil::Date;

use super::command::{DateField, Key};
use super::date;
use super::sequence::{Ranges, SequenceSet};
use crate::message::date::without_comments;
use crate::message::fields;
use crate::message::fold::fold;
use crate::message::header::Header;
use crate::message::searched::{self, Sought};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Keys with sets resolved and texts folded.
#[derive(Debug, Clone)]
pub struct Program {
    tests: Vec<Test>,
    /// Texts that are looked for in bodies.
    pub needles: Vec<Sought>,
    /// Headers are needed.
    pub header: bool,
    /// But no more of them than [`fields::listed`] keeps.
    pub listed: bool,
    /// EMAILIDs are needed.
    pub email_ids: bool,
    /// A mod-sequence is asked for: the answer names the highest (RFC 7162 §3.1.5).
    pub modseq: bool,
}

/// One condition that is ready.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // see Key
pub enum Test {
    Always(bool),
    Uids(Ranges),
    Flag {
        bit: u32,
        set: bool,
    },
    Keyword {
        name: String,
        set: bool,
    },
    /// From inclusive, to exclusive, in milliseconds.
    Received(i64, i64),
    Saved(i64, i64),
    /// Days, as written in the Date field.
    Sent(Option<Date>, Option<Date>),
    Larger(u64),
    Smaller(u64),
    ModSeq(u64),
    EmailId(String),
    Header {
        name: String,
        text: String,
    },
    /// An index into [`Program::needles`].
    Needle(usize),
    Not(Box<Test>),
    Or(Box<(Test, Test)>),
    And(Vec<Test>),
}

/// What is known of a message.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Candidate<'a> {
    pub uid: u32,
    pub flags: u32,
    pub keywords: &'a [String],
    pub internal_date: i64,
    pub saved: i64,
    pub size: u64,
    pub modseq: u64,
    /// If the program wants it.
    pub email_id: &'a str,
    /// If the program wants it.
    pub header: Option<&'a Header<'a>>,
    /// For each needle whether it is there, as far as it is known; beyond the end nothing is.
    pub found: &'a [Option<bool>],
}

impl Program {
    /// Makes keys ready. `now` is in milliseconds since 1970; `recent` are the UIDs with `\\Recent`; `uids` says which UIDs a set means, by UID
    /// or by number.
    pub fn new(keys: &[Key], now: i64, recent: &Ranges, uids: &dyn Fn(&SequenceSet, bool) -> Ranges) -> Program {
        let mut program = Program { tests: Vec::new(), needles: Vec::new(), header: false, listed: true, email_ids: false, modseq: false };
        program.tests = keys.iter().map(|key| program.ready(key, now, recent, uids)).collect();
        program
    }

    /// The conditions that must all hold.
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }

    fn ready(&mut self, key: &Key, now: i64, recent: &Ranges, uids: &dyn Fn(&SequenceSet, bool) -> Ranges) -> Test {
        let day = |day: &Date| date::start_of_day(*day);
        match key {
            Key::All => Test::Always(true),
            Key::Flag { bit, set } => Test::Flag { bit: *bit, set: *set },
            Key::Keyword { name, set } => Test::Keyword { name: name.clone(), set: *set },
            Key::Recent(true) => Test::Uids(recent.clone()),
            Key::Recent(false) => Test::Not(Box::new(Test::Uids(recent.clone()))),
            Key::Sequence(set) => Test::Uids(uids(set, false)),
            Key::Uid(set) => Test::Uids(uids(set, true)),
            Key::Before(DateField::Sent, date) => self.sent(None, Some(*date)),
            Key::On(DateField::Sent, date) => self.sent(Some(*date), date.tomorrow().ok()),
            Key::Since(DateField::Sent, date) => self.sent(Some(*date), None),
            Key::Before(DateField::Internal, date) => Test::Received(i64::MIN, day(date)),
            Key::On(DateField::Internal, date) => Test::Received(day(date), day(date).saturating_add(DAY)),
            Key::Since(DateField::Internal, date) => Test::Received(day(date), i64::MAX),
            Key::Before(DateField::Saved, date) => Test::Saved(i64::MIN, day(date)),
            Key::On(DateField::Saved, date) => Test::Saved(day(date), day(date).saturating_add(DAY)),
            Key::Since(DateField::Saved, date) => Test::Saved(day(date), i64::MAX),
            Key::Older(seconds) => Test::Received(i64::MIN, ago(now, *seconds).saturating_add(1)),
            Key::Younger(seconds) => Test::Received(ago(now, *seconds), i64::MAX),
            Key::Larger(size) => Test::Larger(*size),
            Key::Smaller(size) => Test::Smaller(*size),
            Key::Header { name, text } => {
                self.header = true;
                self.listed &= fields::is_listed(name);
                Test::Header { name: name.clone(), text: fold(text) }
            }
            Key::Body(text) => self.needle(text, false),
            Key::Text(text) => self.needle(text, true),
            Key::ModSeq(modseq) => {
                self.modseq = true;
                Test::ModSeq(*modseq)
            }
            Key::EmailId(id) => {
                self.email_ids = true;
                Test::EmailId(id.clone())
            }
            // We give no thread ids, and so no message has this one.
            Key::ThreadId(_) => Test::Always(false),
            Key::SaveDateSupported => Test::Always(true),
            Key::Not(key) => Test::Not(Box::new(self.ready(key, now, recent, uids))),
            Key::Or(keys) => Test::Or(Box::new((self.ready(&keys.0, now, recent, uids), self.ready(&keys.1, now, recent, uids)))),
            Key::And(keys) => Test::And(keys.iter().map(|key| self.ready(key, now, recent, uids)).collect()),
        }
    }

    fn sent(&mut self, from: Option<Date>, to: Option<Date>) -> Test {
        self.header = true;
        Test::Sent(from, to)
    }

    /// The empty text is in every message.
    fn needle(&mut self, text: &str, header: bool) -> Test {
        if text.is_empty() {
            return Test::Always(true);
        }
        let needle = Sought { text: fold(text), header };
        let known = self.needles.iter().position(|known| *known == needle);
        Test::Needle(known.unwrap_or_else(|| {
            self.needles.push(needle);
            self.needles.len() - 1
        }))
    }

    /// Whether the message passes; `None`: only its text can tell.
    pub fn test(&self, candidate: &Candidate) -> Option<bool> {
        all(&self.tests, candidate)
    }

    /// Texts that it helps to know the whereabouts of, each once. `header`: also in what a delivery put above the message.
    pub fn sought(&self) -> Vec<Sought> {
        let mut sought = Vec::new();
        self.tests.iter().for_each(|test| self.seek(test, &mut sought));
        sought
    }

    fn seek(&self, test: &Test, sought: &mut Vec<Sought>) {
        let mut add = |text: &str, header| match sought.iter_mut().find(|known| known.text == text) {
            Some(known) => known.header |= header,
            None => sought.push(Sought { text: text.to_owned(), header }),
        };
        match test {
            Test::Header { name, text } => add(text, searched::may_stand_above(name)),
            Test::Needle(at) => self.needles.get(*at).into_iter().for_each(|needle| add(&needle.text, needle.header)),
            Test::Not(test) => self.seek(test, sought),
            Test::Or(tests) => [&tests.0, &tests.1].into_iter().for_each(|test| self.seek(test, sought)),
            Test::And(tests) => tests.iter().for_each(|test| self.seek(test, sought)),
            _ => {}
        }
    }

    /// Messages that may pass, given the messages that may hold a text (`None`: any). `None`: any may.
    pub fn reach<'a>(&self, whereabouts: &dyn Fn(&str) -> Option<&'a Ranges>) -> Option<Ranges> {
        self.reach_of_all(&self.tests, whereabouts)
    }

    fn reach_of_all<'a>(&self, tests: &[Test], whereabouts: &dyn Fn(&str) -> Option<&'a Ranges>) -> Option<Ranges> {
        let reaches = tests.iter().filter_map(|test| self.reach_of(test, whereabouts));
        reaches.reduce(|all, reach| all.intersection(&reach))
    }

    fn reach_of<'a>(&self, test: &Test, whereabouts: &dyn Fn(&str) -> Option<&'a Ranges>) -> Option<Ranges> {
        match test {
            Test::Uids(uids) => Some(uids.clone()),
            Test::Header { text, .. } => whereabouts(text).cloned(),
            Test::Needle(at) => whereabouts(&self.needles.get(*at)?.text).cloned(),
            Test::Or(tests) => {
                let (one, other) = (self.reach_of(&tests.0, whereabouts)?, self.reach_of(&tests.1, whereabouts)?);
                Some(Ranges::from_pairs(one.as_slice().iter().chain(other.as_slice()).copied()))
            }
            Test::And(tests) => self.reach_of_all(tests, whereabouts),
            _ => None,
        }
    }
}

fn ago(now: i64, seconds: u32) -> i64 {
    now.saturating_sub(i64::from(seconds) * 1000)
}

fn all(tests: &[Test], candidate: &Candidate) -> Option<bool> {
    let mut known = true;
    for test in tests {
        match holds(test, candidate) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => known = false,
        }
    }
    known.then_some(true)
}

/// Recurses no deeper than the parser let keys be nested.
fn holds(test: &Test, candidate: &Candidate) -> Option<bool> {
    Some(match test {
        Test::Always(answer) => *answer,
        Test::Uids(uids) => uids.contains(candidate.uid),
        Test::Flag { bit, set } => (candidate.flags & bit != 0) == *set,
        Test::Keyword { name, set } => candidate.keywords.iter().any(|keyword| keyword.eq_ignore_ascii_case(name)) == *set,
        Test::Received(from, to) => (*from..*to).contains(&candidate.internal_date),
        Test::Saved(from, to) => (*from..*to).contains(&candidate.saved),
        Test::Sent(from, to) => {
            let written = candidate.header.and_then(|header| header.first("date")).and_then(|field| written_day(field.value));
            written.is_some_and(|day| from.is_none_or(|from| day >= from) && to.is_none_or(|to| day < to))
        }
        Test::Larger(size) => candidate.size > *size,
        Test::Smaller(size) => candidate.size < *size,
        Test::ModSeq(modseq) => candidate.modseq >= *modseq,
        Test::EmailId(id) => candidate.email_id == id,
        Test::Header { name, text } => {
            candidate.header.is_some_and(|header| header.all(name).any(|field| text.is_empty() || searched::is_in(field, text)))
        }
        Test::Needle(index) => return candidate.found.get(*index).copied().flatten(),
        Test::Not(test) => !holds(test, candidate)?,
        Test::Or(tests) => match (holds(&tests.0, candidate), holds(&tests.1, candidate)) {
            (Some(true), _) | (_, Some(true)) => true,
            (Some(false), Some(false)) => false,
            _ => return None,
        },
        Test::And(tests) => return all(tests, candidate),
    })
}

/// The day that a Date field names, in whatever zone: `[day-name ","] day month year`, comments between them (RFC 5322 §3.3, §4.3).
fn written_day(value: &[u8]) -> Option<Date> {
    let text = without_comments(&String::from_utf8_lossy(value));
    let text = text.split_once(',').map_or(&*text, |(_, behind)| behind);
    let mut words = text.split_ascii_whitespace();
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let year: i16 = year.parse().ok()?;
    let year = match year {
        0..=49 => year + 2000,
        50..=999 => year + 1900,
        _ => year,
    };
    date::parse_date(format!("{day}-{}-{year:04}", month.get(..3)?).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::command::{Command, Dialect, parse};

    fn program(keys: &str) -> Program {
        let Command::Search { search, .. } = parse(format!("a SEARCH {keys}").as_bytes(), Dialect::default()).unwrap() else { panic!() };
        Program::new(&search.keys, 1_000_000_000_000, &Ranges::from_pairs([(8, 9)]), &|set, _| set.resolve(10))
    }

    fn check(keys: &str, expected: Option<bool>) {
        let header =
            Header::parse(b"Date: Tue, 31 Dec 2019 23:30:00 -0800\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= aus\r\n Rom\r\nX-Empty:\r\n\r\n");
        let candidate = Candidate {
            uid: 7,
            flags: crate::imap::flags::SEEN,
            keywords: &["$Junk".into()],
            internal_date: 999_999_000_000,
            saved: 0,
            size: 100,
            modseq: 5,
            email_id: "m1",
            header: Some(&header),
            found: &[],
        };
        assert_eq!(program(keys).test(&candidate), expected, "{keys}");
    }

    #[test]
    fn keys() {
        check("ALL", Some(true));
        check("SEEN UNKEYWORD x KEYWORD $junk", Some(true));
        check("UNSEEN", Some(false));
        check("NOT UNSEEN 5:*", Some(true));
        check("RECENT", Some(false));
        check("OLD", Some(true));
        check("ON 9-Sep-2001", Some(true));
        check("BEFORE 9-Sep-2001", Some(false));
        check("YOUNGER 1000", Some(true));
        check("YOUNGER 999", Some(false));
        check("OLDER 1000", Some(true));
        // The day that the sender wrote, not the day it was in London.
        check("SENTON 31-Dec-2019", Some(true));
        check("SENTSINCE 1-Jan-2020", Some(false));
        check("SUBJECT \"GRÜSSE\"", Some(false));
        check("SUBJECT \"grüße  AUS rom\"", Some(true));
        check("HEADER X-Empty \"\"", Some(true));
        check("HEADER X-Missing \"\"", Some(false));
        check("LARGER 99 SMALLER 101", Some(true));
        check("EMAILID m1 MODSEQ 5", Some(true));
        check("MODSEQ 6", Some(false));
    }

    #[test]
    fn days_as_written() {
        let check = |value: &str, expected: Option<&str>| {
            assert_eq!(written_day(value.as_bytes()).map(|day| day.to_string()).as_deref(), expected, "{value}");
        };
        check("Tue, 31 Dec 2019 25:61:00 +0000", Some("2019-12-31"));
        check("31 Dec 19 10:00 +0000", Some("2019-12-31"));
        check("Sun, 31 Dec 0019 10:00 +0000", Some("2019-12-31"));
        check("Tue (x), 31 Dec (foo) 2019 10:00 +0000", Some("2019-12-31"));
        check("Tue (a, \\) (b)), 31(of)Dec 2019", Some("2019-12-31"));
        check("Tue, 31 (Dec 2019", None);
        check("soon", None);
    }

    #[test]
    fn bodies_are_read_only_if_they_decide() {
        check("BODY x", None);
        check("BODY x UNSEEN", Some(false));
        check("OR BODY x SEEN", Some(true));
        check("OR BODY x UNSEEN", None);
        check("NOT TEXT x", None);
        check("BODY \"\"", Some(true));
        assert_eq!(program("OR BODY x BODY X TEXT x").needles.len(), 2);
    }

    #[test]
    fn where_to_look() {
        let (a, b) = (Ranges::from_pairs([(1, 3)]), Ranges::from_pairs([(3, 5)]));
        let whereabouts = |text: &str| match text {
            "aaa" => Some(&a),
            "bbb" => Some(&b),
            _ => None,
        };
        let check = |keys: &str, expected: Option<&str>| {
            assert_eq!(program(keys).reach(&whereabouts).map(|reach| reach.to_string()).as_deref(), expected, "{keys}");
        };
        check("SEEN", None);
        check("TEXT AAA", Some("1:3"));
        check("BODY aaa SUBJECT bbb", Some("3"));
        check("OR BODY aaa BODY bbb", Some("1:5"));
        check("OR BODY aaa BODY x", None);
        check("OR (BODY aaa BODY x) BODY bbb", Some("1:5"));
        check("NOT BODY aaa", None);
        check("TEXT aaa 2:9", Some("2:3"));
        let sought = |keys: &str| program(keys).sought().into_iter().map(|sought| (sought.text, sought.header)).collect::<Vec<_>>();
        assert_eq!(
            sought("NOT BODY aaa SUBJECT AAA OR HEADER Received bbb FROM c"),
            [("aaa".to_owned(), false), ("bbb".to_owned(), true), ("c".to_owned(), false)]
        );
    }
}
