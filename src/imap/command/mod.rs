//! One complete command, literals in place, becomes a value (RFC 9051 §9 and the extensions that we announce). Pure.
//!
//! Nothing recurses deeper than [`MAX_DEPTH`]; every list has a bound, and the caller bounds the bytes of a command. APPEND is read in
//! pieces ([`append`]), because its messages are streamed.

pub mod append;
mod fetch;
pub(super) mod lexer;
mod mailbox;
mod metadata;
mod notify;
mod search;

use secrecy::SecretString;

pub(in crate::imap) use fetch::section;
pub use fetch::{FetchItem, FetchModifiers, HeaderFields, Section, SectionText};
pub use lexer::is_atom_char;
pub use mailbox::{ListOptions, ListReturn, MailboxName, Qresync, Select, SpecialUse, StatusItem};
pub use metadata::{Depth, GetMetadata};
pub use notify::{Events, Group, Mailboxes, Notify, SelectedEvents};
pub use search::{DateField, Key, ResultOption, Search, SortCriterion, SortKey, ThreadAlgorithm};

use super::flags::Flags;
use super::sequence::SequenceSet;
use lexer::Lexer;

/// Parentheses, NOTs and ORs within each other: people write two, programs ten.
pub const MAX_DEPTH: usize = 50;
/// Elements of any one list (keys, items, flags, patterns). mbsync and Outlook stay below 100.
pub const MAX_LIST: usize = 1000;

/// How a client writes names and strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dialect {
    /// Mailbox names are UTF-8: IMAP4rev2 or UTF8=ACCEPT was enabled.
    pub utf8: bool,
    /// All strings are UTF-8 and say so by themselves: UTF8=ACCEPT was enabled.
    pub utf8_strings: bool,
}

/// What is wrong, in words for the tagged BAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// A sentence.
    pub text: &'static str,
    /// `BADCHARSET` and such, if the answer is NO with this code rather than BAD.
    pub code: Option<&'static str>,
    /// It would have changed what `$` stands for (RFC 5182 §2.1).
    pub saves: bool,
}

impl Invalid {
    pub(in crate::imap) const fn new(text: &'static str) -> Self {
        Self { text, code: None, saves: false }
    }

    const fn with_code(text: &'static str, code: &'static str) -> Self {
        Self { text, code: Some(code), saves: false }
    }
}

/// STORE's three ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// A command with its arguments. `by_uid` says that it came with `UID` before it.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // the names are those of RFC 9051 §6
pub enum Command {
    Capability,
    Noop,
    Logout,
    Id(Vec<(String, Option<String>)>),
    Starttls,
    Authenticate { mechanism: String, initial: Option<Vec<u8>> },
    Login { user: String, password: SecretString },
    Enable(Vec<String>),
    Select(Select),
    Create { mailbox: MailboxName, special_use: Vec<SpecialUse> },
    Delete(String),
    Rename { from: String, to: MailboxName },
    Subscribe(String),
    Unsubscribe(String),
    List(ListOptions),
    Lsub { reference: String, pattern: String },
    Namespace,
    Status { mailbox: String, items: Vec<StatusItem> },
    Idle,
    Compress { mechanism: String },
    Unauthenticate,
    GetQuota(String),
    GetQuotaRoot(String),
    SetQuota,
    GetAcl(String),
    MyRights(String),
    ListRights { mailbox: String, identifier: String },
    GetMetadata(GetMetadata),
    SetMetadata { mailbox: String, values: Vec<(String, Option<Vec<u8>>)> },
    Notify(Notify),
    ChangeAcl,
    Check,
    Close,
    Unselect,
    Expunge { uids: Option<SequenceSet> },
    Search { search: Search, by_uid: bool },
    Sort { search: Search, criteria: Vec<SortCriterion>, by_uid: bool },
    Thread { search: Search, algorithm: ThreadAlgorithm, by_uid: bool },
    Fetch { set: SequenceSet, items: Vec<FetchItem>, modifiers: FetchModifiers, by_uid: bool },
    Store { set: SequenceSet, mode: StoreMode, silent: bool, flags: Flags, unchanged_since: Option<u64>, by_uid: bool },
    Copy { set: SequenceSet, mailbox: String, by_uid: bool },
    Move { set: SequenceSet, mailbox: String, by_uid: bool },
}

/// The tag at the start of a command, if there is one that can be repeated in the answer.
pub fn tag(command: &[u8]) -> Option<String> {
    let mut lexer = Lexer::new(command, Dialect::default());
    let tag = lexer.tag()?;
    (lexer.peek() == Some(b' ') && tag.is_ascii()).then(|| String::from_utf8_lossy(tag).into_owned())
}

