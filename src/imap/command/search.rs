//! Arguments of SEARCH, SORT and THREAD (RFC 9051 §6.4.4, RFC 5256, RFC 5032, RFC 7162, RFC 8474, RFC 8514).

use jiff::civil::Date;
use std::borrow::Cow;

use super::lexer::Lexer;
use super::{Invalid, MAX_DEPTH, MAX_LIST, list, parenthesised};
use crate::imap::partial::Partial;
use crate::imap::sequence::SequenceSet;
use crate::imap::{date, flags};
use crate::message::words;

/// One search.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Search {
    /// `RETURN (…)`: the answer is ESEARCH. `None`: SEARCH.
    pub returns: Option<Vec<ResultOption>>,
    /// All must hold.
    pub keys: Vec<Key>,
}

/// What of the result is wanted (RFC 4731, RFC 5182).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ResultOption {
    Min,
    Max,
    All,
    Count,
    Save,
    /// RFC 9394
    Partial(Partial),
}

/// Which date of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateField {
    /// INTERNALDATE
    Internal,
    /// The Date field, as written there, time and zone ignored.
    Sent,
    /// When it came into this mailbox (RFC 8514).
    Saved,
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the names of the RFCs
pub enum Key {
    All,
    /// A system flag is set, or not.
    Flag {
        bit: u32,
        set: bool,
    },
    Keyword {
        name: String,
        set: bool,
    },
    Recent(bool),
    Sequence(SequenceSet),
    Uid(SequenceSet),
    Before(DateField, Date),
    On(DateField, Date),
    Since(DateField, Date),
    Larger(u64),
    Smaller(u64),
    /// Seconds since INTERNALDATE (RFC 5032).
    Older(u32),
    Younger(u32),
    /// A field contains the text; an empty text asks that the field is there.
    Header {
        name: String,
        text: String,
    },
    Body(String),
    Text(String),
    ModSeq(u64),
    EmailId(String),
    ThreadId(String),
    SaveDateSupported,
    Not(Box<Key>),
    Or(Box<(Key, Key)>),
    And(Vec<Key>),
}

/// SORT's keys (RFC 5256, RFC 5957).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SortKey {
    Arrival,
    Cc,
    Date,
    DisplayFrom,
    DisplayTo,
    From,
    Size,
    Subject,
    To,
}

/// A key and its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortCriterion {
    /// What is compared.
    pub key: SortKey,
    /// Largest first.
    pub reverse: bool,
}

/// THREAD's ways (RFC 5256).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ThreadAlgorithm {
    OrderedSubject,
    References,
}

/// `search = "SEARCH" [search-return-opts] SP search-program`
pub fn search(lexer: &mut Lexer) -> Result<Search, Invalid> {
    let returns = returns(lexer)?;
    if !lexer.take_word("CHARSET") {
        let keys = program(lexer, &Charset("UTF-8".into()))?;
        return Ok(Search { returns, keys });
    }
    lexer.space()?;
    let conflicting = lexer.dialect.utf8_strings && !lexer.clone().astring_text()?.eq_ignore_ascii_case("UTF-8");
    if conflicting {
        // Deviation: RFC 6855 §3 would have any CHARSET refused for the conflict of labels. There is none with UTF-8, and clients send it.
        return Err(Invalid::new("Strings are UTF-8 since UTF8=ACCEPT was enabled."));
    }
    let keys = charset_and_program(lexer).map_err(|invalid| refused(invalid, returns.as_deref()))?;
    Ok(Search { returns, keys })
}

fn refused(invalid: Invalid, returns: Option<&[ResultOption]>) -> Invalid {
    Invalid { saves: returns.is_some_and(|options| options.contains(&ResultOption::Save)), ..invalid }
}

/// `sort = "SORT" [search-return-opts] SP "(" sort-criterion *(SP sort-criterion) ")" SP charset SP search-program`
pub fn sort(lexer: &mut Lexer) -> Result<(Vec<SortCriterion>, Search), Invalid> {
    let returns = returns(lexer)?;
    let criteria = parenthesised(lexer, |lexer| {
        let reverse = lexer.take_word("REVERSE");
        if reverse {
            lexer.space()?;
        }
        let key = match lexer.word()?.to_ascii_uppercase().as_str() {
            "ARRIVAL" => SortKey::Arrival,
            "CC" => SortKey::Cc,
            "DATE" => SortKey::Date,
            "DISPLAYFROM" => SortKey::DisplayFrom,
            "DISPLAYTO" => SortKey::DisplayTo,
            "FROM" => SortKey::From,
            "SIZE" => SortKey::Size,
            "SUBJECT" => SortKey::Subject,
            "TO" => SortKey::To,
            _ => return Err(Invalid::new("There is no such sort key.")),
        };
        Ok(SortCriterion { key, reverse })
    })?;
    if criteria.is_empty() {
        return Err(Invalid::new("SORT by what?"));
    }
    lexer.space()?;
    let keys = charset_and_program(lexer).map_err(|invalid| refused(invalid, returns.as_deref()))?;
    Ok((criteria, Search { returns, keys }))
}

