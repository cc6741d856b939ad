//! Picking fields out of a header by name, whole lines as they were written (RFC 9051 §6.4.5, `HEADER.FIELDS`), and the few fields that are
//! kept apart because mail programs draw their lists from them.

use super::header::{MAX_BYTES, MAX_FIELDS};

/// What mail programs ask for of every message of a mailbox, and what people search in: in lower case, ascending. None of them is written
/// by a delivery ([`super::trace`]), so those of the original are those of the message.
const LISTED: [&str; 18] = [
    "bcc",
    "cc",
    "content-type",
    "date",
    "from",
    "importance",
    "in-reply-to",
    "list-id",
    "list-post",
    "message-id",
    "newsgroups",
    "priority",
    "references",
    "reply-to",
    "sender",
    "subject",
    "to",
    "x-priority",
];

/// Bytes of them that are kept: three times what a long thread's References take. More is read from the message itself.
const MAX_LISTED: usize = 4096;

/// The wanted fields with their folding, and a blank line. With `not`, all others.
pub fn pick<N: AsRef<str>>(header: &[u8], names: &[N], not: bool) -> Vec<u8> {
    let mut picked = lines(header, names, not);
    picked.extend_from_slice(b"\r\n");
    picked
}

/// Whether this is a field that [`listed`] keeps.
pub fn is_listed(name: &str) -> bool {
    LISTED.iter().any(|listed| listed.eq_ignore_ascii_case(name))
}

/// The listed fields of an original's header, without a blank line: whoever picks listed fields from them gets what the whole header would
/// have given. `None`: there are too many to keep, or the header is so odd that readers disagree about it.
pub fn listed(header: &[u8]) -> Option<Vec<u8>> {
    // Behind these limits, in front of a byte order mark and where a line is no field, readers find different things.
    let odd = !header.ends_with(b"\n")
        || header.starts_with(b"\xEF\xBB\xBF")
        || header.len() > MAX_BYTES
        || memchr::memchr_iter(b'\n', header).nth(MAX_FIELDS).is_some()
        || header.split(|byte| *byte == b'\n').any(is_no_field);
    if odd {
        return None;
    }
    Some(lines(header, &LISTED, false)).filter(|lines| lines.len() <= MAX_LISTED)
}

/// A line that is neither blank nor folded and names nothing.
fn is_no_field(line: &[u8]) -> bool {
    !matches!(line.first(), Some(b' ' | b'\t')) && !line.contains(&b':') && line.iter().any(|byte| *byte != b'\r')
}

fn lines<N: AsRef<str>>(header: &[u8], names: &[N], not: bool) -> Vec<u8> {
    let mut picked = Vec::with_capacity(header.len().min(MAX_LISTED));
    let mut wanted = false;
    let mut at = 0;
    while at < header.len() {
        let end = memchr::memchr(b'\n', &header[at..]).map_or(header.len(), |end| at + end + 1);
        let line = &header[at..end];
        at = end;
        if line.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            break;
        }
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = memchr::memchr(b':', line).map_or(&[][..], |colon| line[..colon].trim_ascii_end());
            let named = names.iter().any(|field| field.as_ref().as_bytes().eq_ignore_ascii_case(name));
            wanted = named != not && !name.is_empty();
        }
        if wanted {
            picked.extend_from_slice(line);
        }
    }
    if !picked.is_empty() && !picked.ends_with(b"\n") {
        picked.extend_from_slice(b"\r\n");
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::Header;
    use proptest::prelude::*;

    #[test]
    fn fields() {
        let header = b"From: a\r\nSubject: one\r\n two\r\nX-No-Colon\r\nTO : b\r\nSubject: three\r\n\r\nFrom: body\r\n";
        let check = |not, names: &[&str], expected: &str| {
            assert_eq!(String::from_utf8(pick(header, names, not)).unwrap(), expected);
        };
        check(false, &["subject"], "Subject: one\r\n two\r\nSubject: three\r\n\r\n");
        check(false, &["to", "from"], "From: a\r\nTO : b\r\n\r\n");
        check(false, &["cc"], "\r\n");
        check(true, &["subject", "from"], "TO : b\r\n\r\n");
    }

    #[test]
    fn what_is_kept() {
        let check = |header: &str, expected: Option<&str>| {
            assert_eq!(listed(header.as_bytes()).as_deref(), expected.map(str::as_bytes), "{header}");
        };
        check("X-A: 1\r\nSUBJECT: a\r\n b\r\nX-B: 2\r\nTo: c\n", Some("SUBJECT: a\r\n b\r\nTo: c\n"));
        check("To: c", None);
        check("Subject\r\n : a\r\n\r\n", None);
        check("X-A: 1\r\n\r\nSubject: body\r\n", Some(""));
        check("\u{feff}Subject: a\r\n\r\n", None);
        check(&format!("References: {}\r\n", "<a@b> ".repeat(1000)), None);
        assert!(is_listed("Message-ID") && !is_listed("Received"));
    }

    proptest! {
        /// Whoever reads what was kept reads what the header says, also behind what a delivery wrote.
        #[test]
        fn kept_fields_are_those_of_the_header(
            header in "((Subject|to|FROM|X-A|Received|From x| |\t|)(:| :|)[a :]{0,4}(\r\n|\n|\r\r\n|\r)){0,8}",
            above in prop_oneof![Just(""), Just("Delivered-To: a\r\nReceived: b\r\n")],
        ) {
            let header = format!("{header}\n");
            let Some(kept) = listed(header.as_bytes()) else {
                prop_assert!(header.lines().any(|line| !line.contains(':')));
                return Ok(());
            };
            let whole = format!("{above}{header}");
            for names in [&["Subject"][..], &["from", "To"], &["Subject", "From", "To", "Cc"]] {
                prop_assert_eq!(pick(&kept, names, false), pick(whole.as_bytes(), names, false));
            }
            let values = |header: &[u8]| ["subject", "to", "from"].map(|name| {
                Header::parse(header).all(name).map(|field| field.value.to_vec()).collect::<Vec<_>>()
            });
            prop_assert_eq!(values(&kept), values(whole.as_bytes()));
        }
    }
}
