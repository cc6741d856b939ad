//! `Content-Type`, `Content-Disposition` and their like: a value with parameters (RFC 2045 §5.1, RFC 2183), as broken as they come.

/// Parameters of one field that are read; RFC 2231 cuts long file names into a few dozen.
const MAX_PARAMETERS: usize = 64;
/// Bytes of one field that are read.
const MAX_VALUE: usize = 16 * 1024;

/// A value and its parameters, unquoted and without comments, otherwise as written: no RFC 2231 decoding, as IMAP wants it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameterized {
    /// Before the first semicolon.
    pub value: Vec<u8>,
    /// Name and value of each, in order.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

/// `type/subtype` with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// As written: `text`, `Image`.
    pub main: Vec<u8>,
    /// As written.
    pub sub: Vec<u8>,
    /// Name and value of each, in order.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Parameterized {
    /// Reads a folded value. Never fails; what makes no sense is left out.
    pub fn parse(value: &[u8]) -> Self {
        let clean = without_comments(&value[..value.len().min(MAX_VALUE)]);
        let mut pieces = split(&clean).into_iter();
        let value = unquote(pieces.next().unwrap_or_default());
        Self { value, parameters: pieces.filter_map(parameter).take(MAX_PARAMETERS).collect() }
    }

    /// The first parameter of that name, whatever its case.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        find(&self.parameters, name)
    }
}

impl MediaType {
    /// Reads a folded `Content-Type`. `None` where RFC 2045 §5.2 asks for the default: no slash, or no token on one side of it.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let Parameterized { value, mut parameters } = Parameterized::parse(value);
        let slash = value.iter().position(|&b| b == b'/')?;
        let (main, behind) = (value[..slash].trim_ascii(), value[slash + 1..].trim_ascii());
        let end = behind.iter().position(u8::is_ascii_whitespace).unwrap_or(behind.len());
        // Old Outlooks forget the semicolon before the first parameter.
        parameters.splice(0..0, parameter(&behind[end..]));
        let sub = &behind[..end];
        (is_token(main) && is_token(sub)).then(|| Self { main: main.to_vec(), sub: sub.to_vec(), parameters })
    }

    /// The boundary of a multipart: the plain parameter, else the one that RFC 2231 (§3, §4) cuts in pieces or encodes.
    pub fn boundary(&self) -> Option<Vec<u8>> {
        if let Some(plain) = self.parameter("boundary") {
            return Some(plain.to_vec());
        }
        if let Some(encoded) = self.parameter("boundary*") {
            return Some(percent_decoded(without_charset(encoded)));
        }
        let mut boundary = Vec::new();
        for number in 0..MAX_PARAMETERS {
            let piece = match (self.parameter(&format!("boundary*{number}")), self.parameter(&format!("boundary*{number}*"))) {
                (Some(plain), _) => plain.to_vec(),
                (None, Some(encoded)) if number == 0 => percent_decoded(without_charset(encoded)),
                (None, Some(encoded)) => percent_decoded(encoded),
                (None, None) => break,
            };
            boundary.extend(piece);
        }
        (!boundary.is_empty()).then_some(boundary)
    }

    /// A type without parameters.
    pub fn of(main: &str, sub: &str) -> Self {
        Self { main: main.into(), sub: sub.into(), parameters: Vec::new() }
    }

    /// What a part without `Content-Type` is (RFC 2045 §5.2).
    pub fn plain_text() -> Self {
        Self { parameters: vec![(b"charset".to_vec(), b"us-ascii".to_vec())], ..Self::of("text", "plain") }
    }

    /// Whether it is that type, whatever the case; an empty `sub` stands for any.
    pub fn is(&self, main: &str, sub: &str) -> bool {
        self.main.eq_ignore_ascii_case(main.as_bytes()) && (sub.is_empty() || self.sub.eq_ignore_ascii_case(sub.as_bytes()))
    }

    /// The first parameter of that name, whatever its case.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        find(&self.parameters, name)
    }
}

fn find<'a>(parameters: &'a [(Vec<u8>, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value.as_slice())
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(b))
}

/// `attribute "=" value`
fn parameter(piece: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let equals = piece.iter().position(|&b| b == b'=')?;
    let name = piece[..equals].trim_ascii();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then(|| (name.to_vec(), unquote(&piece[equals + 1..])))
}

/// What stands behind `charset'language'`.
fn without_charset(value: &[u8]) -> &[u8] {
    value.splitn(3, |&b| b == b'\'').nth(2).unwrap_or(value)
}

fn percent_decoded(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        let digit = |i: usize| value.get(i).and_then(|&b| char::from(b).to_digit(16));
        match (value[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                at += 3;
            }
            (b, ..) => {
                plain.push(b);
                at += 1;
            }
        }
    }
    plain
}