/// `thread = "THREAD" SP thread-alg SP charset SP search-program`
pub fn thread(lexer: &mut Lexer) -> Result<(ThreadAlgorithm, Search), Invalid> {
    let algorithm = match lexer.word()?.to_ascii_uppercase().as_str() {
        "ORDEREDSUBJECT" => ThreadAlgorithm::OrderedSubject,
        "REFERENCES" => ThreadAlgorithm::References,
        _ => return Err(Invalid::new("There is no such threading algorithm.")),
    };
    lexer.space()?;
    let keys = charset_and_program(lexer)?;
    Ok((algorithm, Search { returns: None, keys }))
}

fn charset_and_program(lexer: &mut Lexer) -> Result<Vec<Key>, Invalid> {
    let charset = Charset::from_name(&lexer.astring_text()?)?;
    lexer.space()?;
    program(lexer, &charset)
}

/// `search-return-opts = SP "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"`, and the space after it.
fn returns(lexer: &mut Lexer) -> Result<Option<Vec<ResultOption>>, Invalid> {
    if !lexer.take_word("RETURN") {
        return Ok(None);
    }
    lexer.space()?;
    let mut options = parenthesised(lexer, |lexer| {
        Ok(match lexer.word()?.to_ascii_uppercase().as_str() {
            "MIN" => ResultOption::Min,
            "MAX" => ResultOption::Max,
            "ALL" => ResultOption::All,
            "COUNT" => ResultOption::Count,
            "SAVE" => ResultOption::Save,
            "PARTIAL" => {
                lexer.space()?;
                ResultOption::Partial(Partial::parse(lexer)?)
            }
            _ => return Err(Invalid::new("SEARCH has no such result option.")),
        })
    })?;
    let partials = options.iter().filter(|option| matches!(option, ResultOption::Partial(_))).count();
    if partials > 1 || (partials == 1 && options.contains(&ResultOption::All)) {
        return Err(Invalid::new("PARTIAL stands alone, without ALL."));
    }
    if options.is_empty() {
        options.push(ResultOption::All);
    }
    lexer.space()?;
    Ok(Some(options))
}

fn program(lexer: &mut Lexer, charset: &Charset) -> Result<Vec<Key>, Invalid> {
    let mut left = MAX_LIST;
    list(lexer, |lexer| key(lexer, charset, MAX_DEPTH, &mut left))
}

/// `search-key`; `depth` levels and `left` keys remain.
fn key(lexer: &mut Lexer, charset: &Charset, depth: usize, left: &mut usize) -> Result<Key, Invalid> {
    let depth = depth.checked_sub(1).ok_or(Invalid::new("These conditions are nested too deeply."))?;
    *left = left.checked_sub(1).ok_or(Invalid::new("These are too many conditions."))?;
    if lexer.take(b'(') {
        let keys = list(lexer, |lexer| key(lexer, charset, depth, left))?;
        lexer.expect(b')')?;
        return Ok(Key::And(keys));
    }
    if lexer.at_sequence_set() {
        return Ok(Key::Sequence(lexer.sequence_set()?));
    }
    let name = lexer.word()?.to_ascii_uppercase();
    if let Some(key) = simple(&name) {
        return Ok(key);
    }
    if !WITH_ARGUMENT.contains(&name.as_str()) {
        return Err(Invalid::new("SEARCH has no such key."));
    }
    lexer.space()?;
    let header = |name: &str, lexer: &mut Lexer| Ok(Key::Header { name: name.to_owned(), text: charset.decode(&lexer.astring()?)? });
    Ok(match name.as_str() {
        "NOT" => Key::Not(Box::new(key(lexer, charset, depth, left)?)),
        "OR" => {
            let one = key(lexer, charset, depth, left)?;
            lexer.space()?;
            Key::Or(Box::new((one, key(lexer, charset, depth, left)?)))
        }
        "UID" => Key::Uid(lexer.sequence_set()?),
        "KEYWORD" => Key::Keyword { name: lexer.atom()?.to_owned(), set: true },
        "UNKEYWORD" => Key::Keyword { name: lexer.atom()?.to_owned(), set: false },
        "BEFORE" => Key::Before(DateField::Internal, day(lexer)?),
        "ON" => Key::On(DateField::Internal, day(lexer)?),
        "SINCE" => Key::Since(DateField::Internal, day(lexer)?),
        "SENTBEFORE" => Key::Before(DateField::Sent, day(lexer)?),
        "SENTON" => Key::On(DateField::Sent, day(lexer)?),
        "SENTSINCE" => Key::Since(DateField::Sent, day(lexer)?),
        "SAVEDBEFORE" => Key::Before(DateField::Saved, day(lexer)?),
        "SAVEDON" => Key::On(DateField::Saved, day(lexer)?),
        "SAVEDSINCE" => Key::Since(DateField::Saved, day(lexer)?),
        "LARGER" => Key::Larger(lexer.number64()?),
        "SMALLER" => Key::Smaller(lexer.number64()?),
        "OLDER" => Key::Older(lexer.nz_number()?),
        "YOUNGER" => Key::Younger(lexer.nz_number()?),
        "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => header(&name, lexer)?,
        "HEADER" => {
            let field = lexer.astring_text()?;
            lexer.space()?;
            header(&field, lexer)?
        }
        "BODY" => Key::Body(charset.decode(&lexer.astring()?)?),
        "TEXT" => Key::Text(charset.decode(&lexer.astring()?)?),
        "MODSEQ" => {
            // Which flag's change is meant can be said, and is not told apart (RFC 7162 §3.1.5 allows that).
            if lexer.peek() == Some(b'"') {
                lexer.string()?;
                lexer.space()?;
                lexer.word()?;
                lexer.space()?;
            }
            Key::ModSeq(lexer.number64()?)
        }
        "EMAILID" => Key::EmailId(lexer.astring_text()?),
        _ => Key::ThreadId(lexer.astring_text()?),
    })
}