/// `command = tag SP (command-any / command-auth / command-nonauth / command-select)`, without the final CRLF.
pub fn parse(command: &[u8], dialect: Dialect) -> Result<Command, Invalid> {
    let mut lexer = Lexer::new(command, dialect);
    lexer.tag().ok_or(Invalid::new("The tag is missing."))?;
    lexer.space()?;
    let name = lexer.atom().map_err(|_| Invalid::new("The command is missing."))?.to_ascii_uppercase();
    let parsed = if name == "UID" {
        lexer.space()?;
        let name = lexer.atom()?.to_ascii_uppercase();
        numbered(&name, &mut lexer, true)?
            .ok_or(Invalid::new("UID goes before FETCH, STORE, SEARCH, COPY, MOVE, EXPUNGE, SORT or THREAD."))?
    } else {
        match numbered(&name, &mut lexer, false)? {
            Some(command) => command,
            None => plain(&name, &mut lexer)?,
        }
    };
    lexer.end()?;
    Ok(parsed)
}

/// Commands without a form that takes UIDs.
fn plain(name: &str, lexer: &mut Lexer) -> Result<Command, Invalid> {
    Ok(match name {
        "CAPABILITY" => Command::Capability,
        "NOOP" => Command::Noop,
        "LOGOUT" => Command::Logout,
        "STARTTLS" => Command::Starttls,
        "NAMESPACE" => Command::Namespace,
        "IDLE" => Command::Idle,
        "CHECK" => Command::Check,
        "CLOSE" => Command::Close,
        "UNSELECT" => Command::Unselect,
        "UNAUTHENTICATE" => Command::Unauthenticate,
        _ => {
            // What is not known is said before what is missing after it.
            if !WITH_ARGUMENTS.contains(&name) {
                return Err(Invalid::new("There is no such command."));
            }
            lexer.space()?;
            with_arguments(name, lexer)?
        }
    })
}

const WITH_ARGUMENTS: [&str; 27] = [
    "ID",
    "AUTHENTICATE",
    "LOGIN",
    "ENABLE",
    "SELECT",
    "EXAMINE",
    "CREATE",
    "DELETE",
    "RENAME",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "LIST",
    "LSUB",
    "STATUS",
    "GETQUOTA",
    "GETQUOTAROOT",
    "SETQUOTA",
    "COMPRESS",
    "GETACL",
    "MYRIGHTS",
    "LISTRIGHTS",
    "SETACL",
    "DELETEACL",
    "GETMETADATA",
    "SETMETADATA",
    "NOTIFY",
    "APPEND",
];

fn with_arguments(name: &str, lexer: &mut Lexer) -> Result<Command, Invalid> {
    Ok(match name {
        "ID" => Command::Id(id(lexer)?),
        "AUTHENTICATE" => {
            let mechanism = lexer.atom()?.to_ascii_uppercase();
            let initial = if lexer.take(b' ') { Some(lexer.rest().to_vec()) } else { None };
            if initial.is_some() {
                *lexer = Lexer::new(b"", lexer.dialect);
            }
            Command::Authenticate { mechanism, initial }
        }
        "COMPRESS" => Command::Compress { mechanism: lexer.atom()?.to_ascii_uppercase() },
        "LOGIN" => {
            let user = lexer.astring_text()?;
            lexer.space()?;
            let password = SecretString::from(lexer.astring_text()?);
            Command::Login { user, password }
        }
        "ENABLE" => Command::Enable(list(lexer, |lexer| Ok(lexer.atom()?.to_ascii_uppercase()))?),
        "SELECT" => Command::Select(mailbox::select(lexer, false)?),
        "EXAMINE" => Command::Select(mailbox::select(lexer, true)?),
        "CREATE" => mailbox::create(lexer)?,
        "DELETE" => Command::Delete(lexer.mailbox()?),
        "RENAME" => {
            let from = lexer.mailbox()?;
            lexer.space()?;
            Command::Rename { from, to: lexer.mailbox_as_written()? }
        }
        "SUBSCRIBE" => Command::Subscribe(lexer.mailbox()?),
        "UNSUBSCRIBE" => Command::Unsubscribe(lexer.mailbox()?),
        "LIST" => Command::List(mailbox::list(lexer)?),
        "LSUB" => {
            let reference = lexer.mailbox()?;
            lexer.space()?;
            Command::Lsub { reference, pattern: lexer.list_mailbox()? }
        }
        "STATUS" => {
            let mailbox = lexer.mailbox()?;
            lexer.space()?;
            Command::Status { mailbox, items: mailbox::status_items(lexer)? }
        }
        "GETQUOTA" => Command::GetQuota(lexer.astring_text()?),
        "GETQUOTAROOT" => Command::GetQuotaRoot(lexer.mailbox()?),
        "GETACL" => Command::GetAcl(lexer.mailbox()?),
        "MYRIGHTS" => Command::MyRights(lexer.mailbox()?),
        "LISTRIGHTS" => {
            let mailbox = lexer.mailbox()?;
            lexer.space()?;
            Command::ListRights { mailbox, identifier: lexer.astring_text()? }
        }
        "GETMETADATA" => metadata::get(lexer)?,
        "SETMETADATA" => metadata::set(lexer)?,
        "NOTIFY" => Command::Notify(notify::notify(lexer)?),
        "SETQUOTA" | "SETACL" | "DELETEACL" => {
            *lexer = Lexer::new(b"", lexer.dialect);
            if name == "SETQUOTA" { Command::SetQuota } else { Command::ChangeAcl }
        }
        _ => return Err(Invalid::new("The message of APPEND is missing.")),
    })
}

