//! ENVELOPE in its wire form (RFC 9051 §7.5.2), rendered once when a message is stored.
//!
//! Header text goes out as it was found: encoded words stay encoded, raw 8-bit text goes as a literal, since a quoted string can't hold
//! it for clients that never enabled UTF-8.

use super::response;
use crate::message::address_list::{self, Entry};
use crate::message::envelope::Envelope;

/// `envelope = "(" env-date SP env-subject SP env-from SP env-sender SP env-reply-to SP env-to SP env-cc SP env-bcc SP
/// env-in-reply-to SP env-message-id ")"`
pub fn render(envelope: &Envelope) -> Vec<u8> {
    let mut out = Vec::new();
    out.push(b'(');
    nstring(&mut out, envelope.date.as_deref());
    out.push(b' ');
    nstring(&mut out, envelope.subject.as_deref());
    let from = entries(&envelope.from);
    // A server fills in Sender and Reply-To; clients rely on it.
    let or_from = |own: &[Vec<u8>]| Some(entries(own)).filter(|own| !own.is_empty());
    addresses(&mut out, &from);
    addresses(&mut out, or_from(&envelope.sender).as_deref().unwrap_or(&from));
    addresses(&mut out, or_from(&envelope.reply_to).as_deref().unwrap_or(&from));
    for list in [&envelope.to, &envelope.cc, &envelope.bcc] {
        addresses(&mut out, &entries(list));
    }
    out.push(b' ');
    nstring(&mut out, envelope.in_reply_to.as_deref());
    out.push(b' ');
    nstring(&mut out, envelope.message_id.as_deref());
    out.push(b')');
    out
}

/// `nstring`, safe for any bytes: a literal can hold everything but NUL.
pub(super) fn nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        None => out.extend_from_slice(b"NIL"),
        Some(text) if text.contains(&0) => {
            let text: Vec<u8> = text.iter().map(|&b| if b == 0 { b'?' } else { b }).collect();
            response::string(out, &text);
        }
        Some(text) => response::string(out, text),
    }
}

/// All fields of one name as one list, cut at [`address_list::MAX_ENTRIES`]; each field keeps its groups balanced.
fn entries(values: &[Vec<u8>]) -> Vec<Entry> {
    let mut all = Vec::new();
    for value in values {
        if all.len() >= address_list::MAX_ENTRIES {
            break;
        }
        all.extend(address_list::entries(value));
    }
    all
}

/// `"(" 1*address ")" / nil`, with a space in front.
fn addresses(out: &mut Vec<u8>, entries: &[Entry]) {
    if entries.is_empty() {
        out.extend_from_slice(b" NIL");
        return;
    }
    out.extend_from_slice(b" (");
    for entry in entries {
        match entry {
            Entry::GroupStart(name) => address(out, None, None, Some(name), None),
            Entry::GroupEnd => address(out, None, None, None, None),
            // NIL in the place of the host would make a group of it.
            Entry::Mailbox(raw) => address(out, raw.name.as_deref(), raw.route.as_deref(), Some(&raw.local), Some(&raw.host)),
        }
    }
    out.push(b')');
}

/// `address = "(" addr-name SP addr-adl SP addr-mailbox SP addr-host ")"`
fn address(out: &mut Vec<u8>, name: Option<&[u8]>, route: Option<&[u8]>, mailbox: Option<&[u8]>, host: Option<&[u8]>) {
    out.push(b'(');
    for (position, piece) in [name, route, mailbox, host].into_iter().enumerate() {
        if position > 0 {
            out.push(b' ');
        }
        nstring(out, piece);
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::Header;

    fn check(header: &[u8], expected: &str) {
        let rendered = render(&Envelope::of(&Header::parse(header)));
        assert_eq!(String::from_utf8_lossy(&rendered), expected);
    }

    #[test]
    fn envelopes() {
        check(b"", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
        check(
            b"Date: Thu, 15 Feb 2007 01:02:03 +0200\r\nSubject: a\r\n \"b\"\r\nFrom: Real <user@domain.org>\r\nSender: s@d\r\nReply-To: \r\n\
              To: group: g1@d1.org, \"X, Y\" <g2@d2.org>;\r\nTo: <@r:z@w>\r\nCc: nobody\r\nIn-Reply-To: <r@x>\r\nMessage-ID: <m@x>\r\n\r\n",
            "(\"Thu, 15 Feb 2007 01:02:03 +0200\" \"a \\\"b\\\"\" ((\"Real\" NIL \"user\" \"domain.org\")) ((NIL NIL \"s\" \"d\")) \
             ((\"Real\" NIL \"user\" \"domain.org\")) ((NIL NIL \"group\" NIL)(NIL NIL \"g1\" \"d1.org\")(\"X, Y\" NIL \"g2\" \"d2.org\")\
             (NIL NIL NIL NIL)(NIL \"@r\" \"z\" \"w\")) ((NIL NIL \"nobody\" \"\")) NIL \"<r@x>\" \"<m@x>\")",
        );
    }

    #[test]
    fn raw_bytes_go_as_literals() {
        check("Subject: ü\r\n\r\n".as_bytes(), "(NIL {2}\r\nü NIL NIL NIL NIL NIL NIL NIL NIL)");
        check(b"Subject: a\0b\r\n\r\n", "(NIL \"a?b\" NIL NIL NIL NIL NIL NIL NIL NIL)");
        check(b"Subject: a\rb\r\n\r\n", "(NIL \"ab\" NIL NIL NIL NIL NIL NIL NIL NIL)");
        check(b"Subject: \r\n\r\n", "(NIL \"\" NIL NIL NIL NIL NIL NIL NIL NIL)");
    }
}
