//! IMAP URLs of messages and their parts on this very server, as CATENATE names them (RFC 4469 §3, RFC 5092). Pure.
//!
//! Only relative ones: what has a scheme or a host is none of ours to fetch.

use super::command::Section;
use super::command::lexer::Lexer;
use super::command::{Dialect, section};

/// What a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageUrl {
    /// `None` is the mailbox that is open.
    pub mailbox: Option<String>,
    /// What the mailbox's has to be, if it is said.
    pub uidvalidity: Option<u32>,
    /// Which message.
    pub uid: u32,
    /// What of it.
    pub section: Section,
    /// Offset, and how much from there; `None` is all.
    pub partial: Option<(u64, Option<u64>)>,
}

/// `["/" enc-mailbox [";UIDVALIDITY=" nz-number]] "/;UID=" nz-number ["/;SECTION=" enc-section] ["/;PARTIAL=" number ["." nz-number]]`
pub fn parse(url: &str) -> Option<MessageUrl> {
    let (mailbox, message) = match strip(url, ";UID=") {
        Some(message) => ("", message),
        None => split(url, "/;UID=")?,
    };
    let (mailbox, uidvalidity) = match split(mailbox, ";UIDVALIDITY=") {
        Some((mailbox, uidvalidity)) => (mailbox, Some(number(uidvalidity)?)),
        None => (mailbox, None),
    };
    let mailbox = match mailbox.strip_prefix('/') {
        // Two slashes would begin the name of a host.
        Some(name) if !name.is_empty() && !name.starts_with('/') => Some(name_of(name)?),
        None if mailbox.is_empty() => None,
        _ => return None,
    };
    let (message, partial) = match split(message, "/;PARTIAL=") {
        Some((message, partial)) => (message, Some(range(partial)?)),
        None => (message, None),
    };
    let (uid, section) = match split(message, "/;SECTION=") {
        Some((uid, text)) => (uid, section_of(text)?),
        None => (message, Section::default()),
    };
    Some(MessageUrl { mailbox, uidvalidity, uid: number(uid)?, section, partial })
}

/// Such as can stand in a response code: `]` and what is no text would end it early.
pub fn shown(url: &str) -> String {
    let escape = |byte: u8| match byte {
        b']' | b'\\' | b'"' | 0..=0x1f | 0x7f.. => format!("%{byte:02X}"),
        byte => char::from(byte).to_string(),
    };
    url.bytes().take(1000).map(escape).collect()
}

fn name_of(encoded: &str) -> Option<String> {
    let bytes = decoded(encoded)?;
    Lexer::new(b"", Dialect { utf8: true, ..Dialect::default() }).mailbox_name(&bytes).ok()
}

fn section_of(encoded: &str) -> Option<Section> {
    let bracketed = [b"[", &decoded(encoded)?[..], b"]"].concat();
    let mut lexer = Lexer::new(&bracketed, Dialect::default());
    let section = section(&mut lexer).ok()?;
    lexer.rest().is_empty().then_some(section)
}

fn range(text: &str) -> Option<(u64, Option<u64>)> {
    match text.split_once('.') {
        None => Some((text.parse().ok()?, None)),
        Some((offset, length)) => Some((offset.parse().ok()?, Some(length.parse().ok().filter(|length| *length > 0)?))),
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number > 0 && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `%XX` in place.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(if byte == b'%' { u8::try_from(digit()? * 16 + digit()?).ok()? } else { byte });
    }
    Some(bytes)
}

/// Around the first `mark`, in any case.
fn split<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let at = text.as_bytes().windows(mark.len()).position(|window| window.eq_ignore_ascii_case(mark.as_bytes()))?;
    Some((text.get(..at)?, text.get(at + mark.len()..)?))
}

fn strip<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.get(..mark.len()).filter(|start| start.eq_ignore_ascii_case(mark))?;
    text.get(mark.len()..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls() {
        let check = |url: &str, expected: &str| {
            let shown = parse(url).map_or("none".to_owned(), |url| {
                let section = crate::imap::response::section(&url.section);
                format!("{:?} {:?} {} [{section}] {:?}", url.mailbox, url.uidvalidity, url.uid, url.partial)
            });
            assert_eq!(shown, expected, "{url}");
        };
        check("/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER", "Some(\"Drafts\") Some(385759045) 20 [HEADER] None");
        check("/inbox/;uid=7", "Some(\"INBOX\") None 7 [] None");
        check("/Lists/a%20b/;UID=7/;SECTION=1.2.MIME/;PARTIAL=5.10", "Some(\"Lists/a b\") None 7 [1.2.MIME] Some((5, Some(10)))");
        check("/x/;UID=7/;PARTIAL=5", "Some(\"x\") None 7 [] Some((5, None))");
        check("/x/;UID=7/;SECTION=HEADER.FIELDS%20(From)", "Some(\"x\") None 7 [HEADER.FIELDS (From)] None");
        check(";UID=7/;SECTION=TEXT", "None None 7 [TEXT] None");
        check("/;UID=7", "None None 7 [] None");
        for bad in [
            "imap://host/INBOX/;UID=7",
            "//host/INBOX/;UID=7",
            "INBOX/;UID=7",
            "/INBOX",
            "/INBOX/;UID=0",
            "/INBOX/;UID=+7",
            "/INBOX;UIDVALIDITY=x/;UID=7",
            "/INBOX/;UID=7/;SECTION=FOO",
            "/INBOX/;UID=7/;SECTION=1]x",
            "/INBOX/;UID=7/;PARTIAL=1.0",
            "/%FF/;UID=7",
            "/%4/;UID=7",
            "",
        ] {
            check(bad, "none");
        }
        assert_eq!(shown("/a]\r\n\"ä"), "/a%5D%0D%0A%22%C3%A4");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(/|;UID=|;uidvalidity=|%|[0-9a-fé]|/;PARTIAL=|/;SECTION=|\\.|\\[)*") {
            let _ = parse(&text);
        }
    }
}
