//! The lowest rules of the grammar, read from one complete command (literals in place). Never looks beyond its bytes, never recurses.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

use super::{Dialect, Invalid, MailboxName};
use crate::imap::sequence::{End, MAX_RANGES, SequenceSet};
use crate::imap::utf7;

/// A longer mailbox name is refused: the store's names are bounded, and so are file names of backups made from them.
const MAX_MAILBOX_NAME: usize = 1000;

type Parsed<T> = Result<T, Invalid>;

/// Where in the command we are.
#[derive(Clone)]
pub struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How names and strings are written.
    pub dialect: Dialect,
}

impl<'a> Lexer<'a> {
    /// At the start of `bytes`, which hold no final CRLF.
    pub fn new(bytes: &'a [u8], dialect: Dialect) -> Self {
        Self { bytes, at: 0, dialect }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next byte.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Takes `byte` if it is next.
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes `text`, in any case, if it is next.
    pub fn take_text(&mut self, text: &str) -> bool {
        let found = self.rest().get(..text.len()).is_some_and(|next| next.eq_ignore_ascii_case(text.as_bytes()));
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// Takes `word`, in any case, if it is next and whole.
    pub fn take_word(&mut self, word: &str) -> bool {
        let before = self.at;
        if self.take_text(word) && self.peek().is_none_or(|next| !is_atom_char(next)) {
            return true;
        }
        self.at = before;
        false
    }

    /// `byte`, or an error.
    pub fn expect(&mut self, byte: u8) -> Parsed<()> {
        if self.take(byte) {
            return Ok(());
        }
        Err(Invalid::new(match byte {
            b' ' => "A space is missing.",
            b'(' => "A list in parentheses is missing.",
            b')' => "A closing parenthesis is missing.",
            _ => "Something is missing here.",
        }))
    }

    /// Exactly one space.
    pub fn space(&mut self) -> Parsed<()> {
        self.expect(b' ')
    }

    /// Nothing may follow. Spaces before the end of the line are forgiven: old clients write them.
    pub fn end(&mut self) -> Parsed<()> {
        if self.rest().iter().all(|byte| *byte == b' ') { Ok(()) } else { Err(Invalid::new("There is more than this command takes.")) }
    }

    /// True at the end of the command, or before the spaces that [`Lexer::end`] forgives.
    pub fn at_end(&self) -> bool {
        self.rest().iter().all(|byte| *byte == b' ')
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        &self.bytes[start..self.at]
    }

    /// `tag = 1*<any ASTRING-CHAR except "+">`
    pub fn tag(&mut self) -> Option<&'a [u8]> {
        Some(self.take_while(|byte| is_astring_char(byte) && byte != b'+')).filter(|tag| !tag.is_empty())
    }

    /// `atom = 1*ATOM-CHAR`
    pub fn atom(&mut self) -> Parsed<&'a str> {
        text(self.take_while(is_atom_char))
    }

