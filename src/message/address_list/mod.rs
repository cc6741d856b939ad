//! Address lists of `From`, `To`, `Cc`, `Resent-*` and their like (RFC 5322 §3.4, obsolete routes and spacing of §4.4 included).
//!
//! Two answers from one reading: whom it names ([`mailboxes`]), and its pieces as IMAP's ENVELOPE shows them ([`entries`]). An address
//! counts only where one stands: never inside a display name, a comment or an encoded word, however it is quoted there. Unclosed quotes
//! and comments reach to the end of the value, so that what a sender opened can't end where it suits him.

mod token;

use super::header::Header;
use super::words;
use crate::address::{Address, Domain};
use std::ops::Range;
use token::{Placed, Token, Tokens, joined, phrase};

/// Entries of one field that are read: a newsletter's `Cc:` of 20,000 is nobody's list of recipients.
pub const MAX_ENTRIES: usize = 1000;

/// A person in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// The display name, or the comment behind a bare address; decoded, without control characters, never empty.
    pub name: Option<String>,
    /// Where mail reaches them.
    pub address: Address,
}

/// A piece of a list as ENVELOPE tells it (RFC 9051 §7.5.2): raw bytes, encoded words untouched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A mailbox, or what stands in the place of one.
    Mailbox(RawMailbox),
    /// A group opens.
    GroupStart(Vec<u8>),
    /// It ends.
    GroupEnd,
}

/// The pieces of one mailbox, quotes and comments taken off. They may be no address at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawMailbox {
    /// Display name, or the comment behind a bare address.
    pub name: Option<Vec<u8>>,
    /// `@a,@b` of an obsolete route.
    pub route: Option<Vec<u8>>,
    /// Before the `@`; everything, if there is none.
    pub local: Vec<u8>,
    /// Behind the `@`; empty if there is none.
    pub host: Vec<u8>,
    /// Where the address stands in the value: from its local part to its host, or between its angle brackets.
    pub range: Range<usize>,
    /// Whether the grammar lets local part and host stand as they do.
    sound: bool,
}

/// Everybody whom the list names, in order, at most [`MAX_ENTRIES`]. What is no address is passed over.
pub fn mailboxes(value: &[u8]) -> Vec<Mailbox> {
    let raw = entries(value).into_iter().filter_map(|entry| match entry {
        Entry::Mailbox(raw) => Some(raw),
        _ => None,
    });
    raw.filter_map(|raw| Some(Mailbox { address: raw.address()?, name: raw.display_name() })).collect()
}

/// Everybody whom a message names as its writer: `From`, then `Sender`.
pub fn writers(header: &Header<'_>) -> Vec<Address> {
    let fields = header.all("From").chain(header.all("Sender"));
    fields.flat_map(|field| mailboxes(field.value)).map(|mailbox| mailbox.address).collect()
}

/// What `From` and `Sender` of a message name that is no address: the pieces, or the name of a group (RFC 6854). Empty forms, in which
/// nobody stands at all, are left out; a list that is cut short counts as one such.
pub fn odd_writers(header: &Header<'_>) -> Vec<RawMailbox> {
    let fields = header.all("From").chain(header.all("Sender"));
    let odd = fields.flat_map(|field| {
        let entries = entries(field.value);
        let cut = (entries.len() >= MAX_ENTRIES).then(|| RawMailbox { local: b"...".to_vec(), ..RawMailbox::default() });
        let odd = entries.into_iter().filter_map(|entry| match entry {
            Entry::Mailbox(raw) => (raw.address().is_none() && !raw.is_empty()).then_some(raw),
            Entry::GroupStart(name) => Some(RawMailbox { name: Some(name), ..RawMailbox::default() }),
            Entry::GroupEnd => None,
        });
        odd.chain(cut).collect::<Vec<_>>()
    });
    odd.collect()
}

/// The list's pieces in order, groups balanced, at most [`MAX_ENTRIES`] and the end of the last group.
pub fn entries(value: &[u8]) -> Vec<Entry> {
    let mut list = List::default();
    for token in Tokens::of(value) {
        if list.entries.len() >= MAX_ENTRIES {
            list.pending.clear();
            break;
        }
        list.take(token);
    }
    list.end_mailbox();
    list.end_group();
    list.entries
}

