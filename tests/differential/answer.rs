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
    ("sections of parts that are not there", "RFC 9051 §6.4.5.1 says which parts a message has, not what is said of others"),
    ("HEADER and TEXT of what is no message", "RFC 9051 §6.4.5: they refer to parts of the type message/rfc822 or message/global"),
    ("BINARY of what has parts", "RFC 9051 §6.4.5: it can only be requested for leaf body parts"),
    ("ESEARCH without results for SAVE alone", "RFC 5182 §2.1: such a command gets no ESEARCH; Dovecot sends one with nothing in it"),
    ("the empty line behind the header of a part that is empty", "RFC 2046 §5.1.1: the boundary behind it claims it, too"),
    ("a piece of the empty line behind chosen fields", "RFC 9051 §6.4.5: Dovecot gives its CR where its LF is asked for"),
    ("the line end behind a multipart in a multipart", "RFC 2046 §5.1.1: it belongs to the boundary that follows; Dovecot counts it twice"),
    ("the origin of nothing", "RFC 9051 §6.4.5 names it for a substring; whether with NIL, it does not say"),
    ("the order of ESEARCH's pairs", "RFC 4731 §3.1: they come in any order"),
    ("INTERNALDATE's first digit", "RFC 9051 §9: date-day-fixed is a space or a zero and a digit"),
    ("the charset of text/plain that names none", "RFC 2045 §5.2 implies us-ascii; whether body-fld-param says so, RFC 9051 leaves open"),
    ("LIST's separator", "RFC 9051 §7.3.1: each server's own"),
    ("MODSEQ", "RFC 7162 §3: mod-sequences are each server's own"),
    ("RFC822.SIZE of \\Recent", "RFC 9051 §2.3.2"),
];