const WITH_ARGUMENT: [&str; 29] = [
    "NOT",
    "OR",
    "UID",
    "KEYWORD",
    "UNKEYWORD",
    "BEFORE",
    "ON",
    "SINCE",
    "SENTBEFORE",
    "SENTON",
    "SENTSINCE",
    "SAVEDBEFORE",
    "SAVEDON",
    "SAVEDSINCE",
    "LARGER",
    "SMALLER",
    "OLDER",
    "YOUNGER",
    "BCC",
    "CC",
    "FROM",
    "SUBJECT",
    "TO",
    "HEADER",
    "BODY",
    "TEXT",
    "MODSEQ",
    "EMAILID",
    "THREADID",
];

/// Keys of one word.
fn simple(name: &str) -> Option<Key> {
    let flag = |bit, set| Key::Flag { bit, set };
    Some(match name {
        "ALL" => Key::All,
        "ANSWERED" => flag(flags::ANSWERED, true),
        "DELETED" => flag(flags::DELETED, true),
        "DRAFT" => flag(flags::DRAFT, true),
        "FLAGGED" => flag(flags::FLAGGED, true),
        "SEEN" => flag(flags::SEEN, true),
        "UNANSWERED" => flag(flags::ANSWERED, false),
        "UNDELETED" => flag(flags::DELETED, false),
        "UNDRAFT" => flag(flags::DRAFT, false),
        "UNFLAGGED" => flag(flags::FLAGGED, false),
        "UNSEEN" => flag(flags::SEEN, false),
        "RECENT" => Key::Recent(true),
        "OLD" => Key::Recent(false),
        "NEW" => Key::And(vec![Key::Recent(true), flag(flags::SEEN, false)]),
        "SAVEDATESUPPORTED" => Key::SaveDateSupported,
        _ => return None,
    })
}

/// `date = date-text / DQUOTE date-text DQUOTE`
fn day(lexer: &mut Lexer) -> Result<Date, Invalid> {
    date::parse_date(&lexer.astring()?).ok_or(Invalid::new("A date looks like 1-Feb-2024."))
}

/// In which the strings of a search are written. Results never depend on it: texts are compared as Unicode.
struct Charset(String);

impl Charset {
    fn from_name(name: &str) -> Result<Charset, Invalid> {
        match words::charset(name.as_bytes(), b"") {
            Some(_) => Ok(Charset(name.to_owned())),
            None => Err(Invalid::with_code("This character set is not known; use UTF-8.", "BADCHARSET (UTF-8 US-ASCII)")),
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<String, Invalid> {
        if let Ok(text) = std::str::from_utf8(bytes)
            && (bytes.is_ascii() || self.0.eq_ignore_ascii_case("UTF-8"))
        {
            return Ok(text.to_owned());
        }
        let unreadable = Invalid::new("This text is not in the character set that it claims.");
        if matches!(self.0.to_ascii_lowercase().as_str(), "utf-8" | "us-ascii") {
            return Err(unreadable);
        }
        words::charset(self.0.as_bytes(), bytes).map(Cow::into_owned).ok_or(unreadable)
    }
}