impl Mailbox {
    /// As it stands in a header: the name quoted or encoded where it must be, the address in angle brackets.
    pub fn render(&self) -> String {
        match self.name.as_deref() {
            Some(name) => format!("{} <{}>", words::phrase(name), self.address),
            None => self.address.to_string(),
        }
    }
}

impl RawMailbox {
    /// The address that the pieces make, if they make one.
    pub fn address(&self) -> Option<Address> {
        if !self.sound {
            return None;
        }
        let host = Domain::parse(std::str::from_utf8(&self.host).ok()?).ok()?;
        Address::new(std::str::from_utf8(&self.local).ok()?, &host).ok()
    }

    /// Whether it names nobody by anything: `<>`.
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.route.is_none() && self.local.is_empty() && self.host.is_empty()
    }

    /// The name, decoded.
    pub fn display_name(&self) -> Option<String> {
        self.name.as_deref().map(words::decode).filter(|name| !name.is_empty())
    }
}

/// The list being read.
#[derive(Default)]
struct List<'a> {
    entries: Vec<Entry>,
    /// Tokens since the last comma.
    pending: Vec<Placed<'a>>,
    /// Where in them an angle bracket has opened and not closed.
    angle: Option<usize>,
    in_group: bool,
}

impl<'a> List<'a> {
    fn take(&mut self, placed: Placed<'a>) {
        match placed.token {
            Token::Special(b',') if !self.in_route() => return self.end_mailbox(),
            Token::Special(b';') => {
                self.end_mailbox();
                return self.end_group();
            }
            Token::Special(b':') if self.angle.is_none() => return self.start_group(),
            Token::Special(b'<') => self.angle = self.angle.or(Some(self.pending.len())),
            Token::Special(b'>') => self.angle = None,
            _ => {}
        }
        self.pending.push(placed);
    }

    /// `<@…`: an obsolete route, in which commas and a colon are allowed.
    fn in_route(&self) -> bool {
        self.angle.and_then(|angle| self.pending.get(angle + 1)).is_some_and(|placed| placed.is(b'@'))
    }

    fn start_group(&mut self) {
        let name = phrase(&self.pending);
        self.pending.clear();
        // Groups don't nest (RFC 5322 §3.4); the name of an inner one is dropped.
        if !self.in_group {
            self.in_group = true;
            self.entries.push(Entry::GroupStart(name));
        }
    }

    fn end_group(&mut self) {
        if std::mem::take(&mut self.in_group) {
            self.entries.push(Entry::GroupEnd);
        }
    }

    fn end_mailbox(&mut self) {
        self.angle = None;
        let tokens = std::mem::take(&mut self.pending);
        if tokens.iter().all(|placed| matches!(placed.token, Token::Comment(_) | Token::Junk)) {
            return;
        }
        self.entries.push(Entry::Mailbox(mailbox(tokens)));
    }
}

