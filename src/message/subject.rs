//! The base subject (RFC 5256 §2.1): what remains of a subject without `Re:`, `Fwd:`, list tags and `(fwd)`.

/// Takes reply and forward marks off a decoded subject. Case is kept.
pub fn base(subject: &str) -> String {
    taken_apart(subject).0
}

/// Whether a decoded subject is that of a reply or a forward (RFC 5256 §3, step 5 of REFERENCES): a mark of one was taken off it. What
/// else its base lacks, such as a list's tag or spaces side by side, makes it none.
pub fn is_reply(subject: &str) -> bool {
    taken_apart(subject).1
}

/// The base, and whether a mark was taken off.
fn taken_apart(subject: &str) -> (String, bool) {
    let spaced: Vec<&str> = subject.split_whitespace().collect();
    let spaced = spaced.join(" ");
    let mut rest = spaced.as_str();
    let mut marked = false;
    loop {
        rest = without_trailers(rest, &mut marked);
        rest = without_leaders(rest, &mut marked);
        // `[fwd: …]` is a wrapper; what is inside is looked at anew.
        let inside = strip_prefix(rest, "[fwd:").and_then(|text| text.strip_suffix(']'));
        let Some(inside) = inside else { return (rest.to_owned(), marked) };
        rest = inside.trim();
        marked = true;
    }
}

/// `subj-trailer = "(fwd)" / WSP`
fn without_trailers<'t>(mut text: &'t str, marked: &mut bool) -> &'t str {
    loop {
        text = text.trim_end();
        let Some(cut) = text.len().checked_sub(5).filter(|&cut| text.is_char_boundary(cut)) else { return text };
        if !text[cut..].eq_ignore_ascii_case("(fwd)") {
            return text;
        }
        text = &text[..cut];
        *marked = true;
    }
}

/// `subj-leader = (*subj-blob subj-refwd) / WSP`, and blobs that something follows.
fn without_leaders<'t>(mut text: &'t str, marked: &mut bool) -> &'t str {
    loop {
        let before = text;
        text = text.trim_start();
        if let Some(behind) = refwd(text) {
            text = behind;
            *marked = true;
        }
        if let Some(behind) = blob(text).filter(|behind| !behind.trim().is_empty()) {
            text = behind;
        }
        if text.len() == before.len() {
            return text;
        }
    }
}

/// `subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"`; returns what is behind it.
fn refwd(text: &str) -> Option<&str> {
    // German clients write AW and WG (a deviation that makes their threads sort as one).
    let behind = ["re", "fwd", "fw", "aw", "wg"].iter().find_map(|mark| strip_prefix(text, mark))?.trim_start();
    let behind = blob(behind).unwrap_or(behind);
    behind.trim_start().strip_prefix(':')
}

/// `subj-blob = "[" *BLOBCHAR "]" *WSP`; returns what is behind it.
fn blob(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('[')?;
    let end = inside.find(['[', ']'])?;
    Some(inside[end..].strip_prefix(']')?.trim_start())
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix)).map(|_| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bases() {
        for (subject, expected) in [
            ("plain", "plain"),
            ("Re: plain", "plain"),
            ("RE: re: Fwd: FW: plain", "plain"),
            ("AW: WG: plain", "plain"),
            ("Re[2]: plain", "plain"),
            ("[list] Re: [list] plain (fwd)", "plain"),
            ("[only]", "[only]"),
            ("[fwd: Re: plain]", "plain"),
            ("Re: [fwd: [list] plain] (fwd) (FWD)", "plain"),
            ("  spaced \t  out ", "spaced out"),
            ("Re:", ""),
            ("", ""),
            ("Regards", "Regards"),
            ("ü(fwd", "ü(fwd"),
        ] {
            assert_eq!(base(subject), expected, "{subject}");
        }
    }

    #[test]
    fn replies_and_forwards() {
        for subject in ["Re: x", "[list] Re: x", "Re: [list] x", "AW: x", "x (fwd)", "[fwd: x]", "[list] [fwd: x]", "re [2] : x", "Re:"] {
            assert!(is_reply(subject), "{subject}");
        }
        for subject in ["x", "[list] x", "[one] [two] x", "x  y", " x", "x\u{a0}y", "X (fw)", "Regards", "[re: x]", ""] {
            assert!(!is_reply(subject), "{subject}");
        }
    }

    proptest! {
        #[test]
        fn stays_the_same_the_second_time(subject in "(re|fwd|\\[|\\]|:|a| |\\(fwd\\)|ü){0,20}") {
            let once = base(&subject);
            prop_assert_eq!(base(&once), once);
        }
    }
}
