//! APPEND and REPLACE in pieces: what stands before each message, so that the message itself can be streamed (RFC 9051 §6.3.12, RFC 3502,
//! RFC 8508).

use super::lexer::Lexer;
use super::{Dialect, Invalid};
use crate::imap::date;
use crate::imap::flags::Flags;
use crate::imap::sequence::SequenceSet;

/// The announcement of a literal, as it ends a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal {
    /// Bytes that follow.
    pub length: u64,
    /// The client waits for `+` before it sends them.
    pub synchronizing: bool,
    /// `~{…}`: may hold NUL (RFC 3516).
    pub binary: bool,
}

/// What stands before the first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Where the messages go.
    pub mailbox: String,
    /// REPLACE: which message of the open mailbox goes when the new one is there.
    pub replaces: Option<Replaced>,
    /// Of the first message.
    pub attributes: Attributes,
}

/// The message that REPLACE names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// One number.
    pub set: SequenceSet,
    /// It is a UID.
    pub by_uid: bool,
}

/// What is said of one message before its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Flags it gets.
    pub flags: Flags,
    /// INTERNALDATE, milliseconds since 1970; `None` is now.
    pub date: Option<i64>,
    /// `UTF8 (~{…}`: a parenthesis closes after the literal (RFC 6855 §4).
    pub utf8: bool,
}

/// The literal that `line` (without CRLF) announces at its end, if any.
///
/// `literal = "{" number64 ["+"] "}" CRLF`, `literal8 = "~{" number64 ["+"] "}" CRLF`
pub fn announced(line: &[u8]) -> Option<Literal> {
    let inner = line.strip_suffix(b"}")?;
    let open = memchr::memrchr(b'{', inner)?;
    let digits = &inner[open + 1..];
    let (digits, synchronizing) = match digits.split_last()? {
        (b'+', digits) => (digits, false),
        _ => (digits, true),
    };
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let before = inner[..open].last();
    Some(Literal { length, synchronizing, binary: before == Some(&b'~') })
}

/// True if this is an APPEND or a REPLACE, whatever follows.
pub fn is_append(command: &[u8]) -> bool {
    let mut lexer = Lexer::new(command, Dialect::default());
    lexer.tag().is_some() && lexer.take(b' ') && name(&mut lexer).is_some()
}

/// Which of the commands it is, and whether UID stood before it.
fn name(lexer: &mut Lexer) -> Option<(bool, bool)> {
    if lexer.take_word("APPEND") {
        return Some((false, false));
    }
    let by_uid = lexer.take_word("UID") && lexer.take(b' ');
    lexer.take_word("REPLACE").then_some((true, by_uid))
}

/// `tag SP "APPEND" SP mailbox`, or `tag SP ["UID" SP] "REPLACE" SP seq-number SP mailbox` (RFC 8508 §4), and what stands before the first
/// message. `Ok(None)`: the literal that ends these bytes is not a message but the mailbox's name, or some other string; read it and ask
/// again.
pub fn start(command: &[u8], dialect: Dialect) -> Result<Option<Start>, Invalid> {
    let mut lexer = Lexer::new(command, dialect);
    lexer.tag().ok_or(Invalid::new("The tag is missing."))?;
    lexer.space()?;
    let (replace, by_uid) = name(&mut lexer).ok_or(Invalid::new("The command is missing."))?;
    lexer.space()?;
    let replaces = if replace {
        let set = lexer.sequence_set()?;
        if !set.is_one() {
            return Err(Invalid::new("REPLACE names one message."));
        }
        lexer.space()?;
        Some(Replaced { set, by_uid })
    } else {
        None
    };
    if announced(lexer.rest()).is_some() && matches!(lexer.peek(), Some(b'{')) && !lexer.rest().contains(&b' ') {
        return Ok(None);
    }
    let mailbox = lexer.mailbox()?;
    Ok(Some(Start { mailbox, replaces, attributes: attributes(&mut lexer)? }))
}

/// What stands before a further message, from the space on (MULTIAPPEND).
pub fn next(line: &[u8], dialect: Dialect) -> Result<Attributes, Invalid> {
    attributes(&mut Lexer::new(line, dialect))
}

/// `[SP flag-list] [SP date-time] SP (literal / literal8 / "UTF8" SP "(" literal8)`, up to the announcement of the literal.
fn attributes(lexer: &mut Lexer) -> Result<Attributes, Invalid> {
    const MISSING: Invalid = Invalid::new("The message must follow as a literal.");
    let mut attributes = Attributes::default();
    lexer.space()?;
    if lexer.peek() == Some(b'(') {
        attributes.flags = super::flags(lexer)?;
        lexer.space()?;
    }
    if lexer.peek() == Some(b'"') {
        let text = lexer.string()?;
        attributes.date = Some(date::parse_date_time(&text).ok_or(Invalid::new("A date looks like \"01-Feb-2024 12:00:00 +0100\"."))?);
        lexer.space()?;
    }
    if lexer.take_word("UTF8") {
        lexer.space()?;
        lexer.expect(b'(')?;
        attributes.utf8 = true;
    }
    let _ = lexer.take(b'~');
    if lexer.peek() != Some(b'{') || announced(lexer.rest()).is_none() || memchr::memchr(b' ', lexer.rest()).is_some() {
        return Err(MISSING);
    }
    Ok(attributes)
}
