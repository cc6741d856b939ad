//! What a reader sees of HTML: its words, without tags, comments, scripts and styles (HTML Living Standard §13.2.5, as far as it matters
//! for words). Elements that begin a line of their own, or a cell, part the words before them from those behind.
//!
//! Deviation: a quotation mark that is never closed does not hide the rest of a message, as it would in a browser.

use mail_parser::decoders::html::add_html_token;
use memchr::{memchr, memchr2, memchr3, memmem};

/// Longer ones there are none (`&CounterClockwiseContourIntegral;`).
const MAX_ENTITY: usize = 40;
/// One more than the longest name of an element that matters here has.
const MAX_NAME: usize = 11;

/// The words, in lines.
pub fn text(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(open) = memchr(b'<', rest.as_bytes()) {
        let (words, tag) = rest.split_at(open);
        push_words(words, &mut text);
        let length = markup(tag.as_bytes(), &mut text);
        rest = tag.get(length..).unwrap_or_default();
    }
    push_words(rest, &mut text);
    text
}

/// Takes what begins with `<`, and says how long it is.
fn markup(tag: &[u8], text: &mut String) -> usize {
    if tag.starts_with(b"<!--") {
        return comment(tag);
    }
    let is_end = tag.get(1) == Some(&b'/');
    let name = &tag[1 + usize::from(is_end)..];
    match name.first() {
        Some(first) if first.is_ascii_alphabetic() => {}
        Some(b'!' | b'?') => return declaration(tag),
        _ if is_end => return declaration(tag),
        _ => {
            // Somebody compares two things.
            text.push('<');
            return 1;
        }
    }
    let mut lower = [0; MAX_NAME];
    let name = name.iter().take_while(|byte| !matches!(byte, b'>' | b'/') && !byte.is_ascii_whitespace());
    let length = name.zip(&mut lower).map(|(byte, lower)| *lower = byte.to_ascii_lowercase()).count();
    let name = &lower[..length];
    if parts_words(name) && !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let end = end_of_tag(tag);
    match name {
        b"script" | b"style" | b"template" | b"title" if !is_end => end + end_of_element(&tag[end..], name),
        _ => end,
    }
}

/// How long a comment is; one without end goes as far as the message.
fn comment(tag: &[u8]) -> usize {
    if let Some(empty) = [&b"<!-->"[..], b"<!--->"].iter().find(|empty| tag.starts_with(empty)) {
        return empty.len();
    }
    let mut at = 4;
    while let Some(dashes) = memmem::find(&tag[at..], b"--") {
        at += dashes;
        match &tag[at + 2..] {
            [b'>', ..] => return at + 3,
            [b'!', b'>', ..] => return at + 4,
            _ => at += 1,
        }
    }
    tag.len()
}

/// Behind the `>` that is in no quoted value of an attribute.
fn end_of_tag(tag: &[u8]) -> usize {
    let mut at = 0;
    while let Some(next) = memchr3(b'>', b'"', b'\'', &tag[at..]) {
        at += next;
        let quote = tag[at];
        if quote == b'>' {
            return at + 1;
        }
        let is_value = tag[..at].trim_ascii_end().ends_with(b"=");
        let closed = if is_value { memchr(quote, &tag[at + 1..]) } else { None };
        at += closed.map_or(1, |closed| closed + 2);
    }
    tag.len()
}

/// Where the end tag of an element stands whose content is no text.
fn end_of_element(content: &[u8], name: &[u8]) -> usize {
    let mut at = 0;
    while let Some(open) = memmem::find(&content[at..], b"</") {
        at += open;
        if content[at + 2..].get(..name.len()).is_some_and(|here| here.eq_ignore_ascii_case(name)) {
            return at;
        }
        at += 2;
    }
    content.len()
}

/// Whatever ends with the next `>`.
fn declaration(tag: &[u8]) -> usize {
    memchr(b'>', tag).map_or(tag.len(), |end| end + 1)
}

