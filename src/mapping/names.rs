//! Display names, for shares: who is meant by "Smith, Alice", "A. Smith" or "ALICE SMITH". Whoever can't be told is nobody.

use std::collections::HashMap;

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Users' full names and `[names]`.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_user: HashMap<String, Vec<Vec<String>>>,
}

/// How well two names agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Agreement {
    /// Initials, or a middle name that one of them leaves out.
    Abbreviated,
    Whole,
}

impl Names {
    /// From pairs of name and user.
    pub(super) fn new(names: impl Iterator<Item = (String, String)>) -> Self {
        let mut by_user: HashMap<String, Vec<Vec<String>>> = HashMap::new();
        for (name, user) in names {
            by_user.entry(user).or_default().extend(readings(&name));
        }
        Self { by_user }
    }

    /// The one member whom the name means; `None` if there is none, or more than one.
    pub(super) fn member<'m>(&self, name: &str, members: &'m [String]) -> Option<&'m str> {
        let given = readings(name);
        let score = |member: &String| {
            let known = self.by_user.get(member).into_iter().flatten().cloned().chain(readings(member));
            let scores = known.flat_map(|known| given.iter().filter_map(move |given| agreement(&known, given)).max());
            scores.max()
        };
        let scored: Vec<(Agreement, &str)> = members.iter().filter_map(|member| Some((score(member)?, member.as_str()))).collect();
        let best = scored.iter().map(|(score, _)| *score).max()?;
        let mut winners: Vec<&str> = scored.iter().filter(|(score, _)| *score == best).map(|(_, member)| *member).collect();
        winners.dedup();
        match winners.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }
}

/// The words of a name in the order in which they are spoken, without case and accents; umlauts in both of their spellings.
fn readings(name: &str) -> Vec<Vec<String>> {
    let turned = match name.split_once(',') {
        Some((family, given)) if !given.trim().is_empty() => format!("{given} {family}"),
        _ => name.to_owned(),
    };
    let words = |spell: fn(char) -> Option<&'static str>| {
        let mut folded = String::with_capacity(turned.len());
        for c in turned.nfc().flat_map(char::to_lowercase) {
            match spell(c) {
                Some(spelt) => folded.push_str(spelt),
                None => folded.extend(std::iter::once(c).nfkd().filter(|c| !is_combining_mark(*c))),
            }
        }
        // An apostrophe is a part of a name, as in O'Brien.
        let folded = folded.replace(['\'', '’'], "");
        folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut readings = vec![words(short), words(long)];
    readings.dedup();
    readings.retain(|words| !words.is_empty());
    readings
}

/// Letters that are no base letter with a mark.
fn short(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' => "l",
        'đ' => "d",
        'ı' => "i",
        _ => return None,
    })
}

/// As typed on a keyboard without umlauts.
fn long(c: char) -> Option<&'static str> {
    Some(match c {
        'ä' => "ae",
        'ö' | 'ø' => "oe",
        'ü' => "ue",
        'å' => "aa",
        _ => return short(c),
    })
}

fn agreement(known: &[String], given: &[String]) -> Option<Agreement> {
    if known == given {
        return Some(Agreement::Whole);
    }
    let ([known_first, known_middle @ .., known_last], [given_first, given_middle @ .., given_last]) = (known, given) else { return None };
    // The family name is never an initial; the first name may be one.
    if known_last != given_last || known_last.chars().count() < 2 || !same_or_initial(known_first, given_first) {
        return None;
    }
    let middles = known_middle.is_empty()
        || given_middle.is_empty()
        || (known_middle.len() == given_middle.len() && known_middle.iter().zip(given_middle).all(|(a, b)| same_or_initial(a, b)));
    (known.len() > 1 && given.len() > 1 && middles).then_some(Agreement::Abbreviated)
}

fn same_or_initial(a: &str, b: &str) -> bool {
    let initial = |short: &str, long: &str| short.chars().count() == 1 && long.starts_with(short);
    a == b || initial(a, b) || initial(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<&str>) {
        let known = [
            ("Alice M. Smith", "alice"),
            ("Bob Müller", "bob"),
            ("Robert Miller", "robert"),
            ("René O’Brien", "rene"),
            ("Anna Smith", "anna"),
        ];
        let names = Names::new(known.iter().map(|(name, user)| (name.to_string(), user.to_string())));
        let members: Vec<String> = known.iter().map(|(_, user)| user.to_string()).collect();
        assert_eq!(names.member(name, &members), expected, "{name}");
    }

    #[test]
    fn tells_people_apart() {
        check("Alice M. Smith", Some("alice"));
        check("alice smith", Some("alice"));
        check("Smith, Alice", Some("alice"));
        check("SMITH, Alice M", Some("alice"));
        check("bob mueller", Some("bob"));
        check("Bob Muller", Some("bob"));
        check("R. Miller", Some("robert"));
        check("Rene OBrien", Some("rene"));
        check("RENÉ O'BRIEN", Some("rene"));
        check("alice", Some("alice"));
        check("Anna Smith", Some("anna"));
    }

    #[test]
    fn never_guesses() {
        check("A. Smith", None);
        check("A. M. Smith", None);
        check("Smith", None);
        check("Robert", Some("robert"));
        check("Bob", Some("bob"));
        check("Smith, A", None);
        check("Alice Jones", None);
        check("Office", None);
        check("", None);
        check("Alice K. Smith", None);
        check("B M", None);
    }
}
