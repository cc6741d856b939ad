//! IMAP's lists and strings, read alike from scripts and from answers, and how the one is matched with the other.

use std::collections::HashMap;

/// Texts are Latin-1: one character a byte.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Atom(String),
    /// Quoted or literal.
    Text(String),
    List(Vec<Value>),
}

pub type Variables = HashMap<String, String>;

/// What holds for a list unless the script says otherwise with `$!…`.
#[derive(Debug, Clone, Default)]
struct Rules {
    /// Elements come in any order, in groups of so many; others may be beside them.
    unordered: Option<usize>,
    no_extra: bool,
    ignored: Vec<String>,
    banned: Vec<String>,
    /// Of FETCH: its FLAGS are a set.
    fetch: bool,
}

pub fn parse(text: &str) -> Vec<Value> {
    let characters: Vec<char> = text.chars().collect();
    let mut stack: Vec<Vec<Value>> = vec![Vec::new()];
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let add = |stack: &mut Vec<Vec<Value>>, value| stack.last_mut().unwrap().push(value);
        match character {
            ' ' | '\r' | '\n' => at += 1,
            '(' => {
                stack.push(Vec::new());
                at += 1;
            }
            ')' => {
                if stack.len() > 1 {
                    let list = Value::List(stack.pop().unwrap());
                    add(&mut stack, list);
                }
                at += 1;
            }
            '"' => {
                let mut text = String::new();
                at += 1;
                while at < characters.len() && characters[at] != '"' {
                    if characters[at] == '\\' && at + 1 < characters.len() {
                        at += 1;
                    }
                    text.push(characters[at]);
                    at += 1;
                }
                at += 1;
                add(&mut stack, Value::Text(text));
            }
            _ => match literal(&characters[at..]) {
                Some((start, length)) => {
                    let end = (at + start + length).min(characters.len());
                    add(&mut stack, Value::Text(characters[at + start..end].iter().collect()));
                    at = end;
                }
                None => {
                    let start = at;
                    while let Some(character) = characters.get(at) {
                        match character {
                            ' ' | '(' | ')' | '"' | '\r' | '\n' => break,
                            '$' if characters.get(at + 1) == Some(&'{') => {
                                at += characters[at..].iter().position(|character| *character == '}').map_or(1, |end| end + 1);
                            }
                            _ => at += 1,
                        }
                    }
                    add(&mut stack, Value::Atom(characters[start..at].iter().collect()));
                }
            },
        }
    }
    while stack.len() > 1 {
        let list = Value::List(stack.pop().unwrap());
        stack.last_mut().unwrap().push(list);
    }
    stack.pop().unwrap()
}

/// Where a literal's bytes begin, and how many they are.
fn literal(text: &[char]) -> Option<(usize, usize)> {
    let mut at = usize::from(text.first() == Some(&'~'));
    if text.get(at) != Some(&'{') {
        return None;
    }
    at += 1;
    let digits: String = text[at..].iter().take_while(|character| character.is_ascii_digit()).collect();
    at += digits.len();
    at += usize::from(text.get(at) == Some(&'+'));
    (text.get(at..at + 3)? == ['}', '\r', '\n']).then_some((at + 3, digits.parse().ok()?))
}

/// Whether an untagged response is the expected one, as far as that says anything. `number` is the number that its message had before the
/// command: what `$1` stands for.
pub fn fits(expected: &[Value], got: &[Value], variables: &mut Variables, number: Option<u32>) -> bool {
    if expected.len() > got.len() {
        return false;
    }
    let word = |at: usize| match expected.get(at) {
        Some(Value::Atom(text)) => text.to_ascii_lowercase(),
        _ => String::new(),
    };
    let (first, second) = (word(0), word(1));
    if matches!(first.as_str(), "search" | "sort" | "thread") && expected.len() != got.len() {
        return false;
    }
    let unordered = |size| Rules { unordered: Some(size), ..Rules::default() };
    expected.iter().zip(got).enumerate().all(|(at, (wanted, value))| {
        let rules = match (at, first.as_str(), second.as_str()) {
            (2, _, "fetch") => Rules { fetch: true, ..unordered(2) },
            (1, "list" | "lsub" | "flags", _) => unordered(1),
            (2, "status", _) => unordered(2),
            _ => Rules::default(),
        };
        match (wanted, number) {
            (Value::Atom(text), Some(number)) if at == 0 && is_number_variable(text) => text[1..] == number.to_string(),
            _ => one(wanted, value, variables, &rules),
        }
    })
}

fn is_number_variable(text: &str) -> bool {
    text.strip_prefix('$').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()))
}

fn one(wanted: &Value, got: &Value, variables: &mut Variables, rules: &Rules) -> bool {
    match (wanted, got) {
        (Value::Atom(any), _) if any == "$" => true,
        (Value::List(wanted), Value::List(got)) => list(wanted, got, variables, rules),
        (Value::List(_), _) | (_, Value::List(_)) => false,
        (Value::Atom(pattern), Value::Atom(text) | Value::Text(text)) => atom(pattern, text, variables),
        (Value::Text(wanted), Value::Atom(text) | Value::Text(text)) => {
            wanted.eq_ignore_ascii_case(text) || substitute(wanted, variables).eq_ignore_ascii_case(text)
        }
    }
}