/// `mailbox = name-addr / addr-spec` (RFC 5322 §3.4), from the tokens between two commas.
fn mailbox(mut tokens: Vec<Placed<'_>>) -> RawMailbox {
    let Some(angle) = tokens.iter().position(|placed| placed.is(b'<')) else {
        let comment = tokens.iter().rev().find_map(|placed| match &placed.token {
            Token::Comment(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        });
        return RawMailbox { name: comment, ..addr_spec(&tokens) };
    };
    let mut inside = tokens.split_off(angle + 1);
    let end = inside.iter().position(|placed| placed.is(b'>')).unwrap_or(inside.len());
    let start = tokens[angle].range.end;
    let closed = inside.get(end).map(|placed| placed.range.start);
    let range = start..closed.or(inside.last().map(|placed| placed.range.end)).unwrap_or(start);
    inside.truncate(end);
    let route = match inside.iter().rposition(|placed| placed.is(b':')) {
        Some(colon) if inside[0].is(b'@') => {
            let rest = inside.split_off(colon + 1);
            let mut route = std::mem::replace(&mut inside, rest);
            route.truncate(colon);
            Some(joined(&route))
        }
        _ => None,
    };
    let name = Some(phrase(&tokens[..angle])).filter(|name| !name.is_empty());
    RawMailbox { name, route, range, ..addr_spec(&inside) }
}

/// `addr-spec = local-part "@" domain`
fn addr_spec(tokens: &[Placed<'_>]) -> RawMailbox {
    let tokens: Vec<&Placed> = tokens.iter().filter(|placed| !matches!(placed.token, Token::Comment(_))).collect();
    let range = tokens.first().map_or(0, |placed| placed.range.start)..tokens.last().map_or(0, |placed| placed.range.end);
    let Some(at) = tokens.iter().rposition(|placed| placed.is(b'@')) else {
        return RawMailbox { local: phrase(tokens), range, ..RawMailbox::default() };
    };
    let (local, host) = (&tokens[..at], &tokens[at + 1..]);
    let is_local = |token: &Token| matches!(token, Token::Word(word) if !word.starts_with(b"=?")) || matches!(token, Token::Quoted(_));
    let is_literal = matches!(host, [only] if matches!(only.token, Token::Literal(_)));
    let sound = is_dotted(local, is_local) && (is_literal || is_dotted(host, |token| matches!(token, Token::Word(_))));
    let join = |tokens: &[&Placed]| if sound { joined(tokens.iter().copied()) } else { phrase(tokens.iter().copied()) };
    RawMailbox { local: join(local), host: join(host), sound, range, ..RawMailbox::default() }
}

/// Whether the tokens are words with dots between them; white space around the dots is obsolete but allowed.
fn is_dotted(tokens: &[&Placed<'_>], is_word: impl Fn(&Token) -> bool) -> bool {
    let starts = |placed: &Placed| matches!(placed.token, Token::Word(word) if word.starts_with(b"."));
    let ends = |placed: &Placed| matches!(placed.token, Token::Word(word) if word.ends_with(b"."));
    !tokens.is_empty()
        && tokens.iter().all(|placed| is_word(&placed.token))
        && tokens.windows(2).all(|pair| ends(pair[0]) || starts(pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(value: &str, expected: &[(&str, &str)]) {
        let found: Vec<_> = mailboxes(value.as_bytes()).into_iter().map(|m| (m.name.unwrap_or_default(), m.address.to_string())).collect();
        let expected: Vec<_> = expected.iter().map(|(n, a)| (n.to_string(), a.to_string())).collect();
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn lists() {
        check("", &[]);
        check("alice@example.com", &[("", "alice@example.com")]);
        check(" Alice Smith <alice@example.com>,bob@example.com", &[("Alice Smith", "alice@example.com"), ("", "bob@example.com")]);
        check("\"Smith, Alice\"\r\n <alice@example.com>", &[("Smith, Alice", "alice@example.com")]);
        check("alice@example.com (Alice (the first) Smith)", &[("Alice (the first) Smith", "alice@example.com")]);
        check("=?utf-8?Q?J=C3=BCrgen?= X <j@example.com>", &[("Jürgen X", "j@example.com")]);
        check("=?utf-8?Q?Smith,_Alice?= <a@example.com>", &[("Smith, Alice", "a@example.com")]);
        check("\"a b\"@example.com", &[("", "\"a b\"@example.com")]);
        check("a . b @ example . com", &[("", "a.b@example.com")]);
        check("<@x.example,@y.example:alice@example.com>", &[("", "alice@example.com")]);
        check(
            "Office: alice@example.com, Bob <bob@example.com>;, c@example.com",
            &[("", "alice@example.com"), ("Bob", "bob@example.com"), ("", "c@example.com")],
        );
        check("undisclosed-recipients:;", &[]);
        check("a@example.com; b@example.com", &[("", "a@example.com"), ("", "b@example.com")]);
        check("<a@example.com, b@example.com", &[("", "a@example.com"), ("", "b@example.com")]);
        check(",, <a@example.com> ,", &[("", "a@example.com")]);
        check("a@[192.0.2.1]", &[("", "a@[192.0.2.1]")]);
        check("Foo, Bar <a@example.com>", &[("Bar", "a@example.com")]);
    }

    #[test]
    fn no_address_where_none_stands() {
        check("\"boss@office.example\" <x@evil.example>", &[("boss@office.example", "x@evil.example")]);
        check("boss@office.example <x@evil.example>", &[("boss@office.example", "x@evil.example")]);
        check(
            "x@evil.example (boss@office.example, <boss@office.example>)",
            &[("boss@office.example, <boss@office.example>", "x@evil.example")],
        );
        check("=?utf-8?Q?boss@office.example,?= <x@evil.example>", &[("boss@office.example,", "x@evil.example")]);
        check("=?utf-8?Q?a,boss@office.example,b?=", &[]);
        check("=?utf-8?Q?boss?=@office.example", &[]);
        check("=?utf-8?Q?boss@office.example", &[]);
        check("\"unclosed <boss@office.example>, boss@office.example", &[]);
        check("(unclosed <boss@office.example>, boss@office.example", &[]);
        check("hello boss@office.example", &[]);
        check("boss\0@office.example", &[]);
        check("a@b@office.example", &[]);
        check("<a b@office.example>", &[]);
        check("boss@office.example\\", &[]);
    }

    #[test]
    fn pieces_for_envelope() {
        let raw = |name: Option<&str>, route: Option<&str>, local: &str, host: &str, sound| {
            let bytes = |t: &str| t.as_bytes().to_vec();
            let (name, route) = (name.map(bytes), route.map(bytes));
            Entry::Mailbox(RawMailbox { name, route, local: bytes(local), host: bytes(host), range: 0..0, sound })
        };
        let unplaced = |mut entry: Entry| {
            if let Entry::Mailbox(raw) = &mut entry {
                raw.range = 0..0;
            }
            entry
        };
        let entries = |value: &[u8]| entries(value).into_iter().map(unplaced).collect::<Vec<_>>();
        assert_eq!(
            entries(b"G: \"A \\\"B\\\"\" <@r:a@x>; nobody, Bob <bob>, =?x?q?y?= z <c@d"),
            [
                Entry::GroupStart(b"G".to_vec()),
                raw(Some("A \"B\""), Some("@r"), "a", "x", true),
                Entry::GroupEnd,
                raw(None, None, "nobody", "", false),
                raw(Some("Bob"), None, "bob", "", false),
                raw(Some("=?x?q?y?= z"), None, "c", "d", true),
            ]
        );
        assert_eq!(entries(b"undisclosed recipients: "), [Entry::GroupStart(b"undisclosed recipients".to_vec()), Entry::GroupEnd]);
    }

    #[test]
    fn places_of_addresses() {
        for (value, expected) in
            [("a@b, X <c @ d> (y), <@r:e@f>", "a@b|c @ d|@r:e@f"), ("\"q\"@b (c), g: <h@i, j", "\"q\"@b|h@i|j"), ("<>, <", "|")]
        {
            let of = |entry: Entry| match entry {
                Entry::Mailbox(raw) => Some(value[raw.range].to_owned()),
                _ => None,
            };
            assert_eq!(entries(value.as_bytes()).into_iter().filter_map(of).collect::<Vec<_>>().join("|"), expected, "{value}");
        }
    }

    #[test]
    fn trap_27_twenty_thousand_recipients_are_cut() {
        assert_eq!(mailboxes("a@example.com,".repeat(20_000).as_bytes()).len(), MAX_ENTRIES);
        assert_eq!(entries("a:".repeat(20_000).as_bytes()).len(), 2);
    }

    #[test]
    fn work_grows_with_length_alone() {
        for unit in ["a ", "<", "<@,", "\"", "\\\"", "(", "[", "=?", "=?a?q?", "a:", "@"] {
            let value = "a ".repeat(30_000) + "<@" + &unit.repeat(50_000) + "\",,,".repeat(30_000).as_str();
            assert!(entries(value.as_bytes()).len() <= MAX_ENTRIES + 1, "{unit}");
        }
    }

    proptest! {
        #[test]
        fn groups_balance(value in "[a@.,;:<>()\"\\\\\\[\\] \r\n=?q]{0,80}") {
            let mut open = false;
            for entry in entries(value.as_bytes()) {
                match entry {
                    Entry::GroupStart(_) => prop_assert!(!std::mem::replace(&mut open, true)),
                    Entry::GroupEnd => prop_assert!(std::mem::replace(&mut open, false)),
                    Entry::Mailbox(_) => {}
                }
            }
            prop_assert!(!open);
        }

        #[test]
        fn any_bytes(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            mailboxes(&value);
        }
    }
}
