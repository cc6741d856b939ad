//! The wildcards of LIST and LSUB (RFC 9051 §6.3.9): `*` matches anything, `%` anything but the separator. Pure.

/// What stands between the levels of a mailbox name.
pub const SEPARATOR: char = '/';

/// Whether `name` matches. INBOX matches without regard to case. Takes at most `name × pattern` steps, whatever the pattern.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let inbox = name.len() >= 5
        && name[..5].iter().collect::<String>().eq_ignore_ascii_case("INBOX")
        && name.get(5).is_none_or(|next| *next == SEPARATOR);
    // One row of the table "pattern up to here matches name up to there".
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    for wanted in pattern {
        match wanted {
            '*' => {
                let first = row.iter().position(|reached| *reached).unwrap_or(row.len());
                row[first..].fill(true);
            }
            '%' => {
                for at in 1..row.len() {
                    row[at] |= row[at - 1] && name[at - 1] != SEPARATOR;
                }
            }
            literal => {
                for at in (1..row.len()).rev() {
                    let found = name[at - 1];
                    row[at] = row[at - 1] && (found == literal || (inbox && at <= 5 && found.eq_ignore_ascii_case(&literal)));
                }
                row[0] = false;
            }
        }
    }
    row[name.len()]
}

/// The names above `name`, nearest first: `a/b/c` has `a/b` and `a`.
pub fn superiors(name: &str) -> impl Iterator<Item = &str> {
    name.rmatch_indices(SEPARATOR).map(|(at, _)| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        let check = |pattern, name, expected| assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        check("*", "a/b/c", true);
        check("%", "a", true);
        check("%", "a/b", false);
        check("%/%", "a/b", true);
        check("a/%", "a/b/c", false);
        check("a*c", "a/b/c", true);
        check("*b", "a/b/c", false);
        check("%t*4", "test3/test4", true);
        check("inbox", "INBOX", true);
        check("inbox/x", "INBOX/x", true);
        check("inbox/X", "INBOX/x", false);
        check("inboxes", "INBOXES", false);
        check("", "", true);
        check("", "a", false);
        check("ä%", "äöü", true);
    }

    #[test]
    fn many_stars_end_soon() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(150)));
    }

    #[test]
    fn above() {
        assert_eq!(superiors("a/b/c").collect::<Vec<_>>(), ["a/b", "a"]);
        assert_eq!(superiors("a").count(), 0);
    }
}
