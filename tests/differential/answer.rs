//! What an answer says, without how it is written.

use std::collections::{BTreeMap, BTreeSet};

use crate::imaptest::value::{self, Value};

/// Where the two may differ: the first word or words of an untagged response, or an item of FETCH, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("RECENT", "RFC 9051 §2.3.2: \\Recent is deprecated, and which session sees it is the server's business"),
    ("FLAGS", "RFC 9051 §7.3.5: which keywords a mailbox lists is the server's business"),
    ("OK", "RFC 9051 §7.1: codes of untagged OK tell of UIDVALIDITY, mod-sequences and the like, which are each server's own"),
    ("CAPABILITY", "each server's own"),
    ("ID", "each server's own"),
    ("NAMESPACE", "each server's own"),
    ("ENABLED", "each server's own"),
    ("BYE", "human-readable text"),
    ("NIL or \"\"", "RFC 9051 §6.4.5 does not say which it is for a part that is not there"),
    ("LIST's separator", "RFC 9051 §7.3.1: each server's own"),
    ("MODSEQ", "RFC 7162 §3: mod-sequences are each server's own"),
    ("RFC822.SIZE of \\Recent", "RFC 9051 §2.3.2"),
];

#[derive(Debug, Default)]
pub struct Answer {
    /// `OK`, `NO` or `BAD` and the rest.
    pub tagged: String,
    /// By message number: what FETCH said of it last.
    fetched: BTreeMap<String, BTreeMap<String, String>>,
    /// EXPUNGE and VANISHED in order; EXISTS.
    counts: Vec<String>,
    /// All else, in no order.
    others: BTreeSet<String>,
}

impl Answer {
    pub fn new(untagged: &[String], tagged: &str) -> Answer {
        let mut answer = Answer { tagged: tagged.trim_end().to_owned(), ..Answer::default() };
        for line in untagged {
            let values = value::parse(line.strip_prefix("* ").unwrap_or(line));
            let word = |at: usize| match values.get(at) {
                Some(Value::Atom(word)) => word.to_ascii_uppercase(),
                _ => String::new(),
            };
            let (first, second) = (word(0), word(1));
            match (first.as_str(), second.as_str()) {
                (number, "FETCH") => {
                    if let Some(Value::List(items)) = values.get(2) {
                        answer.fetched.entry(number.to_owned()).or_default().extend(fetched(items));
                    }
                }
                (_, "EXPUNGE" | "EXISTS") | ("VANISHED", _) => answer.counts.push(format!("{first} {second}")),
                _ if ALLOWED.iter().any(|(allowed, _)| *allowed == first || *allowed == second) => {}
                ("LIST" | "LSUB", _) => {
                    let Some(Value::List(attributes)) = values.get(1) else { continue };
                    answer.others.insert(format!("{first} {} {}", listed(attributes), shown(&values[3..], false)));
                }
                ("STATUS", _) => {
                    let Some(Value::List(items)) = values.get(2) else { continue };
                    answer.others.insert(format!("STATUS {} {}", shown(&values[1..2], false), status(items)));
                }
                ("SEARCH", _) => {
                    let numbers = values[1..].iter().filter(|value| !matches!(value, Value::List(_))).cloned().collect::<Vec<_>>();
                    answer.others.insert(format!("SEARCH {}", shown(&numbers, false)));
                }
                // The tag is quoted there.
                ("ESEARCH", _) => {
                    answer.others.insert(format!("ESEARCH {}", shown(&values[2..], false)));
                }
                _ => {
                    answer.others.insert(shown(&values, false));
                }
            }
        }
        answer
    }

    /// What the two say differently.
    pub fn difference(&self, theirs: &Answer, command: &str) -> Option<String> {
        let word = |tagged: &str| tagged.split(' ').next().unwrap_or_default().to_owned();
        let differ = |what: &str, ours: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
            Some(format!("{what} of {command:.200}\n ours   {ours:?}\n theirs {theirs:?}"))
        };
        if word(&self.tagged) != word(&theirs.tagged) {
            return differ("the outcome", &self.tagged, &theirs.tagged);
        }
        if uids(&self.tagged) != uids(&theirs.tagged) {
            return differ("the UIDs", &self.tagged, &theirs.tagged);
        }
        // A mailbox that is counted twice is as well counted once.
        let counts = |answer: &Answer| {
            let (mut exists, others): (Vec<_>, Vec<_>) = answer.counts.clone().into_iter().partition(|count| count.ends_with("EXISTS"));
            (exists.pop(), effect(&others))
        };
        if counts(self) != counts(theirs) {
            return differ("the counts", &self.counts, &theirs.counts);
        }
        if self.others != theirs.others {
            let only = |one: &Answer, other: &Answer| one.others.difference(&other.others).cloned().collect::<Vec<_>>();
            return differ("untagged responses", &only(self, theirs), &only(theirs, self));
        }
        let empty = BTreeMap::new();
        for number in self.fetched.keys().chain(theirs.fetched.keys()) {
            let (ours, theirs) = (self.fetched.get(number).unwrap_or(&empty), theirs.fetched.get(number).unwrap_or(&empty));
            for item in ours.keys().chain(theirs.keys()) {
                // Flags may come unasked, from one or from both.
                let (ours, theirs) = (ours.get(item), theirs.get(item));
                let unasked = matches!(item.as_str(), "FLAGS" | "UID") && (ours.is_none() || theirs.is_none());
                if ours != theirs && !unasked {
                    return differ(&format!("{item} of message {number}"), &ours, &theirs);
                }
            }
        }
        None
    }
}

