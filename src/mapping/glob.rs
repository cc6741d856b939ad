//! Patterns with `*` (any text, also none) and `?` (one character), and an index that finds the few that can match a text.

use std::collections::HashMap;

/// A compiled pattern. Compares exactly: whoever wants case ignored lowers both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    text: String,
    /// What stands between the stars; one more than there are stars.
    segments: Vec<String>,
    literals: usize,
}

impl Glob {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            segments: text.split('*').map(str::to_owned).collect(),
            literals: text.chars().filter(|c| !matches!(c, '*' | '?')).count(),
        }
    }

    /// Whether a text has a wildcard in it.
    pub(super) fn is_pattern(text: &str) -> bool {
        text.contains(['*', '?'])
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// How many characters are no wildcards: of two patterns that match, the one with more of them is the closer one.
    pub(super) fn literals(&self) -> usize {
        self.literals
    }

    pub(super) fn stars(&self) -> usize {
        self.segments.len() - 1
    }

    /// Whether everything that is like the other pattern is like this one, as far as two samples tell.
    pub(super) fn covers(&self, other: &str) -> bool {
        // Letters that nobody writes: only a wildcard stands for them.
        ["", "\u{1}\u{2}\u{3}"].iter().all(|star| self.matches(&other.replace('?', "\u{4}").replace('*', star)))
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.walk(text, |_| ())
    }

    /// What each star stands for, in order; `None` if the text doesn't match. Stars take as little as they can, the last one the rest.
    pub(super) fn captures<'t>(&self, text: &'t str) -> Option<Vec<&'t str>> {
        let mut captures = Vec::new();
        self.walk(text, |capture| captures.push(capture)).then_some(captures)
    }

    fn walk<'t>(&self, text: &'t str, mut capture: impl FnMut(&'t str)) -> bool {
        let (Some(first), Some(last)) = (self.segments.first(), self.segments.last()) else { return false };
        let Some(mut rest) = strip_prefix(text, first) else { return false };
        if self.segments.len() == 1 {
            return rest.is_empty();
        }
        for middle in &self.segments[1..self.segments.len() - 1] {
            let Some((before, after)) = find(rest, middle) else { return false };
            capture(before);
            rest = after;
        }
        let Some(before) = strip_suffix(rest, last) else { return false };
        capture(before);
        true
    }
}

/// Takes a star-free segment from the front.
fn strip_prefix<'t>(text: &'t str, segment: &str) -> Option<&'t str> {
    if !segment.contains('?') {
        return text.strip_prefix(segment);
    }
    let mut rest = text.chars();
    for wanted in segment.chars() {
        let got = rest.next()?;
        if wanted != '?' && wanted != got {
            return None;
        }
    }
    Some(rest.as_str())
}

fn strip_suffix<'t>(text: &'t str, segment: &str) -> Option<&'t str> {
    if !segment.contains('?') {
        return text.strip_suffix(segment);
    }
    let length = segment.chars().count();
    let start = text.char_indices().rev().nth(length.checked_sub(1)?)?.0;
    strip_prefix(&text[start..], segment).map(|_| &text[..start])
}

/// The first place at which a star-free segment stands: what is before and behind it.
fn find<'t>(text: &'t str, segment: &str) -> Option<(&'t str, &'t str)> {
    if !segment.contains('?') {
        return text.find(segment).map(|at| (&text[..at], &text[at + segment.len()..]));
    }
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.into_iter().find_map(|at| strip_prefix(&text[at..], segment).map(|rest| (&text[..at], rest)))
}

/// Patterns and plain texts by number, found again by what their literal ends say. Its cost grows with the number of different lengths
/// of those ends, not with the number of patterns; only patterns that begin and end with a wildcard are all looked at.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By what follows the last `@`, if that has no wildcard; the rest of the pattern is in the bucket.
    by_domain: HashMap<String, Bucket>,
    other: Bucket,
}

#[derive(Debug, Default)]
struct Bucket {
    exact: HashMap<String, Vec<u32>>,
    prefixes: Ends,
    suffixes: Ends,
    anywhere: Vec<u32>,
}

#[derive(Debug, Default)]
struct Ends {
    lengths: Vec<usize>,
    numbers: HashMap<String, Vec<u32>>,
}

