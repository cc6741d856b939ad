//! APPEND and REPLACE in pieces: what stands between the literals, so that messages can be streamed (RFC 9051 §6.3.12, RFC 3502, RFC 4469,
//! RFC 8508).

use super::lexer::Lexer;
use super::{Dialect, Invalid, MAX_LIST};
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
    /// Where in the command the messages begin: the first stretch for a [`Reader`].
    pub length: usize,
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
}

/// What a stretch between two literals says, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A message begins; the one before it is complete.
    Message(Attributes),
    /// Of a message that CATENATE puts together: what this URL names comes next.
    Url(String),
}

/// What ends a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// A literal that is a message.
    Message(Literal),
    /// A literal that is some of a message.
    Text(Literal),
    /// A literal that holds a URL. Put it in place and read the stretch again.
    Url(Literal),
    /// Nothing: the command is complete.
    End,
}

/// Reads stretch after stretch.
#[derive(Debug)]
pub struct Reader {
    dialect: Dialect,
    place: Place,
}

/// Where in the grammar a [`Reader`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    BehindMessage,
    /// Inside `CATENATE (`.
    Part,
    BehindPart,
    /// A parenthesis closes after the literal of `UTF8 (~{…}` (RFC 6855 §4); then what stands here.
    BehindUtf8 {
        in_catenate: bool,
    },
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

/// `tag SP "APPEND" SP mailbox`, or `tag SP ["UID" SP] "REPLACE" SP seq-number SP mailbox` (RFC 8508 §4). `Ok(None)`: the literal that ends
/// these bytes is the mailbox's name; read it and ask again.
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
    if only_announces(&lexer).is_some() {
        return Ok(None);
    }
    let mailbox = lexer.mailbox()?;
    Ok(Some(Start { mailbox, replaces, length: command.len() - lexer.rest().len() }))
}

impl Reader {
    /// Behind the mailbox.
    pub fn new(dialect: Dialect) -> Reader {
        Reader { dialect, place: Place::First }
    }

    /// Reads up to the literal that ends `stretch`, or to the end of the command.
    ///
    /// `append-message = [SP flag-list] [SP date-time] SP append-data`, `append-data = literal / literal8 / utf8-literal /
    /// "CATENATE" SP "(" cat-part *(SP cat-part) ")"`, `cat-part = "TEXT" SP literal / utf8-literal / "URL" SP astring`
    pub fn read(&mut self, stretch: &[u8]) -> Result<(Vec<Piece>, Ahead), Invalid> {
        let mut lexer = Lexer::new(stretch, self.dialect);
        let mut pieces = Vec::new();
        let mut place = self.place;
        loop {
            place = match place {
                Place::BehindMessage if lexer.at_end() => return Ok((pieces, Ahead::End)),
                Place::First | Place::BehindMessage => {
                    pieces.push(Piece::Message(attributes(&mut lexer)?));
                    if lexer.take_word("CATENATE") {
                        lexer.space()?;
                        lexer.expect(b'(')?;
                        Place::Part
                    } else {
                        let (literal, utf8) = text(&mut lexer)?;
                        self.place = if utf8 { Place::BehindUtf8 { in_catenate: false } } else { Place::BehindMessage };
                        return Ok((pieces, Ahead::Message(literal)));
                    }
                }
                Place::Part if lexer.take_word("URL") => {
                    lexer.space()?;
                    if let Some(literal) = only_announces(&lexer) {
                        return Ok((pieces, Ahead::Url(literal)));
                    }
                    pieces.push(Piece::Url(lexer.astring_text()?));
                    if pieces.len() > MAX_LIST {
                        return Err(Invalid::new("These are too many parts."));
                    }
                    Place::BehindPart
                }
                Place::Part => {
                    if lexer.take_word("TEXT") {
                        lexer.space()?;
                    }
                    let (literal, utf8) = text(&mut lexer)?;
                    self.place = if utf8 { Place::BehindUtf8 { in_catenate: true } } else { Place::BehindPart };
                    return Ok((pieces, Ahead::Text(literal)));
                }
                Place::BehindPart if lexer.take(b')') => Place::BehindMessage,
                Place::BehindPart => {
                    lexer.space()?;
                    Place::Part
                }
                Place::BehindUtf8 { in_catenate } => {
                    lexer.expect(b')')?;
                    if in_catenate { Place::BehindPart } else { Place::BehindMessage }
                }
            }
        }
    }
}

/// `SP [flag-list SP] [date-time SP]`
fn attributes(lexer: &mut Lexer) -> Result<Attributes, Invalid> {
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
    Ok(attributes)
}

/// `literal / literal8 / "UTF8" SP "(" literal8`: the announcement that ends the stretch, and whether a parenthesis has to close.
fn text(lexer: &mut Lexer) -> Result<(Literal, bool), Invalid> {
    let utf8 = lexer.take_word("UTF8");
    if utf8 {
        lexer.space()?;
        lexer.expect(b'(')?;
    }
    let literal = only_announces(lexer).ok_or(Invalid::new("The message must follow as a literal."))?;
    Ok((literal, utf8))
}

/// The literal that the rest announces, if it does nothing else.
fn only_announces(lexer: &Lexer) -> Option<Literal> {
    let rest = lexer.rest();
    let rest = rest.strip_prefix(b"~").unwrap_or(rest);
    let inner = rest.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"))?;
    inner.iter().all(|byte| byte.is_ascii_digit() || *byte == b'+').then(|| announced(lexer.rest())).flatten()
}
