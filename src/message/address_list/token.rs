//! The tokens of address lists (RFC 5322 §3.2), with their places.

use std::ops::Range;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `dot-atom`, widened to 8-bit text.
    Word(&'a [u8]),
    /// An encoded word: text, whatever is in it.
    Encoded(&'a [u8]),
    /// A quoted string without its quotes and backslashes.
    Quoted(Vec<u8>),
    /// `[…]` with its brackets.
    Literal(&'a [u8]),
    /// A comment without its parentheses.
    Comment(Vec<u8>),
    /// `@ , ; : < >`
    Special(u8),
    /// A control character or stray bracket: nothing around it is an address.
    Junk,
}

/// A token and where it stands.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) token: Token<'a>,
    pub(super) range: Range<usize>,
}

impl Placed<'_> {
    pub(super) fn is(&self, special: u8) -> bool {
        self.token == Token::Special(special)
    }
}

pub(super) struct Tokens<'a> {
    value: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(value: &'a [u8]) -> Self {
        Self { value, at: 0 }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Placed<'a>;

    fn next(&mut self) -> Option<Placed<'a>> {
        let rest = self.value[self.at..].trim_ascii_start();
        let &first = rest.first()?;
        let start = self.value.len() - rest.len();
        let (token, length) = match first {
            b'"' => quoted(rest),
            b'(' => comment(rest),
            b'[' => literal(rest),
            b'@' | b',' | b';' | b':' | b'<' | b'>' => (Token::Special(first), 1),
            b if is_word_byte(b) => match encoded_word(rest) {
                Some(length) => (Token::Encoded(&rest[..length]), length),
                None => {
                    let length = rest.iter().position(|&b| !is_word_byte(b)).unwrap_or(rest.len());
                    (Token::Word(&rest[..length]), length)
                }
            },
            _ => (Token::Junk, 1),
        };
        self.at = start + length;
        Some(Placed { token, range: start..self.at })
    }
}

/// `atext`, dots and 8-bit bytes.
fn is_word_byte(b: u8) -> bool {
    const WORD: [bool; 256] = {
        let mut word = [true; 256];
        let mut b = 0;
        while b <= 0x20 {
            word[b] = false;
            b += 1;
        }
        word[0x7f] = false;
        let specials = b"()<>[]:;@\\,\"";
        let mut at = 0;
        while at < specials.len() {
            word[specials[at] as usize] = false;
            at += 1;
        }
        word
    };
    WORD[usize::from(b)]
}

/// The length of an encoded word at the start (RFC 2047 §2); commas and at signs that broken writers leave in it belong to it.
fn encoded_word(text: &[u8]) -> Option<usize> {
    let mut questions = 2;
    for (at, window) in text.strip_prefix(b"=?")?.windows(2).take(1000).enumerate() {
        match window {
            b"?=" if questions == 0 => return Some(at + 4),
            [b'?', _] if questions == 0 => return None,
            [b'?', _] => questions -= 1,
            [b, _] if b.is_ascii_whitespace() => return None,
            _ => {}
        }
    }
    None
}

fn quoted<'a>(text: &'a [u8]) -> (Token<'a>, usize) {
    let mut plain = Vec::new();
    let mut at = 1;
    while let Some(&b) = text.get(at) {
        match b {
            b'"' => return (Token::Quoted(plain), at + 1),
            b'\r' | b'\n' => {}
            b'\\' => {
                at += 1;
                plain.extend(text.get(at));
            }
            b => plain.push(b),
        }
        at += 1;
    }
    (Token::Quoted(plain), text.len())
}

fn comment<'a>(text: &'a [u8]) -> (Token<'a>, usize) {
    let mut plain = Vec::new();
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(&b) = text.get(at) {
        match b {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        match b {
            b')' if depth == 0 => return (Token::Comment(plain), at + 1),
            b'(' if depth == 1 => {}
            b'\r' | b'\n' => {}
            b'\\' => {
                at += 1;
                plain.extend(text.get(at));
            }
            b => plain.push(b),
        }
        at += 1;
    }
    (Token::Comment(plain), text.len())
}

fn literal<'a>(text: &'a [u8]) -> (Token<'a>, usize) {
    match text.iter().take(256).position(|&b| b == b']') {
        Some(end) => (Token::Literal(&text[..=end]), end + 1),
        None => (Token::Junk, 1),
    }
}

/// The tokens' text with nothing between them.
pub(super) fn joined<'a>(tokens: impl IntoIterator<Item = &'a Placed<'a>>) -> Vec<u8> {
    tokens.into_iter().fold(Vec::new(), |mut joined, placed| {
        joined.extend_from_slice(text(&placed.token));
        joined
    })
}

/// The tokens' text as a phrase: one space between words, comments left out.
pub(super) fn phrase<'a>(tokens: impl IntoIterator<Item = &'a Placed<'a>>) -> Vec<u8> {
    let mut phrase = Vec::new();
    let mut glue = true;
    for placed in tokens {
        let (text, special) = (text(&placed.token), matches!(placed.token, Token::Special(_)));
        if text.is_empty() {
            continue;
        }
        if !glue && !special {
            phrase.push(b' ');
        }
        phrase.extend(text);
        glue = special;
    }
    phrase
}

fn text<'a>(token: &'a Token<'a>) -> &'a [u8] {
    match token {
        Token::Word(text) | Token::Encoded(text) | Token::Literal(text) => text,
        Token::Quoted(text) => text,
        Token::Special(b) => std::slice::from_ref(b),
        Token::Comment(_) | Token::Junk => b"",
    }
}
