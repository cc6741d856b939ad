//! The client's side of responses: a FETCH response taken apart while its literals stream past, SEARCH and ESEARCH results, response
//! codes (RFC 9051 §7, RFC 3501 §7, RFC 4731). Hostile input is normal here: everything has a cap, nothing recurses.

use super::date;

/// Parentheses inside parentheses in an item that we did not even ask for.
const MAX_NESTING: u32 = 50;
/// Characters of an item's name, sections included.
const MAX_NAME: usize = 200;
/// Literals in one FETCH response.
const MAX_LITERALS: u32 = 100;

/// A response that no server should send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What a FETCH response says besides the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// UID
    pub uid: Option<u32>,
    /// RFC822.SIZE: a hint.
    pub size: Option<u64>,
    /// INTERNALDATE, milliseconds since 1970.
    pub internal_date: Option<i64>,
}

/// What follows the text that was fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// So many bytes of the message or header that was asked for.
    Body(u64),
    /// So many bytes that nobody asked for.
    Skip(u64),
    /// Nothing: the response is complete. A body that came as a quoted string is here; one that is NIL is not there (RFC 9051 §7.5.2).
    End(Option<Vec<u8>>),
}

/// Reads one FETCH response.
#[derive(Debug, Default)]
pub struct Reader {
    /// What was found so far.
    pub fetched: Fetched,
    inside: bool,
    depth: u32,
    name: Option<String>,
    quoted_body: Option<Vec<u8>>,
    literals: u32,
}

impl Reader {
    /// Takes the text of a line, from behind `FETCH ` or behind a literal to the line's end (or its `{n}`).
    pub fn feed(&mut self, mut text: &[u8]) -> Result<Next, Malformed> {
        if !self.inside {
            text = text.trim_ascii_start().strip_prefix(b"(").ok_or(Malformed("FETCH without a list"))?;
            self.inside = true;
        }
        loop {
            text = text.trim_ascii_start();
            let Some(&first) = text.first() else { return Err(Malformed("a FETCH response ends too early")) };
            if self.name.is_none() && self.depth == 0 {
                if first == b')' {
                    return Ok(Next::End(self.quoted_body.take()));
                }
                let (name, rest) = item_name(text)?;
                self.name = Some(name);
                text = rest;
                continue;
            }
            match first {
                b'(' => {
                    self.depth += 1;
                    if self.depth > MAX_NESTING {
                        return Err(Malformed("a FETCH response is nested too deep"));
                    }
                    text = &text[1..];
                }
                b')' => {
                    self.depth = self.depth.checked_sub(1).ok_or(Malformed("a parenthesis too many"))?;
                    text = &text[1..];
                    self.value_ended();
                }
                b'{' | b'~' => {
                    let length = literal(text).ok_or(Malformed("a literal that is none"))?;
                    self.literals += 1;
                    if self.literals > MAX_LITERALS {
                        return Err(Malformed("too many literals"));
                    }
                    let wanted = self.depth == 0 && self.name.as_deref().is_some_and(is_body);
                    self.value_ended();
                    return Ok(if wanted { Next::Body(length) } else { Next::Skip(length) });
                }
                b'"' => {
                    let (value, rest) = quoted(text)?;
                    self.value(&value);
                    text = rest;
                }
                _ => {
                    let end = text.iter().position(|b| b.is_ascii_whitespace() || matches!(b, b'(' | b')')).unwrap_or(text.len());
                    let (atom, rest) = text.split_at(end);
                    if atom.eq_ignore_ascii_case(b"NIL") {
                        self.value_ended()
                    } else {
                        self.value(atom)
                    }
                    text = rest;
                }
            }
        }
    }

    fn value(&mut self, value: &[u8]) {
        if self.depth > 0 {
            return;
        }
        let text = || std::str::from_utf8(value).ok();
        match self.name.as_deref() {
            Some("UID") => self.fetched.uid = text().and_then(|t| t.parse().ok()).filter(|uid| *uid > 0),
            Some("RFC822.SIZE") => self.fetched.size = text().and_then(|t| t.parse().ok()),
            Some("INTERNALDATE") => self.fetched.internal_date = date::parse_date_time(value),
            Some(name) if is_body(name) => self.quoted_body = Some(value.to_vec()),
            _ => {}
        }
        self.value_ended();
    }

    fn value_ended(&mut self) {
        if self.depth == 0 {
            self.name = None;
        }
    }
}

/// The length that a literal at the end of this line announces; `None` if it ends in none.
pub fn trailing_literal(line: &[u8]) -> Option<u64> {
    if line.last() != Some(&b'}') {
        return None;
    }
    literal(&line[memchr::memrchr(b'{', line)?..])
}