impl Index {
    pub(super) fn insert(&mut self, pattern: &str, number: u32) {
        match pattern.rsplit_once('@') {
            Some((local, domain)) if !Glob::is_pattern(domain) => {
                self.by_domain.entry(domain.to_owned()).or_default().insert(local, number);
            }
            _ => self.other.insert(pattern, number),
        }
    }

    /// Calls `found` with every number whose pattern may match; the caller makes sure.
    pub(super) fn candidates(&self, text: &str, mut found: impl FnMut(u32)) {
        if let Some((local, domain)) = text.rsplit_once('@')
            && let Some(bucket) = self.by_domain.get(domain)
        {
            bucket.candidates(local, &mut found);
        }
        self.other.candidates(text, &mut found);
    }
}

impl Bucket {
    fn insert(&mut self, pattern: &str, number: u32) {
        if !Glob::is_pattern(pattern) {
            self.exact.entry(pattern.to_owned()).or_default().push(number);
            return;
        }
        let prefix = pattern.split(['*', '?']).next().unwrap_or_default();
        let suffix = pattern.rsplit(['*', '?']).next().unwrap_or_default();
        match (prefix.len(), suffix.len()) {
            (0, 0) => self.anywhere.push(number),
            (before, behind) if before >= behind => self.prefixes.insert(prefix, number),
            _ => self.suffixes.insert(suffix, number),
        }
    }

    fn candidates(&self, text: &str, found: &mut impl FnMut(u32)) {
        let mut all = |numbers: Option<&Vec<u32>>| numbers.into_iter().flatten().copied().for_each(&mut *found);
        all(self.exact.get(text));
        for &length in &self.prefixes.lengths {
            all(text.get(..length).and_then(|end| self.prefixes.numbers.get(end)));
        }
        for &length in &self.suffixes.lengths {
            all(text.len().checked_sub(length).and_then(|at| text.get(at..)).and_then(|end| self.suffixes.numbers.get(end)));
        }
        all(Some(&self.anywhere));
    }
}

impl Ends {
    fn insert(&mut self, end: &str, number: u32) {
        if let Err(at) = self.lengths.binary_search(&end.len()) {
            self.lengths.insert(at, end.len());
        }
        self.numbers.entry(end.to_owned()).or_default().push(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_pattern_covers_another() {
        let check = |one: &str, other: &str, expected: bool| assert_eq!(Glob::new(one).covers(other), expected, "{one} {other}");
        check("*@x.example", "a*@x.example", true);
        check("*@x.example", "?*@x.example", true);
        check("?@x.example", "*@x.example", false);
        check("?*@x.example", "*@x.example", false);
        check("a*b@x.example", "ab@x.example", true);
        check("a?b@x.example", "a*b@x.example", false);
        check("*a*", "*b*", false);
    }

    #[test]
    fn matches_and_captures() {
        let check = |pattern: &str, text: &str, expected: Option<&[&str]>| {
            assert_eq!(Glob::new(pattern).captures(text).as_deref(), expected, "{pattern} {text}");
        };
        check("*@old.example", "bob@old.example", Some(&["bob"]));
        check("*-shop@example.com", "tea-shop@example.com", Some(&["tea"]));
        check("a?c", "abc", Some(&[]));
        check("a?c", "ac", None);
        check("a*b*c", "aXbYbZc", Some(&["X", "YbZ"]));
        check("a*a", "a", None);
        check("*?é", "éé", Some(&[""]));
        check("*?é", "é", None);
        check("*invoice*", "your invoice 7", Some(&["your ", " 7"]));
        check("", "", Some(&[]));
        check("*", "", Some(&[""]));
    }

    proptest! {
        #[test]
        fn the_index_finds_what_matches(patterns in prop::collection::vec("[ab*?@.]{0,6}", 0..20), text in "[ab@.]{0,6}") {
            let mut index = Index::default();
            for (number, pattern) in (0..).zip(&patterns) {
                index.insert(pattern, number);
            }
            let mut found = Vec::new();
            index.candidates(&text, |number| found.push(number as usize));
            found.retain(|&number| Glob::new(&patterns[number]).matches(&text));
            found.sort_unstable();
            let expected: Vec<usize> = (0..patterns.len()).filter(|&number| Glob::new(&patterns[number]).matches(&text)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
