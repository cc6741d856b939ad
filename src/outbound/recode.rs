//! A message made fit for a server that takes no 8-bit bytes, or for lines longer than SMTP allows: the parts that need it become
//! quoted-printable (RFC 2045 §6.7, RFC 6152 §3). Pure.
//!
//! What is signed goes as it is, since a changed byte would break the signature; the server may refuse it, and the sender hears why.

use crate::message::header::Header;
use crate::message::layout::{Encoding, Kind, Layout, Place};
use crate::message::rewrite::Rewrite;

/// RFC 2045 §6.7 rule 5, without the soft line break's `=`.
const MAX_LINE: usize = 75;
/// RFC 5321 §4.5.3.1.6, without CRLF.
const MAX_TEXT_LINE: usize = 998;

/// The message with this header and body; `header_size` is where the body stood when `layout` was made. `None`: nothing can or need
/// be changed. Line ends are CRLF in what comes out.
pub fn recode(header: &[u8], body: &[u8], header_size: u64, layout: &Layout) -> Option<Vec<u8>> {
    let places = layout.places();
    let part = |from: u64, to: u64| {
        let at = |offset: u64| usize::try_from(offset.checked_sub(header_size)?).ok();
        body.get(at(from)?..at(to)?)
    };
    let own_header = |index: usize, place: &Place| if index == 0 { Some(header) } else { part(place.start, place.body) };
    if places.iter().enumerate().any(|(index, place)| own_header(index, place).is_none_or(is_signed)) {
        return None;
    }
    let mut out = Vec::with_capacity(header.len() + body.len() + body.len() / 8);
    let mut at = header_size;
    let mut changed = false;
    for (index, place) in places.iter().enumerate() {
        // A part that overlaps what is written already would be a fault of the layout.
        if index > 0 {
            out.extend_from_slice(part(at, place.start)?);
        }
        let own = own_header(index, place)?;
        let content = part(place.body, place.end)?;
        let needed = place.kind == Kind::Leaf && place.encoding == Encoding::Identity && needs_encoding(content);
        let declares_eight_bit = place.kind != Kind::Leaf && declared(own).is_some_and(|word| word == "8bit" || word == "binary");
        match (needed, declares_eight_bit) {
            (true, _) => out.extend(with_encoding(own, "quoted-printable", index == 0)),
            (_, true) => out.extend(with_encoding(own, "7bit", index == 0)),
            _ => out.extend_from_slice(own),
        }
        at = place.body;
        if needed {
            quoted_printable(content, &mut out);
            at = place.end;
            changed = true;
        }
    }
    out.extend_from_slice(part(at, header_size + body.len() as u64)?);
    changed.then_some(out)
}

fn is_signed(header: &[u8]) -> bool {
    let header = Header::parse(header);
    let kind = header.text("Content-Type").unwrap_or_default().to_lowercase();
    let kind = kind.trim_start();
    header.first("DKIM-Signature").is_some() || kind.starts_with("multipart/signed") || kind.starts_with("application/pkcs7")
}

fn declared(header: &[u8]) -> Option<String> {
    Some(Header::parse(header).text("Content-Transfer-Encoding")?.trim().to_lowercase())
}

fn with_encoding(header: &[u8], encoding: &str, top: bool) -> Vec<u8> {
    let mut new = Rewrite::new(header);
    if top {
        // Without it the encoding means nothing (RFC 2045 §4).
        new.set_if_missing("MIME-Version", "1.0");
    }
    new.set("Content-Transfer-Encoding", encoding);
    new.finish()
}

fn needs_encoding(content: &[u8]) -> bool {
    !content.is_ascii() || content.split(|byte| *byte == b'\n').any(|line| line.len() > MAX_TEXT_LINE + 1)
}

/// `quoted-printable` of text: line ends stay line ends, all else that is not plain is `=XX`.
fn quoted_printable(content: &[u8], out: &mut Vec<u8>) {
    let mut lines = content.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let last = lines.peek().is_none();
        let line = if last { line } else { line.strip_suffix(b"\r").unwrap_or(line) };
        let mut length = 0;
        for (at, byte) in line.iter().enumerate() {
            let at_end = at + 1 == line.len();
            let plain = matches!(byte, b'!'..=b'<' | b'>'..=b'~') || matches!(byte, b' ' | b'\t') && !at_end;
            let width = if plain { 1 } else { 3 };
            if length + width > MAX_LINE {
                out.extend_from_slice(b"=\r\n");
                length = 0;
            }
            match plain {
                true => out.push(*byte),
                false => out.extend_from_slice(format!("={byte:02X}").as_bytes()),
            }
            length += width;
        }
        if !last {
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::facts::Facts;

    fn recoded(message: &str) -> Option<String> {
        let facts = Facts::of(message.as_bytes());
        let (header, body) = message.as_bytes().split_at(facts.header_size as usize);
        recode(header, body, facts.header_size, &facts.layout()).map(|new| String::from_utf8(new).unwrap())
    }

    fn check(message: &str, expected: Option<&str>) {
        assert_eq!(recoded(message).as_deref(), expected, "{message}");
    }

    #[test]
    fn a_plain_text() {
        check(
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße = x \r\nend\r\n",
            Some(
                "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
                 Gr=C3=BC=C3=9Fe =3D x=20\r\nend\r\n",
            ),
        );
        check("Subject: x\r\n\r\nplain\r\n", None);
        check("Content-Transfer-Encoding: base64\r\n\r\nR3LDvMOf\r\n", None);
    }

    #[test]
    fn only_the_parts_that_need_it() {
        let message = "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--b\r\n\r\nplain\r\n--b\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\r\nä\r\n--b--\r\n";
        let new = recoded(message).unwrap();
        assert!(new.starts_with("Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n"), "{new}");
        assert!(new.contains("--b\r\n\r\nplain\r\n--b\r\n"), "{new}");
        assert!(new.contains("quoted-printable\r\n") && new.ends_with("\r\n\r\n=C3=A4\r\n--b--\r\n"), "{new}");
    }

    #[test]
    fn long_lines_are_broken_softly() {
        let long = "x".repeat(3_000);
        let new = recoded(&format!("Subject: x\r\n\r\n{long}\r\n")).unwrap();
        assert!(new.lines().all(|line| line.len() <= 76));
        assert!(new.replace("=\r\n", "").ends_with(&format!("\r\n\r\n{long}\r\n")));
    }

    #[test]
    fn what_is_signed_stays() {
        let parts = "--b\r\n\r\nä\r\n--b--\r\n";
        check(&format!("Content-Type: multipart/signed; boundary=b\r\n\r\n{parts}"), None);
        check(&format!("DKIM-Signature: v=1\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{parts}"), None);
    }
}