/// Commands that name messages.
fn numbered(name: &str, lexer: &mut Lexer, by_uid: bool) -> Result<Option<Command>, Invalid> {
    Ok(Some(match name {
        "EXPUNGE" if by_uid => {
            lexer.space()?;
            Command::Expunge { uids: Some(lexer.sequence_set()?) }
        }
        "EXPUNGE" => Command::Expunge { uids: None },
        "SEARCH" => {
            lexer.space()?;
            Command::Search { search: search::search(lexer)?, by_uid }
        }
        "SORT" => {
            lexer.space()?;
            let (criteria, search) = search::sort(lexer)?;
            Command::Sort { search, criteria, by_uid }
        }
        "THREAD" => {
            lexer.space()?;
            let (algorithm, search) = search::thread(lexer)?;
            Command::Thread { search, algorithm, by_uid }
        }
        "FETCH" | "STORE" | "COPY" | "MOVE" => {
            lexer.space()?;
            let set = lexer.sequence_set()?;
            lexer.space()?;
            match name {
                "FETCH" => {
                    let (items, modifiers) = fetch::items(lexer)?;
                    Command::Fetch { set, items, modifiers, by_uid }
                }
                "STORE" => store(lexer, set, by_uid)?,
                "COPY" => Command::Copy { set, mailbox: lexer.mailbox()?, by_uid },
                _ => Command::Move { set, mailbox: lexer.mailbox()?, by_uid },
            }
        }
        _ => return Ok(None),
    }))
}

/// `store = "STORE" SP sequence-set [SP "(" store-modifier ")"] SP store-att-flags` (RFC 7162 §3.1.3)
fn store(lexer: &mut Lexer, set: SequenceSet, by_uid: bool) -> Result<Command, Invalid> {
    let mut unchanged_since = None;
    if lexer.take(b'(') {
        if !lexer.take_word("UNCHANGEDSINCE") {
            return Err(Invalid::new("UNCHANGEDSINCE is the only modifier of STORE."));
        }
        lexer.space()?;
        unchanged_since = Some(lexer.number64()?);
        lexer.expect(b')')?;
        lexer.space()?;
    }
    let mode = if lexer.take(b'+') {
        StoreMode::Add
    } else if lexer.take(b'-') {
        StoreMode::Remove
    } else {
        StoreMode::Replace
    };
    let silent = match lexer.word()?.to_ascii_uppercase().as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        _ => return Err(Invalid::new("STORE changes FLAGS and nothing else.")),
    };
    lexer.space()?;
    Ok(Command::Store { set, mode, silent, flags: flags(lexer)?, unchanged_since, by_uid })
}

/// `flag-list / (flag *(SP flag))`
fn flags(lexer: &mut Lexer) -> Result<Flags, Invalid> {
    let mut flags = Flags::default();
    let mut one = |lexer: &mut Lexer| {
        let system = lexer.take(b'\\');
        let name = lexer.atom()?;
        let name = if system { format!("\\{name}") } else { name.to_owned() };
        flags.insert(&name).map_err(Invalid::new)
    };
    if lexer.take(b'(') {
        if !lexer.take(b')') {
            list(lexer, one)?;
            lexer.expect(b')')?;
        }
    } else {
        list(lexer, &mut one)?;
    }
    Ok(flags)
}

/// `element *(SP element)`, at most [`MAX_LIST`] of them.
fn list<T>(lexer: &mut Lexer, mut element: impl FnMut(&mut Lexer) -> Result<T, Invalid>) -> Result<Vec<T>, Invalid> {
    let mut elements = vec![element(lexer)?];
    while !lexer.at_end() && lexer.take(b' ') {
        if elements.len() == MAX_LIST {
            return Err(Invalid::new("This list is too long."));
        }
        elements.push(element(lexer)?);
    }
    Ok(elements)
}

/// `"(" [element *(SP element)] ")"`
fn parenthesised<T>(lexer: &mut Lexer, element: impl FnMut(&mut Lexer) -> Result<T, Invalid>) -> Result<Vec<T>, Invalid> {
    lexer.expect(b'(')?;
    if lexer.take(b')') {
        return Ok(Vec::new());
    }
    let elements = list(lexer, element)?;
    lexer.expect(b')')?;
    Ok(elements)
}

/// `id-params-list = "(" *(string SP nstring) ")" / nil` (RFC 2971 §4)
fn id(lexer: &mut Lexer) -> Result<Vec<(String, Option<String>)>, Invalid> {
    if lexer.take_word("NIL") {
        return Ok(Vec::new());
    }
    parenthesised(lexer, |lexer| {
        let field = lexer.astring()?;
        lexer.space()?;
        let value = lexer.nstring()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(&field), value.map(|value| text(&value))))
    })
}

#[cfg(test)]
mod tests;
