//! What a reader sees of a text part: charset read, HTML reduced to its words. For searching and for previews.

use super::content_type::MediaType;
use super::{html, words};
use std::borrow::Cow;

/// The text of a decoded body. Charsets that nobody knows are taken for UTF-8, or else Windows-1252.
pub fn readable<'b>(media: &MediaType, body: &'b [u8]) -> Cow<'b, str> {
    let text = charset(media, body);
    if media.is("text", "html") { Cow::Owned(html::text(&text)) } else { text }
}

/// Characters of a preview (RFC 8970 §3.2: up to 200 are recommended).
const PREVIEW: usize = 200;

/// The first words of a text, on one line: what is quoted from an earlier mail left out if there is anything else.
pub fn preview(text: &str) -> String {
    let own: String = text.lines().filter(|line| !line.starts_with('>')).flat_map(|line| [line, " "]).collect();
    let short = |text: &str| {
        let mut line = String::new();
        for word in
            text.split(|c: char| c.is_whitespace() || c.is_control() || c == '\u{200b}' || c == '\u{feff}').filter(|word| !word.is_empty())
        {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            if line.chars().nth(PREVIEW).is_some() {
                return line.chars().take(PREVIEW).collect();
            }
        }
        line
    };
    let words = short(&own);
    if words.is_empty() { short(text) } else { words }
}

fn charset<'b>(media: &MediaType, body: &'b [u8]) -> Cow<'b, str> {
    match media.parameter("charset") {
        // What is labelled ASCII and is not is read as best it can.
        Some(name) if !name.eq_ignore_ascii_case(b"us-ascii") => words::charset(name, body).unwrap_or_else(|| words::lossless(body)),
        _ => words::lossless(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(content_type: &str, body: &[u8], expected: &str) {
        let media = MediaType::parse(content_type.as_bytes()).unwrap();
        assert_eq!(readable(&media, body), expected, "{content_type}");
    }

    #[test]
    fn texts() {
        check("text/plain; charset=iso-8859-15", b"5 \xA4", "5 €");
        check("text/plain; charset=us-ascii", "ü".as_bytes(), "ü");
        check("text/plain", b"\xFC", "ü");
        check("text/plain; charset=x-nobody", b"\xFC", "ü");
        check("text/html; charset=utf-8", b"<p>Gr&uuml;&szlig;e <b>aus</b> Wien</p>", "Grüße aus Wien\n");
    }

    #[test]
    fn previews() {
        let check = |text: &str, expected: &str| assert_eq!(preview(text), expected);
        check("Hello\r\n\r\n  world,\t\u{200b}\u{0}again \n", "Hello world, again");
        check("> you wrote\n>> and I\nYes.\n", "Yes.");
        check("> only this\n", "> only this");
        check("", "");
        check(&"ü".repeat(1000), &"ü".repeat(200));
        check(&"a ".repeat(1000), &"a ".repeat(100));
    }

    proptest! {
        #[test]
        fn any_bytes(body in proptest::collection::vec(any::<u8>(), 0..200), html in "(<|>|&|;|#|x|&#|!--|p|\"| |é|/){0,40}") {
            for charset in ["utf-8", "utf-7", "utf-16", "iso-2022-jp", "gb18030", "big5", "shift_jis", "euc-kr", "x"] {
                let media = MediaType::parse(format!("text/html; charset={charset}").as_bytes()).unwrap();
                preview(&readable(&media, &body));
                readable(&media, html.as_bytes());
            }
        }
    }
}
