//! BODY and BODYSTRUCTURE in their wire form (RFC 9051 §7.5.2), rendered once when a message is stored.

use super::envelope::{self, nstring};
use crate::message::layout::Kind;
use crate::message::part::Part;

/// What stands for the contents of a multipart that has none: the grammar wants at least one part.
const EMPTY_PART: &[u8] = br#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0"#;

/// The structure of a scanned message; `extended` adds what BODYSTRUCTURE has and BODY has not. Recursion ends at
/// [`crate::message::mime::MAX_DEPTH`], since the scanner nests no deeper.
pub fn render(parts: &[Part], extended: bool) -> Vec<u8> {
    let mut children = vec![Vec::new(); parts.len()];
    for (at, part) in parts.iter().enumerate() {
        if let Some(siblings) = part.place.parent.and_then(|parent| children.get_mut(parent)) {
            siblings.push(at);
        }
    }
    let mut renderer = Renderer { parts, children, extended, out: Vec::new() };
    if !parts.is_empty() {
        renderer.part(0);
    }
    renderer.out
}

struct Renderer<'a> {
    parts: &'a [Part],
    children: Vec<Vec<usize>>,
    extended: bool,
    out: Vec<u8>,
}

impl Renderer<'_> {
    /// `body = "(" (body-type-1part / body-type-mpart) ")"`
    fn part(&mut self, at: usize) {
        let part = &self.parts[at];
        if part.place.kind == Kind::Multipart {
            return self.multipart(at);
        }
        self.out.push(b'(');
        self.string(&part.media.main);
        self.out.push(b' ');
        self.string(&part.media.sub);
        self.out.push(b' ');
        self.parameters(&part.media.parameters);
        for field in [part.id.as_deref(), part.description.as_deref(), Some(&part.encoding)] {
            self.out.push(b' ');
            nstring(&mut self.out, field);
        }
        self.number(part.place.end - part.place.body);
        if part.place.kind == Kind::Message {
            let inside = self.children[at].first().copied();
            self.out.push(b' ');
            let envelope = inside.and_then(|inside| self.parts[inside].envelope.as_deref());
            self.out.extend(envelope::render(envelope.unwrap_or(&Default::default())));
            self.out.push(b' ');
            match inside {
                Some(inside) => self.part(inside),
                None => self.empty_part(),
            }
        }
        if part.place.kind == Kind::Message || part.media.is("text", "") {
            self.number(part.lines);
        }
        if self.extended {
            self.out.push(b' ');
            nstring(&mut self.out, part.md5.as_deref());
            self.extension(part);
        }
        self.out.push(b')');
    }

    /// `body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart]`
    fn multipart(&mut self, at: usize) {
        self.out.push(b'(');
        let children = std::mem::take(&mut self.children[at]);
        if children.is_empty() {
            self.empty_part();
        }
        children.into_iter().for_each(|child| self.part(child));
        self.out.push(b' ');
        let part = &self.parts[at];
        self.string(&part.media.sub);
        if self.extended {
            self.out.push(b' ');
            self.parameters(&part.media.parameters);
            self.extension(part);
        }
        self.out.push(b')');
    }

    fn empty_part(&mut self) {
        self.out.extend_from_slice(EMPTY_PART);
        self.out.extend_from_slice(if self.extended { b" NIL NIL NIL NIL)" } else { b")" });
    }

    /// `[SP body-fld-dsp [SP body-fld-lang [SP body-fld-loc]]]`
    fn extension(&mut self, part: &Part) {
        self.out.push(b' ');
        match &part.disposition {
            Some(disposition) => {
                self.out.push(b'(');
                self.string(&disposition.value);
                self.out.push(b' ');
                self.parameters(&disposition.parameters);
                self.out.push(b')');
            }
            None => self.out.extend_from_slice(b"NIL"),
        }
        self.out.push(b' ');
        match part.language.as_slice() {
            [] => self.out.extend_from_slice(b"NIL"),
            [only] => self.string(only),
            several => {
                self.out.push(b'(');
                self.strings(several.iter().map(Vec::as_slice));
                self.out.push(b')');
            }
        }
        self.out.push(b' ');
        nstring(&mut self.out, part.location.as_deref());
    }

    /// `body-fld-param = "(" string SP string *(SP string SP string) ")" / nil`
    fn parameters(&mut self, parameters: &[(Vec<u8>, Vec<u8>)]) {
        if parameters.is_empty() {
            self.out.extend_from_slice(b"NIL");
            return;
        }
        self.out.push(b'(');
        self.strings(parameters.iter().flat_map(|(name, value)| [name.as_slice(), value.as_slice()]));
        self.out.push(b')');
    }

    fn strings<'b>(&mut self, strings: impl Iterator<Item = &'b [u8]>) {
        for (position, string) in strings.enumerate() {
            if position > 0 {
                self.out.push(b' ');
            }
            self.string(string);
        }
    }

    fn string(&mut self, text: &[u8]) {
        nstring(&mut self.out, Some(text));
    }

    fn number(&mut self, number: u64) {
        self.out.extend_from_slice(format!(" {number}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::facts::Facts;

    fn check(message: &str, extended: bool, expected: &str) {
        let rendered = render(&Facts::of(message.as_bytes()).parts, extended);
        assert_eq!(String::from_utf8_lossy(&rendered), expected, "{message}");
    }

    #[test]
    fn single_parts() {
        let plain = r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit""#;
        check("Subject: x\r\n\r\na\r\nb\r\n", false, &format!("{plain} 6 2)"));
        check("", false, &format!("{plain} 0 0)"));
        check("Content-Type: nonsense\r\n\r\na", true, &format!("{plain} 1 0 NIL NIL NIL NIL)"));
        check("Content-Type: multipart/mixed\r\n\r\na", false, &format!("{plain} 1 0)"));
        check(
            "Content-Type: Application/PDF; name=\"a \\\"b\\\".pdf\"\r\nContent-Transfer-Encoding: BASE64\r\nContent-ID: <i>\r\n\
             Content-Description: ü\r\nContent-Disposition: attachment; filename=x\r\nContent-Language: de, en\r\n\
             Content-Location: http://x\r\nContent-MD5: abc\r\n\r\nYQ==\r\n",
            true,
            "(\"Application\" \"PDF\" (\"name\" \"a \\\"b\\\".pdf\") \"<i>\" {2}\r\nü \"BASE64\" 6 \"abc\" \
             (\"attachment\" (\"filename\" \"x\")) (\"de\" \"en\") \"http://x\")",
        );
    }

    #[test]
    fn multiparts() {
        check(
            "Content-Type: multipart/mixed; boundary=\"foo\r\n bar\"\r\n\r\n--foo bar\r\nContent-Type: text/x-myown; charset=us-ascii\r\n\r\n\
             hello\r\n\r\n--foo bar--\r\n",
            false,
            r#"(("text" "x-myown" ("charset" "us-ascii") NIL NIL "7bit" 7 1) "mixed")"#,
        );
        check(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\nnothing",
            true,
            r#"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)"#,
        );
    }

    #[test]
    fn messages_inside() {
        check(
            "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nx\n--b\nContent-Type: message/rfc822\n\
             Content-Transfer-Encoding: base64\n\nYQ==\n--b--\n",
            false,
            "((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 14 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) \
             (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0) 2)\
             (\"application\" \"octet-stream\" NIL NIL NIL \"base64\" 4) \"digest\")",
        );
    }
}