/// The messages that went, however they were numbered while others went.
fn effect(expunged: &[String]) -> Vec<u32> {
    let numbers = expunged.iter().filter_map(|line| line.split(' ').next()?.parse::<u32>().ok());
    let mut gone: Vec<u32> = Vec::new();
    for number in numbers {
        let mut before = number;
        let mut sorted = gone.clone();
        sorted.sort_unstable();
        for earlier in sorted {
            before += u32::from(earlier <= before);
        }
        gone.push(before);
    }
    gone.sort_unstable();
    gone
}

/// Of COPYUID and APPENDUID, without the UIDVALIDITY.
fn uids(tagged: &str) -> Option<String> {
    let code = tagged.split_once('[')?.1.split_once(']')?.0;
    let words: Vec<&str> = code.split(' ').collect();
    matches!(words[0], "COPYUID" | "APPENDUID").then(|| format!("{} {}", words[0], words[2..].join(" ")))
}

/// Name and value of each item.
fn fetched(items: &[Value]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = items;
    while let [Value::Atom(name), behind @ ..] = rest {
        let mut name = name.to_ascii_uppercase();
        rest = behind;
        // BODY[HEADER.FIELDS (…)]<0>
        while name.contains('[') && !name.contains(']') {
            let Some((part, behind)) = rest.split_first() else { break };
            name.push_str(&shown(std::slice::from_ref(part), true));
            rest = behind;
        }
        let Some((value, behind)) = rest.split_first() else { break };
        rest = behind;
        let text = match (name.as_str(), value) {
            ("MODSEQ", _) => continue,
            ("FLAGS", Value::List(flags)) => flag_set(flags),
            ("BODYSTRUCTURE" | "BODY", value) => shown(std::slice::from_ref(value), true),
            (name, Value::Atom(nil)) if name.contains('[') && nil.eq_ignore_ascii_case("NIL") => "\"\"".to_owned(),
            (_, value) => shown(std::slice::from_ref(value), false),
        };
        found.insert(name, text);
    }
    found
}

fn flag_set(flags: &[Value]) -> String {
    let mut names: Vec<String> = flags.iter().map(|flag| shown(std::slice::from_ref(flag), true)).collect();
    names.retain(|name| name != "\"\\\\RECENT\"");
    names.sort();
    names.join(" ")
}

/// Attributes that say the same everywhere. Special uses and whether children exist are told by one without being asked.
fn listed(attributes: &[Value]) -> String {
    let kept = ["\\NOSELECT", "\\NONEXISTENT", "\\SUBSCRIBED"];
    let mut names: Vec<String> = attributes
        .iter()
        .filter_map(|attribute| match attribute {
            Value::Atom(name) => Some(name.to_ascii_uppercase()).filter(|name| kept.contains(&name.as_str())),
            _ => None,
        })
        .collect();
    names.sort();
    names.join(" ")
}

fn status(items: &[Value]) -> String {
    let mut pairs: Vec<String> = items.chunks(2).map(|pair| shown(pair, true)).collect();
    let own = ["\"UIDVALIDITY\"", "\"HIGHESTMODSEQ\"", "\"RECENT\""];
    pairs.retain(|pair| !own.iter().any(|own| pair.starts_with(own)));
    pairs.sort();
    pairs.join(" ")
}

/// Quoted, literal and atom look the same, but for NIL.
fn shown(values: &[Value], any_case: bool) -> String {
    let one = |value: &Value| match value {
        Value::Atom(text) if text.eq_ignore_ascii_case("NIL") => "NIL".to_owned(),
        Value::Atom(text) | Value::Text(text) if any_case => format!("{:?}", text.to_ascii_uppercase()),
        Value::Atom(text) | Value::Text(text) => format!("{text:?}"),
        Value::List(list) => format!("({})", shown(list, any_case)),
    };
    values.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Each departure has its reason.
#[test]
fn every_allowed_difference_says_why() {
    assert!(ALLOWED.iter().all(|(what, why)| !what.is_empty() && !why.is_empty()));
}