/// Comments and line ends taken out, except inside quotes that are closed.
fn without_comments(value: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(value.len());
    let mut depth = 0usize;
    let mut at = 0;
    while at < value.len() {
        let length = if depth == 0 && value[at] == b'"' { quoted_length(&value[at..]) } else { None };
        if let Some(length) = length {
            clean.extend(value[at..at + length].iter().filter(|b| !matches!(b, b'\r' | b'\n')));
            at += length;
            continue;
        }
        match value[at] {
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'\\' if depth > 0 => at += 1,
            b'\r' | b'\n' => {}
            b if depth == 0 => clean.push(b),
            _ => {}
        }
        at += 1;
    }
    clean
}

/// At semicolons outside quotes.
fn split(value: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < value.len() && pieces.len() <= MAX_PARAMETERS {
        match value[at] {
            b'"' => at += quoted_length(&value[at..]).unwrap_or(1),
            b';' => {
                pieces.push(&value[start..at]);
                at += 1;
                start = at;
            }
            _ => at += 1,
        }
    }
    pieces.push(&value[start..at.max(start)]);
    pieces
}

/// Of the quoted string at the start, with its quotes; `None` if it is never closed.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// A quoted string without quotes and backslashes; anything else as it is, without a stray quote in front.
fn unquote(text: &[u8]) -> Vec<u8> {
    let text = text.trim_ascii();
    let Some(inside) = text.strip_prefix(b"\"") else { return text.to_vec() };
    let Some(length) = quoted_length(text) else { return inside.to_vec() };
    let mut plain = Vec::with_capacity(length);
    let mut bytes = text[1..length - 1].iter();
    while let Some(&b) = bytes.next() {
        match b {
            b'\\' => plain.extend(bytes.next()),
            b => plain.push(b),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(value: &str, main: &str, parameters: &[(&str, &str)]) {
        let parsed = Parameterized::parse(value.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found: Vec<_> = parsed.parameters.iter().map(|(n, v)| (text(n), text(v))).collect();
        let expected: Vec<_> = parameters.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        assert_eq!((text(&parsed.value), found), (main.to_owned(), expected), "{value}");
    }

    #[test]
    fn values_with_parameters() {
        check(" text/plain; charset=utf-8", "text/plain", &[("charset", "utf-8")]);
        check("text/plain (comment; x=y); charset=\"utf-8\" (c)", "text/plain", &[("charset", "utf-8")]);
        check("multipart/mixed; boundary=\"foo\r\n bar\"", "multipart/mixed", &[("boundary", "foo bar")]);
        check("a/b; name=\"x;\\\"y\\\"(z)\"; size=3;", "a/b", &[("name", "x;\"y\"(z)"), ("size", "3")]);
        check("a/b; boundary=\"open; charset=x", "a/b", &[("boundary", "open"), ("charset", "x")]);
        check("a/b; name=two words.pdf; ; =x; y", "a/b", &[("name", "two words.pdf")]);
        check(
            "attachment;\r\n\tfilename*0*=utf-8''a;\r\n\tfilename*1=b",
            "attachment",
            &[("filename*0*", "utf-8''a"), ("filename*1", "b")],
        );
        check("", "", &[]);
    }

    #[test]
    fn work_is_bounded() {
        for unit in ["\"", "\\\"", "(", ";\"", "=\"\\"] {
            Parameterized::parse(("\"".to_owned() + &unit.repeat(300_000)).as_bytes());
        }
    }

    #[test]
    fn media_types() {
        for (value, expected) in [
            ("Text/HTML; charset=x", Some(("Text", "HTML"))),
            (" text / plain", Some(("text", "plain"))),
            ("text", None),
            ("text/", None),
            ("te xt/plain", None),
            ("text/plain charset=x", Some(("text", "plain"))),
            ("text/plain and more", Some(("text", "plain"))),
            ("", None),
        ] {
            let found = MediaType::parse(value.as_bytes());
            assert_eq!(found.map(|m| (m.main, m.sub)), expected.map(|(m, s)| (m.into(), s.into())), "{value}");
        }
    }

    #[test]
    fn boundaries() {
        for (value, expected) in [
            ("multipart/mixed; boundary=\"a b\"", Some("a b")),
            ("multipart/mixed\r\n\tboundary=\"a\"; x=y", Some("a")),
            ("multipart/mixed; boundary*=\"us-ascii''a%20b\"", Some("a b")),
            ("multipart/mixed; boundary*0*=us-ascii''a%2D; boundary*1=b", Some("a-b")),
            ("multipart/mixed; x=y", None),
        ] {
            let boundary = MediaType::parse(value.as_bytes()).unwrap().boundary();
            assert_eq!(boundary.as_deref(), expected.map(str::as_bytes), "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_value(value in "[a/;=\"\\\\() \r\n]{0,60}") {
            Parameterized::parse(value.as_bytes());
        }
    }
}
