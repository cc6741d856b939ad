//! Arguments of FETCH (RFC 9051 §6.4.5).

use super::lexer::Lexer;
use super::{Invalid, MAX_LIST, list, parenthesised};
use crate::imap::partial::Partial;

/// Deeper part numbers are refused; MIME trees are not followed further either.
const MAX_PART_DEPTH: usize = 100;
/// Names in one HEADER.FIELDS.
const MAX_HEADER_FIELDS: usize = 200;

/// One data item. Macros are taken apart while parsing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the names of the RFC
pub enum FetchItem {
    Flags,
    Uid,
    InternalDate,
    Size,
    Envelope,
    Body,
    BodyStructure,
    ModSeq,
    EmailId,
    ThreadId,
    SaveDate,
    /// LAZY or not: it takes no longer here than a short text (RFC 8970).
    Preview,
    /// `BODY[…]<…>` and the three `RFC822` forms.
    Section {
        section: Section,
        partial: Option<(u64, u64)>,
        peek: bool,
    },
    Rfc822 {
        section: Section,
        peek: bool,
    },
    /// `BINARY[…]<…>` (RFC 3516)
    Binary {
        part: Vec<u32>,
        partial: Option<(u64, u64)>,
        peek: bool,
    },
    BinarySize {
        part: Vec<u32>,
    },
}

/// What stands between the brackets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// `1.2`; empty is the message itself.
    pub part: Vec<u32>,
    /// What of it.
    pub text: SectionText,
}

/// The end of a section specifier.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SectionText {
    /// All of the message, or the body of the part.
    #[default]
    Whole,
    /// `HEADER`
    Header,
    /// `HEADER.FIELDS` and `HEADER.FIELDS.NOT`
    Fields(HeaderFields),
    /// `TEXT`
    Text,
    /// `MIME`
    Mime,
}

/// Which fields of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderFields {
    /// All but these.
    pub not: bool,
    /// As the client wrote them.
    pub names: Vec<String>,
}

/// `(CHANGEDSINCE n [VANISHED])` (RFC 7162)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FetchModifiers {
    /// Only what changed after this mod-sequence.
    pub changed_since: Option<u64>,
    /// And what went away since.
    pub vanished: bool,
    /// Only this part of the set (RFC 9394).
    pub partial: Option<Partial>,
}

impl FetchItem {
    /// Fetching it marks the message `\Seen`.
    pub fn sets_seen(&self) -> bool {
        matches!(self, Self::Section { peek: false, .. } | Self::Rfc822 { peek: false, .. } | Self::Binary { peek: false, .. })
    }
}

/// `("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")") [SP fetch-modifiers]`
pub fn items(lexer: &mut Lexer) -> Result<(Vec<FetchItem>, FetchModifiers), Invalid> {
    use FetchItem::{Body, Envelope, Flags, InternalDate, Size};
    let items = if lexer.peek() == Some(b'(') {
        parenthesised(lexer, item)?
    } else if lexer.take_word("ALL") {
        vec![Flags, InternalDate, Size, Envelope]
    } else if lexer.take_word("FULL") {
        vec![Flags, InternalDate, Size, Envelope, Body]
    } else if lexer.take_word("FAST") {
        vec![Flags, InternalDate, Size]
    } else {
        vec![item(lexer)?]
    };
    if items.is_empty() {
        return Err(Invalid::new("FETCH of what?"));
    }
    let mut modifiers = FetchModifiers::default();
    if !lexer.at_end() {
        lexer.space()?;
        parenthesised(lexer, |lexer| {
            match lexer.word()?.to_ascii_uppercase().as_str() {
                "CHANGEDSINCE" => {
                    lexer.space()?;
                    modifiers.changed_since = Some(lexer.number64()?);
                }
                "PARTIAL" => {
                    lexer.space()?;
                    modifiers.partial = Some(Partial::parse(lexer)?);
                }
                "VANISHED" => modifiers.vanished = true,
                _ => return Err(Invalid::new("FETCH has no such modifier.")),
            }
            Ok(())
        })?;
    }
    Ok((items, modifiers))
}

