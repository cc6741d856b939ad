//! What a submission server mends in a header before anybody gets the message (RFC 6409 §8, RFC 5322 §3.6). Pure.
//!
//! `Bcc` goes, since it names people to each other who should not be; a missing `Date`, `Message-ID` or `From` is added; a
//! `Return-Path`, which only the last server may write, goes. All other bytes stay as they were written.

use crate::address::Address;
use crate::message::date;
use crate::message::header::Header;

/// Fields that don't leave the sender's machine.
const PRIVATE: [&str; 3] = ["Bcc", "Resent-Bcc", "Return-Path"];

/// What is put in where it is missing.
#[derive(Debug, Clone)]
pub struct Missing<'a> {
    /// Who hands it in; `None` is `<>`.
    pub from: Option<&'a Address>,
    /// Now, milliseconds since 1970.
    pub date: i64,
    /// Without angle brackets.
    pub message_id: String,
}

/// The completed header, with its blank line. `header` ends behind its own blank line, if it has one.
///
/// A text without a single field is no header: it comes back below one that consists of what was missing.
pub fn complete(header: &[u8], missing: &Missing<'_>) -> Vec<u8> {
    let parsed = Header::parse(header);
    let is_header = parsed.fields().is_empty() || parsed.fields().iter().any(|field| !field.name.is_empty());
    let mut out = Vec::with_capacity(header.len() + 200);
    if is_header {
        let mut at = 0;
        for field in parsed.fields().iter().filter(|field| PRIVATE.iter().any(|name| field.is(name))) {
            out.extend_from_slice(&header[at..field.range.start]);
            at = field.range.end;
        }
        let end = if parsed.ended() { blank_line(header) } else { header.len() };
        out.extend_from_slice(&header[at.min(end)..end]);
        if !out.is_empty() && !out.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
    let has = |name: &str| is_header && parsed.first(name).is_some();
    if !has("From")
        && let Some(from) = missing.from
    {
        out.extend_from_slice(format!("From: <{from}>\r\n").as_bytes());
    }
    if !has("Date") {
        out.extend_from_slice(format!("Date: {}\r\n", date::render(missing.date)).as_bytes());
    }
    if !has("Message-ID") {
        out.extend_from_slice(format!("Message-ID: <{}>\r\n", missing.message_id).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if !is_header {
        out.extend_from_slice(header);
    }
    out
}

/// Where the blank line at the end of a header starts.
fn blank_line(header: &[u8]) -> usize {
    let before = header.strip_suffix(b"\n").unwrap_or(header);
    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: &str) {
        let from = Address::parse("alice@office.lan").unwrap();
        let missing = Missing { from: Some(&from), date: 0, message_id: "1@office.lan".into() };
        assert_eq!(String::from_utf8(complete(header.as_bytes(), &missing)).unwrap(), expected);
    }

    const WHOLE: &str = "From: a@b.example\r\nDate: x\r\nMessage-ID: <y>\r\n";

    #[test]
    fn a_whole_header_stays() {
        check(&format!("{WHOLE}Subject: hi\r\n there\r\n\r\n"), &format!("{WHOLE}Subject: hi\r\n there\r\n\r\n"));
    }

    #[test]
    fn what_is_missing_is_added() {
        let added = "From: <alice@office.lan>\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <1@office.lan>\r\n\r\n";
        check("Subject: hi\r\n\r\n", &format!("Subject: hi\r\n{added}"));
        check("Subject: hi", &format!("Subject: hi\r\n{added}"));
        check("\r\n", added);
        check("", added);
        check("Just text.\r\n\r\n", &format!("{added}Just text.\r\n\r\n"));
    }

    #[test]
    fn blind_copies_stay_blind() {
        check(&format!("Bcc: x@y.example,\r\n z@y.example\r\n{WHOLE}resent-bcc: q\r\n\r\n"), &format!("{WHOLE}\r\n"));
        check(&format!("{WHOLE}BCC : x@y.example\r\n\r\n"), &format!("{WHOLE}\r\n"));
        check(&format!("Return-Path: <x>\r\n{WHOLE}\r\n"), &format!("{WHOLE}\r\n"));
    }
}