/// `{n}`, `{n+}`, `~{n}`, and nothing behind it.
fn literal(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"~").unwrap_or(text).strip_prefix(b"{")?.strip_suffix(b"}")?;
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

/// Whether an item is the body that we ask for: whole, or its header.
fn is_body(name: &str) -> bool {
    matches!(name, "BODY[]" | "BODY[HEADER]" | "RFC822" | "RFC822.HEADER") || name.starts_with("BODY[]<")
}

/// Upper case; a section in brackets may hold spaces.
fn item_name(text: &[u8]) -> Result<(String, &[u8]), Malformed> {
    let mut in_brackets = false;
    let end = text
        .iter()
        .take(MAX_NAME)
        .position(|b| {
            in_brackets = (in_brackets || *b == b'[') && *b != b']';
            !in_brackets && matches!(b, b' ' | b'(' | b')' | b'"' | b'{')
        })
        .ok_or(Malformed("a FETCH item without a value"))?;
    if end == 0 {
        return Err(Malformed("a FETCH item without a name"));
    }
    Ok((String::from_utf8_lossy(&text[..end]).to_ascii_uppercase(), &text[end..]))
}

fn quoted(text: &[u8]) -> Result<(Vec<u8>, &[u8]), Malformed> {
    let mut value = Vec::new();
    let mut at = 1;
    loop {
        match text.get(at) {
            Some(b'"') => return Ok((value, &text[at + 1..])),
            Some(b'\\') => {
                value.push(*text.get(at + 1).ok_or(Malformed("a quoted string does not end"))?);
                at += 2;
            }
            Some(byte) => {
                value.push(*byte);
                at += 1;
            }
            None => return Err(Malformed("a quoted string does not end")),
        }
    }
}

/// The numbers of `* SEARCH 1 2 3` or `* ESEARCH (TAG "a") UID ALL 1:3,5`, from behind the word. At most `max`.
pub fn search_result(text: &[u8], extended: bool, max: usize) -> Result<Vec<u32>, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed("a search result is no text"))?;
    let mut found = Vec::new();
    if !extended {
        for word in text.split_ascii_whitespace() {
            // CONDSTORE appends (MODSEQ n).
            if word.starts_with('(') {
                break;
            }
            found.push(word.parse().map_err(|_| Malformed("a search result is no number"))?);
            if found.len() > max {
                return Err(Malformed("a search result is too long"));
            }
        }
        return Ok(found);
    }
    let mut words = text.split_ascii_whitespace();
    let Some(set) = words.by_ref().find(|word| word.eq_ignore_ascii_case("ALL")).and_then(|_| words.next()) else { return Ok(found) };
    for range in set.split(',') {
        let (from, to) = range.split_once(':').unwrap_or((range, range));
        let parse = |n: &str| n.parse::<u32>().map_err(|_| Malformed("a search result is no set"));
        let (a, b) = (parse(from)?, parse(to)?);
        let (low, high) = (a.min(b), a.max(b));
        if (high - low) as usize >= max.saturating_sub(found.len()) {
            return Err(Malformed("a search result is too long"));
        }
        found.extend(low..=high);
    }
    Ok(found)
}

/// A response code in brackets at the start of a status text: its name in upper case, and its arguments.
pub fn response_code(text: &[u8]) -> Option<(String, &[u8])> {
    let inside = text.strip_prefix(b"[")?;
    let inside = &inside[..memchr::memchr(b']', inside)?];
    let space = memchr::memchr(b' ', inside).unwrap_or(inside.len());
    Some((String::from_utf8_lossy(&inside[..space]).to_ascii_uppercase(), inside[space..].trim_ascii_start()))
}

/// How much one set may name.
#[derive(Debug, Clone, Copy)]
pub struct SetLimit {
    /// About so many bytes of text.
    pub bytes: usize,
    /// So many messages.
    pub messages: usize,
}