/// `fetch-att`
pub(super) fn item(lexer: &mut Lexer) -> Result<FetchItem, Invalid> {
    let name = lexer.word()?.to_ascii_uppercase();
    let bracket = lexer.peek() == Some(b'[');
    Ok(match (name.as_str(), bracket) {
        ("FLAGS", _) => FetchItem::Flags,
        ("UID", _) => FetchItem::Uid,
        ("INTERNALDATE", _) => FetchItem::InternalDate,
        ("RFC822.SIZE", _) => FetchItem::Size,
        ("ENVELOPE", _) => FetchItem::Envelope,
        ("BODYSTRUCTURE", _) => FetchItem::BodyStructure,
        ("MODSEQ", _) => FetchItem::ModSeq,
        ("EMAILID", _) => FetchItem::EmailId,
        ("THREADID", _) => FetchItem::ThreadId,
        ("SAVEDATE", _) => FetchItem::SaveDate,
        ("PREVIEW", _) => {
            // Other modifiers don't exist; a list without LAZY is FETCH's own.
            lexer.take_text(" (LAZY)");
            FetchItem::Preview
        }
        ("RFC822", _) => FetchItem::Rfc822 { section: Section::default(), peek: false },
        ("RFC822.HEADER", _) => FetchItem::Rfc822 { section: Section { part: vec![], text: SectionText::Header }, peek: true },
        ("RFC822.TEXT", _) => FetchItem::Rfc822 { section: Section { part: vec![], text: SectionText::Text }, peek: false },
        ("BODY", false) => FetchItem::Body,
        ("BODY" | "BODY.PEEK", true) => {
            let section = section(lexer)?;
            FetchItem::Section { section, partial: partial(lexer)?, peek: name == "BODY.PEEK" }
        }
        ("BINARY" | "BINARY.PEEK", true) => {
            let part = binary_section(lexer)?;
            FetchItem::Binary { part, partial: partial(lexer)?, peek: name == "BINARY.PEEK" }
        }
        ("BINARY.SIZE", true) => FetchItem::BinarySize { part: binary_section(lexer)? },
        _ => return Err(Invalid::new("FETCH has no such item.")),
    })
}

/// `section = "[" [section-msgtext / (section-part ["." section-text])] "]"`
pub(in crate::imap) fn section(lexer: &mut Lexer) -> Result<Section, Invalid> {
    lexer.expect(b'[')?;
    let part = part(lexer)?;
    let mut text = SectionText::Whole;
    if lexer.peek() != Some(b']') {
        text = match lexer.word()?.to_ascii_uppercase().as_str() {
            "HEADER" => SectionText::Header,
            "TEXT" => SectionText::Text,
            "MIME" if !part.is_empty() => SectionText::Mime,
            "MIME" => return Err(Invalid::new("MIME needs a part number before it.")),
            name @ ("HEADER.FIELDS" | "HEADER.FIELDS.NOT") => {
                lexer.space()?;
                lexer.expect(b'(')?;
                let names = list(lexer, header_name)?;
                lexer.expect(b')')?;
                if names.len() > MAX_HEADER_FIELDS {
                    return Err(Invalid::new("These are too many header fields."));
                }
                SectionText::Fields(HeaderFields { not: name.ends_with("NOT"), names })
            }
            _ => return Err(Invalid::new("There is no such section.")),
        };
    }
    lexer.expect(b']')?;
    Ok(Section { part, text })
}

/// `header-fld-name = astring`; what no field can be called finds nothing, but must not break the answer.
fn header_name(lexer: &mut Lexer) -> Result<String, Invalid> {
    let name = lexer.astring()?;
    let printable = name.iter().all(|byte| (0x20..0x7f).contains(byte)) && !name.is_empty();
    let name = String::from_utf8(name.into_owned()).ok().filter(|_| printable);
    name.ok_or(Invalid::new("No header field is called that."))
}

/// `section-part = nz-number *("." nz-number)`, and the dot before what follows.
fn part(lexer: &mut Lexer) -> Result<Vec<u32>, Invalid> {
    let mut part = Vec::new();
    while lexer.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        part.push(lexer.nz_number()?);
        if part.len() > MAX_PART_DEPTH {
            return Err(Invalid::new("This part number is too deep."));
        }
        if !lexer.take(b'.') {
            break;
        }
    }
    Ok(part)
}

fn binary_section(lexer: &mut Lexer) -> Result<Vec<u32>, Invalid> {
    lexer.expect(b'[')?;
    let part = part(lexer)?;
    lexer.expect(b']')?;
    Ok(part)
}

/// `partial = "<" number64 "." nz-number64 ">"`
fn partial(lexer: &mut Lexer) -> Result<Option<(u64, u64)>, Invalid> {
    if !lexer.take(b'<') {
        return Ok(None);
    }
    let offset = lexer.number64()?;
    lexer.expect(b'.')?;
    let length = lexer.number64()?;
    lexer.expect(b'>')?;
    if length == 0 {
        return Err(Invalid::new("A partial fetch of nothing."));
    }
    Ok(Some((offset, length)))
}

const _: () = assert!(MAX_HEADER_FIELDS <= MAX_LIST);