/// Whether what stands on either side of such a tag is not one word.
fn parts_words(name: &[u8]) -> bool {
    matches!(
        name,
        b"address"
            | b"article"
            | b"aside"
            | b"blockquote"
            | b"body"
            | b"br"
            | b"caption"
            | b"center"
            | b"dd"
            | b"details"
            | b"dialog"
            | b"dir"
            | b"div"
            | b"dl"
            | b"dt"
            | b"fieldset"
            | b"figcaption"
            | b"figure"
            | b"footer"
            | b"form"
            | b"h1"
            | b"h2"
            | b"h3"
            | b"h4"
            | b"h5"
            | b"h6"
            | b"header"
            | b"hr"
            | b"html"
            | b"legend"
            | b"li"
            | b"main"
            | b"menu"
            | b"nav"
            | b"ol"
            | b"option"
            | b"p"
            | b"pre"
            | b"section"
            | b"select"
            | b"table"
            | b"td"
            | b"textarea"
            | b"th"
            | b"tr"
            | b"ul"
    )
}

/// Words without tags, their entities read.
fn push_words(words: &str, text: &mut String) {
    let mut rest = words;
    while let Some(and) = memchr(b'&', rest.as_bytes()) {
        text.push_str(&rest[..and]);
        rest = &rest[and..];
        let candidate = &rest.as_bytes()[..rest.len().min(MAX_ENTITY)];
        match memchr2(b';', b' ', candidate) {
            Some(end) if candidate[end] == b';' && candidate[1..end].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#') => {
                add_html_token(text, &candidate[..=end], false);
                rest = &rest[end + 1..];
            }
            _ => {
                text.push('&');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(html: &str, expected: &str) {
        assert_eq!(text(html), expected, "{html}");
    }

    #[test]
    fn tags_part_words_or_do_not() {
        check("<p>Gr&uuml;&szlig;e <b>a</b>us <I>Wi</I>en</p><p>heute", "Grüße aus Wien\nheute");
        check("<table><tr><td>one<td>two</TD></tr></table>three<br/>four", "one\ntwo\nthree\nfour");
        check("an<wbr>other wo<span title='x > y' class = \"a>b\">rd</span>", "another word");
        check("<a href=\"x>y</a> <b>z", "y z");
        check("<p isn't>one<p isn't>two", "one\ntwo");
        check(
            "it's < 3 and > 2 or <3 & more &; &nothing; &amp;&#65;&#x42;&#xD800; & then; &am",
            "it's < 3 and > 2 or <3 & more &; &nothing; &AB\u{fffd} & then; &am",
        );
        check("</ no tag>a</>b<?xml x?>c<!DOCTYPE html>d<", "abcd<");
        check("<", "<");
        check("</", "");
        check("<b", "");
    }

    #[test]
    fn what_nobody_sees() {
        check("a<!-- x > -- b -->c<!--->d<!---->e<!-- f ---->g<!-- --!>h", "acdegh");
        check("a<!-- without end", "a");
        check("<html><head><title>T</title><style>p { x }</style></head><body>a<SCRIPT>if (a < b) \"</b>\"</script >b", "ab");
        check("<template>a</template>b<style>c", "b");
        check("<!--[if mso]>x<![endif]--><![if !mso]>y<![endif]>", "y");
    }

    #[test]
    fn hostile_texts_take_no_longer_than_others() {
        for piece in ["<", "<a", "<a =\"", "<a ='", "<!--", "--", "<style>", "</style", "<!", "&", "&#", "<a='\"", "<title></"] {
            text(&piece.repeat(1_000_000 / piece.len()));
        }
    }

    proptest! {
        #[test]
        fn any_text(html in "(<|>|&|;|#|x41|\"|'|=|!|-|--|/|\\?| |p|b|style|td|title|é){0,40}") {
            prop_assert!(text(&html).len() <= html.len() + html.matches('<').count());
        }
    }
}
