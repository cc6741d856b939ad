//! Arguments of the commands about mailboxes: SELECT, CREATE, LIST, STATUS.

use super::lexer::Lexer;
use super::{Command, Invalid, list as list_of, parenthesised};
use crate::imap::sequence::SequenceSet;

/// A mailbox's name where IMAP4rev2 wants to be told of the difference between what was written and what is meant (RFC 9051 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxName {
    /// In the form in which names are stored.
    pub name: String,
    /// As it came, if that was not NFC.
    pub written: Option<String>,
}

/// SELECT or EXAMINE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// Which.
    pub mailbox: MailboxName,
    /// It was EXAMINE.
    pub read_only: bool,
    /// `(CONDSTORE)`
    pub condstore: bool,
    /// `(QRESYNC (…))`
    pub qresync: Option<Qresync>,
}

/// What a returning client knows of the mailbox (RFC 7162 §3.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qresync {
    /// UIDVALIDITY then.
    pub uidvalidity: u32,
    /// Highest mod-sequence seen.
    pub modseq: u64,
    /// UIDs known, if said.
    pub known: Option<SequenceSet>,
    /// Message numbers were given beside UIDs.
    pub numbered: bool,
}

/// What STATUS and LIST's `RETURN (STATUS …)` may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names of RFC 9051 §6.3.11 and its extensions
pub enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    Deleted,
    DeletedStorage,
    Size,
    HighestModSeq,
    MailboxId,
    AppendLimit,
}

/// RFC 6154.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum SpecialUse {
    All,
    Archive,
    Drafts,
    Flagged,
    Junk,
    Sent,
    Trash,
}

impl SpecialUse {
    const NAMES: [(&str, SpecialUse); 7] = [
        ("\\All", SpecialUse::All),
        ("\\Archive", SpecialUse::Archive),
        ("\\Drafts", SpecialUse::Drafts),
        ("\\Flagged", SpecialUse::Flagged),
        ("\\Junk", SpecialUse::Junk),
        ("\\Sent", SpecialUse::Sent),
        ("\\Trash", SpecialUse::Trash),
    ];

    /// By the attribute's name, in any case.
    pub fn from_name(name: &str) -> Option<SpecialUse> {
        Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, special_use)| *special_use)
    }

    /// The attribute's name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, special_use)| *special_use == self).map_or("", |(name, _)| name)
    }
}

/// LIST with its options (RFC 5258); plain LIST has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListOptions {
    /// Put before each pattern.
    pub reference: String,
    /// One or several.
    pub patterns: Vec<String>,
    /// Selection options or several patterns were given: `""` then is a pattern like any other.
    pub extended: bool,
    /// `(SUBSCRIBED)`
    pub subscribed: bool,
    /// `(SPECIAL-USE)`
    pub special_use: bool,
    /// `(… RECURSIVEMATCH)`
    pub recursive_match: bool,
    /// `RETURN (…)`
    pub returns: ListReturn,
}

/// `RETURN (…)` of LIST.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListReturn {
    /// `SUBSCRIBED`
    pub subscribed: bool,
    /// `CHILDREN`
    pub children: bool,
    /// `SPECIAL-USE`
    pub special_use: bool,
    /// `MYRIGHTS` (RFC 8440)
    pub my_rights: bool,
    /// `STATUS (…)` (RFC 5819)
    pub status: Vec<StatusItem>,
}

/// `select = "SELECT" SP mailbox [SP "(" select-param *(SP select-param) ")"]` (RFC 4466)
pub fn select(lexer: &mut Lexer, read_only: bool) -> Result<Select, Invalid> {
    let mut select = Select { mailbox: lexer.mailbox_as_written()?, read_only, condstore: false, qresync: None };
    if !lexer.at_end() {
        lexer.space()?;
        parenthesised(lexer, |lexer| {
            match lexer.word()?.to_ascii_uppercase().as_str() {
                "CONDSTORE" => select.condstore = true,
                "QRESYNC" => {
                    lexer.space()?;
                    select.qresync = Some(qresync(lexer)?);
                }
                _ => return Err(Invalid::new("SELECT has no such parameter.")),
            }
            Ok(())
        })?;
    }
    Ok(select)
}

/// `"(" uidvalidity SP mod-sequence [SP known-uids] [SP "(" known-sequence-set SP known-uid-set ")"] ")"`
fn qresync(lexer: &mut Lexer) -> Result<Qresync, Invalid> {
    lexer.expect(b'(')?;
    let uidvalidity = lexer.nz_number()?;
    lexer.space()?;
    let modseq = lexer.number64()?;
    let (mut known, mut numbered) = (None, false);
    while lexer.take(b' ') {
        if lexer.take(b'(') {
            // Message numbers that match UIDs only spare VANISHED responses; without them the answer is longer, not wrong.
            lexer.sequence_set()?;
            lexer.space()?;
            lexer.sequence_set()?;
            lexer.expect(b')')?;
            numbered = true;
        } else {
            known = Some(lexer.sequence_set()?);
        }
    }
    lexer.expect(b')')?;
    Ok(Qresync { uidvalidity, modseq, known, numbered })
}