#[derive(Debug, Default)]
pub struct Answer {
    /// `OK`, `NO` or `BAD` and the rest.
    pub tagged: String,
    /// HIGHESTMODSEQ, if STATUS had it.
    pub modseq: Option<u64>,
    /// EXISTS, if it was told.
    pub exists: Option<u32>,
    /// By message number: what FETCH said of it last.
    fetched: BTreeMap<String, BTreeMap<String, String>>,
    /// EXPUNGE in order; EXISTS.
    counts: Vec<String>,
    /// UIDs in VANISHED.
    vanished: BTreeSet<u32>,
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
                (_, "EXPUNGE" | "EXISTS") => {
                    answer.exists = first.parse().ok().filter(|_| second == "EXISTS").or(answer.exists);
                    answer.counts.push(format!("{first} {second}"));
                }
                ("VANISHED", _) => answer.vanished.extend(values[1..].iter().flat_map(numbers)),
                // MOVE's.
                ("OK", _) if line.contains("[COPYUID ") => answer.others.extend(uids(line)),
                _ if ALLOWED.iter().any(|(allowed, _)| *allowed == first || *allowed == second) => {}
                ("LIST" | "LSUB", _) => {
                    let Some(Value::List(attributes)) = values.get(1) else { continue };
                    answer.others.insert(format!("{first} {} {}", listed(attributes), shown(&values[3..], false)));
                }
                ("STATUS", _) => {
                    let Some(Value::List(items)) = values.get(2) else { continue };
                    answer.modseq = items.chunks(2).find_map(|pair| match pair {
                        [Value::Atom(name), Value::Atom(number)] if name == "HIGHESTMODSEQ" => number.parse().ok(),
                        _ => None,
                    });
                    answer.others.insert(format!("STATUS {} {}", shown(&values[1..2], false), status(items)));
                }
                ("SEARCH", _) => {
                    let numbers = values[1..].iter().filter(|value| !matches!(value, Value::List(_))).cloned().collect::<Vec<_>>();
                    answer.others.insert(format!("SEARCH {}", shown(&numbers, false)));
                }
                // The tag is quoted there.
                ("ESEARCH", _) => {
                    let by_uid = values.len() % 2 == 1;
                    let mut pairs: Vec<String> = values[2 + usize::from(by_uid)..].chunks(2).map(|pair| shown(pair, true)).collect();
                    pairs.retain(|pair| !pair.starts_with("\"MODSEQ\""));
                    pairs.sort();
                    answer.others.extend((!pairs.is_empty()).then(|| format!("ESEARCH {by_uid} {}", pairs.join(" "))));
                }
                ("SORT" | "THREAD", _) => {
                    // RFC 7162 has the mod-sequence behind the numbers of SORT.
                    let kept = values.iter().filter(|value| first == "THREAD" || !matches!(value, Value::List(_))).cloned();
                    answer.others.insert(shown(&kept.collect::<Vec<_>>(), false));
                }
                _ => {
                    answer.others.insert(shown(&values, false));
                }
            }
        }
        answer
    }

    /// How many went by EXPUNGE or VANISHED.
    pub fn gone(&self) -> usize {
        self.vanished.len() + self.counts.iter().filter(|count| count.ends_with("EXPUNGE")).count()
    }

    /// What the two say differently.
    /// What came `unasked` has to be the same as well: flags that somebody else changed, behind NOOP.
    pub fn difference(&self, theirs: &Answer, command: &str, unasked: bool) -> Option<String> {
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
        if self.vanished != theirs.vanished {
            return differ("VANISHED", &self.vanished, &theirs.vanished);
        }
        if self.others != theirs.others {
            let only = |one: &Answer, other: &Answer| one.others.difference(&other.others).cloned().collect::<Vec<_>>();
            return differ("untagged responses", &only(self, theirs), &only(theirs, self));
        }
        let empty = BTreeMap::new();
        for number in self.fetched.keys().chain(theirs.fetched.keys()) {
            let (ours, theirs) = (self.fetched.get(number).unwrap_or(&empty), theirs.fetched.get(number).unwrap_or(&empty));
            for item in ours.keys().chain(theirs.keys()) {
                // Flags may come along with what was asked for, from one or from both; a UID always may.
                let (ours, theirs) = (ours.get(item), theirs.get(item));
                let may_miss = match item.as_str() {
                    "FLAGS" => !unasked,
                    "UID" => !unasked || ours.is_some(),
                    _ => false,
                };
                if ours != theirs && !(may_miss && (ours.is_none() || theirs.is_none())) {
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
    match words[0] {
        "COPYUID" | "APPENDUID" => Some(format!("{} {}", words[0], words[2..].join(" "))),
        "MODIFIED" => Some(code.to_owned()),
        _ => None,
    }
}

/// What part a path like `1.2` names, if there is one (RFC 9051 §6.4.5.1): a message that is no multipart has a part 1, too.
fn part<'a>(structure: &'a [Value], path: &[usize]) -> Option<&'a [Value]> {
    let Some((first, below)) = path.split_first() else { return Some(structure) };
    let children: Vec<&[Value]> = structure
        .iter()
        .map_while(|value| match value {
            Value::List(list) => Some(list.as_slice()),
            _ => None,
        })
        .collect();
    let child = match children.get(first - 1) {
        Some(child) => child,
        None if children.is_empty() && *first == 1 => structure,
        None => return None,
    };
    match below {
        [] => Some(child),
        _ if matches!(child.first(), Some(Value::List(_))) => part(child, below),
        // message/rfc822 has its content's structure behind its envelope.
        _ => match child.get(8) {
            Some(Value::List(inner)) if is_message(child) => part(inner, below),
            _ => None,
        },
    }
}

fn is_message(part: &[Value]) -> bool {
    matches!(part.first(), Some(Value::Text(kind)) if kind.eq_ignore_ascii_case("message"))
}

/// Whether the item is a part that has parts, whole.
fn is_multipart(item: &str, structure: &[Value]) -> bool {
    let Some((numbers, _)) = item.strip_prefix("BODY[").and_then(|section| section.split_once(']')) else { return false };
    let numbers: Option<Vec<usize>> = numbers.split('.').map(|number| number.parse().ok()).collect();
    numbers.and_then(|numbers| part(structure, &numbers)).is_some_and(|part| matches!(part.first(), Some(Value::List(_))))
}

/// Whether the RFC says what the answer to this item is.
fn is_defined(item: &str, structure: &[Value]) -> bool {
    let Some((name, section)) = item.split_once('[') else { return true };
    let numbers = section.split(['.', ']']).map_while(|number| number.parse::<usize>().ok()).collect::<Vec<_>>();
    let Some(part) = (!numbers.is_empty()).then(|| part(structure, &numbers)) else { return true };
    let Some(part) = part else { return false };
    match section.trim_start_matches(|character: char| character.is_ascii_digit() || character == '.') {
        rest if rest.starts_with("HEADER") || rest.starts_with("TEXT") => is_message(part),
        _ if name.starts_with("BINARY") => !is_message(part) && !matches!(part.first(), Some(Value::List(_))),
        _ => true,
    }
}

/// Of a set.
fn numbers(set: &Value) -> Vec<u32> {
    let Value::Atom(set) = set else { return Vec::new() };
    let range = |range: &str| {
        let (low, high) = range.split_once(':').unwrap_or((range, range));
        low.parse().unwrap()..=high.parse().unwrap()
    };
    set.split(',').flat_map(range).collect()
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
        let nothing =
            matches!(value, Value::Atom(nil) if nil.eq_ignore_ascii_case("NIL")) || matches!(value, Value::Text(text) if text.is_empty());
        if nothing && name.ends_with('>') {
            name.truncate(name.rfind('<').unwrap_or(name.len()));
        }
        let text = match (name.as_str(), value) {
            ("MODSEQ", _) => continue,
            ("FLAGS", Value::List(flags)) => flag_set(flags),
            ("BODYSTRUCTURE" | "BODY", value) => shown(std::slice::from_ref(value), true)
                .replace("(\"TEXT\" \"PLAIN\" NIL", "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\")"),
            (name, Value::Text(text)) if name.contains(".MIME]") => format!("{:?}", text.trim_end()),
            (name, Value::Text(text)) if name.contains("HEADER.FIELDS") && name.contains("]<") && text.trim().is_empty() => continue,
            ("INTERNALDATE", Value::Text(date)) => date.trim_start().trim_start_matches('0').to_owned(),
            (name, Value::Atom(nil)) if name.contains('[') && nil.eq_ignore_ascii_case("NIL") => "\"\"".to_owned(),
            (_, value) => shown(std::slice::from_ref(value), false),
        };
        found.insert(name, text);
    }
    let structure = items.iter().skip_while(|value| **value != Value::Atom("BODYSTRUCTURE".to_owned())).nth(1);
    if let Some(Value::List(structure)) = structure {
        found.retain(|name, _| is_defined(name, structure));
        // What is cut out of one may hold that line end or not.
        found.retain(|name, text| !is_multipart(name, structure) || !(name.ends_with('>') || text == "\"\""));
        for (name, text) in &mut found {
            if is_multipart(name, structure) {
                let kept = text.trim_end_matches('"').trim_end_matches("\\n").trim_end_matches("\\r").len();
                text.truncate(kept);
            }
        }
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
