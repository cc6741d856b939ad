//! How answers are written (RFC 9051 §7, §9). Pure: everything is appended to a buffer of bytes.

use std::fmt::Write;

use super::command::{Section, SectionText};
use super::partial::Partial;
use super::sequence::Ranges;
use super::utf7;

/// Longer strings go as literals: some clients' line buffers are small.
const MAX_QUOTED: usize = 1000;

/// The end of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Outcome {
    Ok,
    No,
    Bad,
}

/// `tag SP ("OK" / "NO" / "BAD") SP ["[" code "]" SP] text CRLF`
pub fn tagged(tag: &str, outcome: Outcome, code: Option<&str>, text: &str) -> String {
    let word = match outcome {
        Outcome::Ok => "OK",
        Outcome::No => "NO",
        Outcome::Bad => "BAD",
    };
    match code {
        Some(code) => format!("{tag} {word} [{code}] {text}\r\n"),
        None => format!("{tag} {word} {text}\r\n"),
    }
}

/// `string = quoted / literal`: quoted if that can hold it.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    let plain = |byte: &u8| (0x20..0x7f).contains(byte);
    if text.len() <= MAX_QUOTED && text.iter().all(plain) {
        out.push(b'"');
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
    } else {
        literal(out, text);
    }
}

/// `literal`
pub fn literal(out: &mut Vec<u8>, bytes: &[u8]) {
    literal_start(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What announces a literal, CRLF included.
pub fn literal_start(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(format!("{{{length}}}\r\n").as_bytes());
}

/// A mailbox name, in modified UTF-7 unless the client enabled UTF-8. Quoted where it need not be: the simplest parsers then work.
pub fn mailbox(name: &str, utf8: bool) -> String {
    let name = if utf8 { name.to_owned() } else { utf7::encode(name) };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'&' | b'+' | b',' | b'$');
    // NIL would be read as nothing.
    if !name.is_empty() && name.bytes().all(plain) && !name.eq_ignore_ascii_case("NIL") {
        return name;
    }
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for character in name.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// `section`, as it is repeated in the answer.
pub fn section(section: &Section) -> String {
    let mut written = section.part.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    let text = match &section.text {
        SectionText::Whole => "",
        SectionText::Header => "HEADER",
        SectionText::Text => "TEXT",
        SectionText::Mime => "MIME",
        SectionText::Fields(fields) if fields.not => "HEADER.FIELDS.NOT",
        SectionText::Fields(_) => "HEADER.FIELDS",
    };
    if !written.is_empty() && !text.is_empty() {
        written.push('.');
    }
    written.push_str(text);
    if let SectionText::Fields(fields) = &section.text {
        written.push_str(" (");
        for (position, name) in fields.names.iter().enumerate() {
            if position > 0 {
                written.push(' ');
            }
            if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
                written.push_str(name);
            } else {
                let mut quoted = Vec::new();
                string(&mut quoted, name.as_bytes());
                written.push_str(&String::from_utf8_lossy(&quoted));
            }
        }
        written.push(')');
    }
    written
}

/// The parts of an ESEARCH response that were asked for (RFC 4731 §3.1). Empty results leave out all but COUNT.
#[derive(Debug, Clone, Default)]
pub struct Esearch {
    /// Of the command.
    pub tag: String,
    /// Numbers are UIDs.
    pub by_uid: bool,
    /// `MIN`
    pub min: Option<u32>,
    /// `MAX`
    pub max: Option<u32>,
    /// `COUNT`
    pub count: Option<usize>,
    /// `ALL`: as a set, or for SORT in the order found.
    pub all: Option<String>,
    /// `PARTIAL`, and that part as ALL would write it.
    pub partial: Option<(Partial, String)>,
    /// `MODSEQ`
    pub modseq: Option<u64>,
}

impl std::fmt::Display for Esearch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "* ESEARCH (TAG \"{}\")", self.tag)?;
        if self.by_uid {
            f.write_str(" UID")?;
        }
        if let Some(min) = self.min {
            write!(f, " MIN {min}")?;
        }
        if let Some(max) = self.max {
            write!(f, " MAX {max}")?;
        }
        if let Some(count) = self.count {
            write!(f, " COUNT {count}")?;
        }
        if let Some(all) = self.all.as_deref().filter(|all| !all.is_empty()) {
            write!(f, " ALL {all}")?;
        }
        if let Some((partial, part)) = &self.partial {
            write!(f, " PARTIAL ({partial} {})", if part.is_empty() { "NIL" } else { part })?;
        }
        if let Some(modseq) = self.modseq {
            write!(f, " MODSEQ {modseq}")?;
        }
        f.write_str("\r\n")
    }
}

/// Numbers in the order given, neighbours joined: `3,1:2`.
pub fn ordered_set(numbers: &[u32]) -> String {
    let mut written = String::new();
    let mut rest = numbers;
    while let [first, ..] = rest {
        let mut length = 1;
        while rest.get(length).is_some_and(|next| next.checked_sub(1) == Some(rest[length - 1])) {
            length += 1;
        }
        if !written.is_empty() {
            written.push(',');
        }
        let last = rest[length - 1];
        // Writing into a String cannot fail.
        let _ = if length == 1 { write!(written, "{first}") } else { write!(written, "{first}:{last}") };
        rest = &rest[length..];
    }
    written
}

/// Pairs of old and new UIDs for COPYUID (RFC 4315 §3): two sets in the same order.
pub fn copyuid(uidvalidity: u32, pairs: &[(u32, u32)]) -> String {
    let old: Vec<u32> = pairs.iter().map(|(old, _)| *old).collect();
    let new: Vec<u32> = pairs.iter().map(|(_, new)| *new).collect();
    format!("COPYUID {uidvalidity} {} {}", ordered_set(&old), ordered_set(&new))
}

/// `* VANISHED [(EARLIER)] uids` (RFC 7162 §3.2.10)
pub fn vanished(uids: &Ranges, earlier: bool) -> String {
    format!("* VANISHED {}{uids}\r\n", if earlier { "(EARLIER) " } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let check = |text: &[u8], expected: &[u8]| {
            let mut out = Vec::new();
            string(&mut out, text);
            assert_eq!(out, expected);
        };
        check(b"", b"\"\"");
        check(b"a \"b\" \\", b"\"a \\\"b\\\" \\\\\"");
        check(b"a\r\nb", b"{4}\r\na\r\nb");
        check("ä".as_bytes(), "{2}\r\nä".as_bytes());
        check(&[0], b"{1}\r\n\0");
    }

    #[test]
    fn names() {
        assert_eq!(mailbox("INBOX", false), "INBOX");
        assert_eq!(mailbox("Entwürfe", false), "Entw&APw-rfe");
        assert_eq!(mailbox("Entwürfe", true), "\"Entwürfe\"");
        assert_eq!(mailbox("a \"b", false), "\"a \\\"b\"");
        assert_eq!(mailbox("NIL", false), "\"NIL\"");
        assert_eq!(mailbox("", false), "\"\"");
    }

    #[test]
    fn sets_in_order() {
        assert_eq!(ordered_set(&[3, 1, 2, 9, 8, 10]), "3,1:2,9,8,10");
        assert_eq!(copyuid(7, &[(1, 5), (2, 6), (9, 7)]), "COPYUID 7 1:2,9 5:7");
    }
}