/// `create = "CREATE" SP mailbox [SP "(" "USE" SP "(" [use-attr *(SP use-attr)] ")" ")"]` (RFC 6154 §3)
pub fn create(lexer: &mut Lexer) -> Result<Command, Invalid> {
    let mailbox = lexer.mailbox_as_written()?;
    let mut special_use = Vec::new();
    if !lexer.at_end() {
        lexer.space()?;
        lexer.expect(b'(')?;
        if !lexer.take_word("USE") {
            return Err(Invalid::new("USE is the only parameter of CREATE."));
        }
        lexer.space()?;
        special_use = parenthesised(lexer, |lexer| {
            let name = attribute(lexer)?;
            SpecialUse::from_name(&name).ok_or(Invalid::with_code("There is no such special use.", "USEATTR"))
        })?;
        lexer.expect(b')')?;
    }
    Ok(Command::Create { mailbox, special_use })
}

fn attribute(lexer: &mut Lexer) -> Result<String, Invalid> {
    lexer.expect(b'\\')?;
    Ok(format!("\\{}", lexer.atom()?))
}

/// `status-att` in parentheses.
pub fn status_items(lexer: &mut Lexer) -> Result<Vec<StatusItem>, Invalid> {
    let items = parenthesised(lexer, |lexer| {
        Ok(match lexer.word()?.to_ascii_uppercase().as_str() {
            "MESSAGES" => StatusItem::Messages,
            "RECENT" => StatusItem::Recent,
            "UIDNEXT" => StatusItem::UidNext,
            "UIDVALIDITY" => StatusItem::UidValidity,
            "UNSEEN" => StatusItem::Unseen,
            "DELETED" => StatusItem::Deleted,
            "DELETED-STORAGE" => StatusItem::DeletedStorage,
            "SIZE" => StatusItem::Size,
            "HIGHESTMODSEQ" => StatusItem::HighestModSeq,
            "MAILBOXID" => StatusItem::MailboxId,
            "APPENDLIMIT" => StatusItem::AppendLimit,
            _ => return Err(Invalid::new("STATUS has no such item.")),
        })
    })?;
    if items.is_empty() { Err(Invalid::new("STATUS of what?")) } else { Ok(items) }
}

/// `list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]` (RFC 9051 §9)
pub fn list(lexer: &mut Lexer) -> Result<ListOptions, Invalid> {
    let mut list = ListOptions::default();
    if lexer.peek() == Some(b'(') {
        list.extended = true;
        let mut other = false;
        parenthesised(lexer, |lexer| {
            match lexer.word()?.to_ascii_uppercase().as_str() {
                "SUBSCRIBED" => list.subscribed = true,
                // There are no remote mailboxes; asking for them is no error.
                "REMOTE" => {}
                "RECURSIVEMATCH" => list.recursive_match = true,
                "SPECIAL-USE" => {
                    list.special_use = true;
                    other = true;
                }
                _ => return Err(Invalid::new("LIST has no such selection option.")),
            }
            Ok(())
        })?;
        if list.recursive_match && !list.subscribed && !other {
            return Err(Invalid::new("RECURSIVEMATCH needs another selection option beside it."));
        }
        lexer.space()?;
    }
    list.reference = lexer.mailbox()?;
    lexer.space()?;
    if lexer.peek() == Some(b'(') {
        list.extended = true;
        list.patterns = parenthesised(lexer, |lexer| lexer.list_mailbox())?;
    } else {
        list.patterns = vec![lexer.list_mailbox()?];
    }
    if !lexer.at_end() {
        lexer.space()?;
        if !lexer.take_word("RETURN") {
            return Err(Invalid::new("Only RETURN may follow the pattern of LIST."));
        }
        list.extended = true;
        lexer.space()?;
        list.returns = returns(lexer)?;
    }
    Ok(list)
}

fn returns(lexer: &mut Lexer) -> Result<ListReturn, Invalid> {
    let mut returns = ListReturn::default();
    lexer.expect(b'(')?;
    if lexer.take(b')') {
        return Ok(returns);
    }
    list_of(lexer, |lexer| {
        match lexer.word()?.to_ascii_uppercase().as_str() {
            "SUBSCRIBED" => returns.subscribed = true,
            "CHILDREN" => returns.children = true,
            "SPECIAL-USE" => returns.special_use = true,
            "MYRIGHTS" => returns.my_rights = true,
            "STATUS" => {
                lexer.space()?;
                returns.status = status_items(lexer)?;
            }
            _ => return Err(Invalid::new("LIST has no such return option.")),
        }
        Ok(())
    })?;
    lexer.expect(b')')?;
    Ok(returns)
}