/// Sets for UID commands that name all of `wanted` (ascending) and no other of `listed` (ascending), each with how many messages it
/// names.
pub fn uid_sets(wanted: &[u32], listed: &[u32], limit: SetLimit) -> Vec<(String, usize)> {
    let mut sets: Vec<(String, usize)> = Vec::new();
    let mut at = 0;
    while at < wanted.len() {
        let mut end = at;
        let mut place = listed.partition_point(|uid| *uid < wanted[at]);
        while end + 1 - at < limit.messages && end + 1 < wanted.len() && listed.get(place + 1) == Some(&wanted[end + 1]) {
            end += 1;
            place += 1;
        }
        let range = if end == at { wanted[at].to_string() } else { format!("{}:{}", wanted[at], wanted[end]) };
        let named = end - at + 1;
        match sets.last_mut().filter(|(set, count)| set.len() + range.len() < limit.bytes && *count + named <= limit.messages) {
            Some((set, count)) => {
                set.push(',');
                set.push_str(&range);
                *count += named;
            }
            None => sets.push((range, named)),
        }
        at = end + 1;
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(segments: &[&str]) -> (Result<Vec<Next>, Malformed>, Fetched) {
        let mut reader = Reader::default();
        let nexts = segments.iter().map(|segment| reader.feed(segment.as_bytes())).collect();
        (nexts, reader.fetched)
    }

    #[test]
    fn reads_what_was_asked_for_in_any_order() {
        let (nexts, fetched) = read(&["(UID 7 INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" BODY[] {12}", ")"]);
        assert_eq!(nexts, Ok(vec![Next::Body(12), Next::End(None)]));
        assert_eq!((fetched.uid, fetched.internal_date), (Some(7), Some(837_596_665_000)));
        let (nexts, fetched) = read(&["(body[]<0> {0}", " FLAGS (\\Seen (x)) RFC822.SIZE 5 UID 9)"]);
        assert_eq!(nexts, Ok(vec![Next::Body(0), Next::End(None)]));
        assert_eq!((fetched.uid, fetched.size), (Some(9), Some(5)));
        let (nexts, _) = read(&["(BODY[] \"a\\\"b\" UID 1)"]);
        assert_eq!(nexts, Ok(vec![Next::End(Some(b"a\"b".to_vec()))]));
        let (nexts, _) = read(&["(BODY[] NIL UID 1)"]);
        assert_eq!(nexts, Ok(vec![Next::End(None)]), "no message, which is not an empty one");
    }

    #[test]
    fn passes_over_what_was_not_asked_for() {
        let (nexts, fetched) = read(&["(ENVELOPE (NIL {3}", " NIL (\"a\" NIL)) BODY[HEADER.FIELDS (TO CC)] {4}", " UID 3)"]);
        assert_eq!(nexts, Ok(vec![Next::Skip(3), Next::Skip(4), Next::End(None)]));
        assert_eq!(fetched.uid, Some(3));
    }

    #[test]
    fn hostile_responses_are_malformed() {
        for bad in [
            "",
            "UID 1",
            "(",
            "(UID",
            "(UID 1",
            "(UID 1))x(",
            "(BODY[] \"",
            "(BODY[] \"\\",
            "(BODY[] {x}",
            "(BODY[] {99999999999999999999}",
        ] {
            let (nexts, _) = read(&[bad]);
            assert!(nexts.is_err() || bad.starts_with("(UID 1))"), "{bad}");
        }
        assert!(read(&[&format!("(X {}", "(".repeat(100_000))]).0.is_err());
        assert!(read(&[&format!("({} 1)", "X".repeat(100_000))]).0.is_err());
    }

    #[test]
    fn literals_at_the_end_of_a_line() {
        for (line, length) in
            [("* X {5}", Some(5)), ("* X ~{5}", Some(5)), ("{0+}", Some(0)), ("* OK x}", None), ("{-1}", None), ("{}", None)]
        {
            assert_eq!(trailing_literal(line.as_bytes()), length, "{line}");
        }
    }

    #[test]
    fn search_results() {
        assert_eq!(search_result(b" 3 5 9", false, 10), Ok(vec![3, 5, 9]));
        assert_eq!(search_result(b"3 (MODSEQ 5)", false, 10), Ok(vec![3]));
        assert_eq!(search_result(b"(TAG \"a\") UID ALL 1:3,7", true, 10), Ok(vec![1, 2, 3, 7]));
        assert_eq!(search_result(b"(TAG \"a\") UID", true, 10), Ok(vec![]));
        assert!(search_result(b"(TAG \"a\") UID ALL 1:4294967295", true, 1000).is_err());
        assert!(search_result(b"1 x", false, 10).is_err());
    }

    #[test]
    fn sets_name_no_other_message() {
        let sets = |wanted: &[u32], listed: &[u32]| uid_sets(wanted, listed, SetLimit { bytes: 12, messages: 4 });
        assert_eq!(sets(&[1, 5, 9, 12], &[1, 5, 9, 10, 12]), [("1:9,12".into(), 4)]);
        assert_eq!(sets(&[7], &[1, 7]), [("7".into(), 1)]);
        assert_eq!(sets(&[100, 300, 500, 700], &[100, 200, 300, 400, 500, 600, 700]), [("100,300,500".into(), 3), ("700".into(), 1)]);
        assert_eq!(sets(&[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 5, 6]), [("1:4".into(), 4), ("5:6".into(), 2)]);
        assert!(sets(&[], &[1]).is_empty());
    }
}