fn list(wanted: &[Value], got: &[Value], variables: &mut Variables, rules: &Rules) -> bool {
    let mut rules = rules.clone();
    let mut wanted = wanted;
    let mut own = false;
    while let [Value::Atom(directive), rest @ ..] = wanted
        && let Some(directive) = directive.strip_prefix("$!")
    {
        if !std::mem::replace(&mut own, true) {
            rules = Rules::default();
        }
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name {
            "unordered" => rules.unordered = Some(value.parse().unwrap_or(1)),
            "ordered" => rules.unordered = None,
            "noextra" => rules.no_extra = true,
            "extra" => rules.no_extra = false,
            "ignore" => rules.ignored.push(value.to_ascii_lowercase()),
            "ban" => rules.banned.push(value.to_owned()),
            _ => panic!("what is $!{name}?"),
        }
        wanted = rest;
    }
    let Some(size) = rules.unordered else {
        return wanted.len() == got.len() && wanted.iter().zip(got).all(|(wanted, got)| one(wanted, got, variables, &Rules::default()));
    };
    let flags = Rules { unordered: Some(1), no_extra: true, ignored: vec!["\\recent".into()], ..Rules::default() };
    let mut left: Vec<&[Value]> = got.chunks(size).collect();
    for group in wanted.chunks(size) {
        let is_flags = rules.fetch && matches!(&group[0], Value::Atom(name) if name.eq_ignore_ascii_case("flags"));
        let found = left.iter().position(|candidate| {
            let mut tried = variables.clone();
            let inner = if is_flags { &flags } else { &Rules::default() };
            let same =
                candidate.len() >= group.len() && group.iter().zip(*candidate).all(|(wanted, got)| one(wanted, got, &mut tried, inner));
            if same {
                *variables = tried;
            }
            same
        });
        match found {
            Some(at) => drop(left.remove(at)),
            None => return false,
        }
    }
    let names = |group: &[Value]| match group.first() {
        Some(Value::Atom(text) | Value::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let extra = left.iter().any(|group| !rules.ignored.contains(&names(group).to_ascii_lowercase()));
    let banned = left.iter().any(|group| rules.banned.iter().any(|banned| atom(banned, &names(group), &mut variables.clone())));
    !(banned || rules.no_extra && extra)
}

/// `$name` and `${name}` stand for what they were, or from now on are, without regard to case.
fn atom(pattern: &str, text: &str, variables: &mut Variables) -> bool {
    let Some((before, name, after)) = variable(pattern) else { return pattern.eq_ignore_ascii_case(text) };
    if !text.get(..before.len()).is_some_and(|start| start.eq_ignore_ascii_case(before)) {
        return false;
    }
    let text = &text[before.len()..];
    if let Some(value) = variables.get(&name).cloned() {
        return text.get(..value.len()).is_some_and(|start| start.eq_ignore_ascii_case(&value))
            && atom(after, &text[value.len()..], variables);
    }
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]).rev();
    for end in ends {
        let mut tried = variables.clone();
        tried.insert(name.clone(), text[..end].to_owned());
        if atom(after, &text[end..], &mut tried) {
            *variables = tried;
            return true;
        }
    }
    false
}

/// The first variable of a text, with what stands before and behind it.
fn variable(text: &str) -> Option<(&str, String, &str)> {
    for (at, _) in text.match_indices('$') {
        let rest = &text[at + 1..];
        if let Some(braced) = rest.strip_prefix('{') {
            let end = braced.find('}')?;
            return Some((&text[..at], braced[..end].to_ascii_lowercase(), &braced[end + 1..]));
        }
        let end = rest.find(|character: char| !(character.is_ascii_alphanumeric() || character == '_')).unwrap_or(rest.len());
        if end > 0 {
            return Some((&text[..at], rest[..end].to_ascii_lowercase(), &rest[end..]));
        }
    }
    None
}

/// Puts in the variables that have a value; the others stay as they stand.
pub fn substitute(text: &str, variables: &Variables) -> String {
    let mut written = String::new();
    let mut rest = text;
    while let Some((before, name, after)) = variable(rest) {
        written.push_str(before);
        match variables.get(&name) {
            Some(value) => written.push_str(value),
            // A keyword as `$Junk`.
            None => written.push_str(&rest[before.len()..rest.len() - after.len()]),
        }
        rest = after;
    }
    written + rest
}

#[test]
fn matching() {
    let check = |expected: &str, got: &str, fit: bool| {
        let mut variables = Variables::from([("mailbox".into(), "box".into())]);
        assert_eq!(fits(&parse(expected), &parse(got), &mut variables, None), fit, "{expected} | {got}");
    };
    check("1 fetch (flags (\\seen) uid $uid)", "1 FETCH (UID 7 FLAGS (\\Recent \\Seen))", true);
    check("1 fetch (flags (\\seen))", "1 FETCH (FLAGS (\\Seen \\Deleted))", false);
    check("search 1 2", "SEARCH 1 2 3", false);
    check("list ($!unordered $!ban=\\noselect) $sep ${mailbox}2", "LIST (\\Noselect) \"/\" box2", false);
    check("list () $sep ${mailbox}2", "LIST (\\Noselect) \"/\" box2", true);
    check("status $mailbox (messages 1)", "STATUS box (UIDNEXT 3 MESSAGES 1)", true);
    check("1 fetch (body[] {3}\r\na b)", "1 FETCH (BODY[] \"a b\")", true);
    check("thread (3 2)(1)", "THREAD (3 2)(1)", true);
    check("thread (3 2)(1)", "THREAD (3 2 1)", false);
}