    /// Letters, digits, `-`, `.` and `_`: the names of items, keys and options.
    pub fn word(&mut self) -> Parsed<&'a str> {
        text(self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'=' | b'_')))
    }

    /// `astring = 1*ASTRING-CHAR / string`
    pub fn astring(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => {
                let atom = self.take_while(is_astring_char);
                if atom.is_empty() { Err(Invalid::new("A word or string is missing.")) } else { Ok(Cow::Borrowed(atom)) }
            }
        }
    }

    /// [`Lexer::astring`] as text.
    pub fn astring_text(&mut self) -> Parsed<String> {
        String::from_utf8(self.astring()?.into_owned()).map_err(|_| Invalid::new("This string is not UTF-8."))
    }

    /// `string = quoted / literal`
    pub fn string(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal().map(Cow::Borrowed),
            Some(b'~') if self.rest().starts_with(b"~{") => {
                self.at += 1;
                self.literal().map(Cow::Borrowed)
            }
            _ => Err(Invalid::new("A string is missing.")),
        }
    }

    /// `nstring = string / nil`
    pub fn nstring(&mut self) -> Parsed<Option<Cow<'a, [u8]>>> {
        if self.take_word("NIL") { Ok(None) } else { self.string().map(Some) }
    }

    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        const UNFINISHED: &str = "A quoted string has no end.";
        self.at += 1;
        let plain = self.take_while(|byte| !matches!(byte, b'"' | b'\\' | b'\r' | b'\n' | 0));
        if self.take(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut unescaped = plain.to_vec();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(unescaped));
                }
                Some(b'\\') => {
                    let escaped = self.bytes.get(self.at + 1).filter(|byte| matches!(byte, b'"' | b'\\'));
                    // Deviation: a backslash before anything else stands for itself, as clients on Windows expect.
                    unescaped.push(*escaped.unwrap_or(&b'\\'));
                    self.at += if escaped.is_some() { 2 } else { 1 };
                }
                Some(b'\r' | b'\n' | 0) | None => return Err(Invalid::new(UNFINISHED)),
                Some(other) => {
                    unescaped.push(other);
                    self.at += 1;
                }
            }
        }
    }

    /// `literal = "{" number64 ["+"] "}" CRLF *CHAR8`, its bytes being in place already.
    fn literal(&mut self) -> Parsed<&'a [u8]> {
        const BROKEN: &str = "A literal is not well formed.";
        self.expect(b'{')?;
        let length = usize::try_from(self.number64()?).map_err(|_| Invalid::new(BROKEN))?;
        let _ = self.take(b'+') || self.take(b'-');
        if !self.take_text("}\r\n") {
            return Err(Invalid::new(BROKEN));
        }
        let bytes = self.rest().get(..length).ok_or(Invalid::new(BROKEN))?;
        self.at += length;
        Ok(bytes)
    }

    /// `number64 = 1*DIGIT`
    pub fn number64(&mut self) -> Parsed<u64> {
        let digits = text(self.take_while(|byte| byte.is_ascii_digit())).map_err(|_| Invalid::new("A number is missing."))?;
        digits.parse().map_err(|_| Invalid::new("This number is too large."))
    }

    /// `number = 1*DIGIT` of 32 bits.
    pub fn number(&mut self) -> Parsed<u32> {
        u32::try_from(self.number64()?).map_err(|_| Invalid::new("This number is too large."))
    }

    /// `nz-number`
    pub fn nz_number(&mut self) -> Parsed<u32> {
        match self.number()? {
            0 => Err(Invalid::new("Numbers start at 1.")),
            number => Ok(number),
        }
    }

    /// `sequence-set = (seq-number / seq-range) ["," sequence-set] / "$"`
    pub fn sequence_set(&mut self) -> Parsed<SequenceSet> {
        if self.take(b'$') {
            return Ok(SequenceSet::Saved);
        }
        let mut ranges = Vec::new();
        loop {
            let one = self.sequence_end()?;
            let other = if self.take(b':') { self.sequence_end()? } else { one };
            ranges.push((one, other));
            if ranges.len() > MAX_RANGES {
                return Err(Invalid::new("This set names too many ranges."));
            }
            if !self.take(b',') {
                return Ok(SequenceSet::Ranges(ranges));
            }
        }
    }

    fn sequence_end(&mut self) -> Parsed<End> {
        if self.take(b'*') { Ok(End::Star) } else { self.nz_number().map(End::Number) }
    }

    /// True if a sequence set may start here.
    pub fn at_sequence_set(&self) -> bool {
        matches!(self.peek(), Some(b'0'..=b'9' | b'*' | b'$'))
    }

    /// `mailbox = "INBOX" / astring`, in Unicode.
    pub fn mailbox(&mut self) -> Parsed<String> {
        Ok(self.mailbox_as_written()?.name)
    }

    /// The same, and how it was written.
    pub fn mailbox_as_written(&mut self) -> Parsed<MailboxName> {
        let bytes = self.astring()?;
        let written = self.written_name(&bytes)?;
        let name = normal(&written);
        let differs = name != written;
        Ok(MailboxName { name, written: differs.then_some(written) })
    }

    /// The same, where an empty string names the server.
    pub fn mailbox_or_nothing(&mut self) -> Parsed<String> {
        let bytes = self.astring()?;
        if bytes.is_empty() { Ok(String::new()) } else { self.mailbox_name(&bytes) }
    }

    /// `list-mailbox = 1*list-char / string`, in Unicode, wildcards in place.
    pub fn list_mailbox(&mut self) -> Parsed<String> {
        let bytes = match self.peek() {
            Some(b'"' | b'{') => self.string()?,
            _ => {
                let atom = self.take_while(|byte| is_astring_char(byte) || matches!(byte, b'%' | b'*'));
                if atom.is_empty() {
                    return Err(Invalid::new("A mailbox name or pattern is missing."));
                }
                Cow::Borrowed(atom)
            }
        };
        self.mailbox_name(&bytes)
    }

    /// A mailbox name or pattern that came in a string, in the form in which names are stored: INBOX in capitals, NFC (RFC 9051 §5.1).
    pub fn mailbox_name(&self, bytes: &[u8]) -> Parsed<String> {
        Ok(normal(&self.written_name(bytes)?))
    }

    fn written_name(&self, bytes: &[u8]) -> Parsed<String> {
        let unicode = std::str::from_utf8(bytes).ok();
        // Deviation: eight-bit names are taken as UTF-8 even if it was not enabled; nothing else could be meant.
        let decoded = if self.dialect.utf8 || !bytes.is_ascii() { unicode.map(str::to_owned) } else { utf7::decode(bytes) };
        // A name such as "R&D" is no modified UTF-7; LIST, SELECT and the rest then look for what was written.
        let name = decoded.or(unicode.map(str::to_owned)).ok_or(Invalid::new("This mailbox name is neither UTF-8 nor modified UTF-7."))?;
        if name.len() > MAX_MAILBOX_NAME {
            return Err(Invalid::new("This mailbox name is too long."));
        }
        if name.eq_ignore_ascii_case("INBOX") {
            return Ok("INBOX".into());
        }
        match name.split_at_checked(6) {
            Some((inbox, below)) if inbox.eq_ignore_ascii_case("INBOX/") => Ok(format!("INBOX/{below}")),
            _ => Ok(name),
        }
    }
}

fn normal(name: &str) -> String {
    name.nfc().collect()
}

/// Non-empty ASCII text.
fn text(bytes: &[u8]) -> Parsed<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty()).ok_or(Invalid::new("A word is missing."))
}

/// `ATOM-CHAR = <any CHAR except atom-specials>`
pub fn is_atom_char(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte) && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// `ASTRING-CHAR = ATOM-CHAR / resp-specials`. Deviation: eight-bit characters count too; clients that write UTF-8 unquoted exist.
fn is_astring_char(byte: u8) -> bool {
    is_atom_char(byte) || byte == b']' || byte >= 0x80
}
