//! Every upstream message ever seen and what became of it, per (host, login, folder).
//!
//! `attempted` is a message that was in flight when something ended badly; it is not here, and its row goes when it is no longer listed.
//! `stored → delete_sent → gone`; `known` is mail that was there before `start`, and is `gone`, without an outcome, when it is no longer
//! listed. Rows that are `gone` are kept 400 days, the others as long as they are listed. What is listed again is what it was before only
//! if it is the same message: servers use ids again.

use super::{ContentId, StoreError, now};
use rusqlite::{Connection, OptionalExtension, params};

mod fetches;

/// Which upstream mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// Lower case.
    pub host: String,
    /// Whose mailbox is opened, as configured.
    pub login: String,
    /// IMAP folder; `INBOX` for POP3.
    pub folder: String,
}

/// What tells upstream messages of one source apart: UIDL or `UIDVALIDITY.UID`, and an ordinal from 0 for equal ones in one listing.
pub type UpstreamId = (String, u32);

/// What the ledger learns with an arrival.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which upstream mailbox.
    pub source: Source,
    /// UIDL, or `UIDVALIDITY.UID`.
    pub uid: String,
    /// Tells equal UIDLs of one listing apart, from 0.
    pub ordinal: u32,
    /// As the upstream announced it; 0 if it did not.
    pub size: u64,
    /// Recognises the message if all ids change: a hash over its header and size, made by the fetcher.
    pub fingerprint: Option<String>,
    /// delivered, forwarded, held, duplicate, stub, discarded, remote, quarantined.
    pub outcome: String,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Its fetch began and did not end.
    Attempted,
    /// There before `start`: entered as seen, not fetched.
    Known,
    /// Safely here.
    Stored,
    /// And deletion was asked for upstream.
    DeleteSent,
    /// No longer listed.
    Gone,
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// UIDL, or `UIDVALIDITY.UID`.
    pub uid: String,
    /// Tells equal ones of one listing apart.
    pub ordinal: u32,
    /// How far it is.
    pub state: State,
    /// What became of it; empty for attempted and known ones.
    pub outcome: String,
    /// As announced.
    pub size: u64,
    /// See [`Row::fingerprint`].
    pub fingerprint: Option<String>,
    /// Fetches that ended badly.
    pub attempts: u32,
    /// First entered.
    pub first_seen: i64,
    /// Stored at; what `after = "7d"` counts from.
    pub stored: Option<i64>,
    /// When it entered its state.
    pub changed: i64,
    /// Of a stub: somebody asked for the original; the mailbox that gets it, or '' for whom the mapping says.
    pub wanted: Option<String>,
}

/// How often a message was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// This time included.
    pub count: u32,
    /// When it was first seen.
    pub since: i64,
}

/// How many messages of a source are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// [`State::Attempted`]
    pub attempted: u64,
    /// [`State::Known`]
    pub known: u64,
    /// [`State::Stored`]
    pub stored: u64,
    /// [`State::DeleteSent`]
    pub delete_sent: u64,
    /// [`State::Gone`]
    pub gone: u64,
}

impl State {
    const ALL: [State; 5] = [State::Attempted, State::Known, State::Stored, State::DeleteSent, State::Gone];

    /// As the database writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Attempted => "attempted",
            State::Known => "known",
            State::Stored => "stored",
            State::DeleteSent => "delete_sent",
            State::Gone => "gone",
        }
    }

    fn parse(text: &str) -> State {
        Self::ALL.into_iter().find(|state| state.as_str() == text).unwrap_or(State::Attempted)
    }
}

/// An outcome: only the header is here, the message may be stored again.
const STUB: &str = "stub";

fn find(connection: &Connection, source: &Source) -> Result<Option<i64>, StoreError> {
    let mut select = connection.prepare_cached("SELECT id FROM source WHERE host = ?1 AND login = ?2 AND folder = ?3")?;
    Ok(select.query_row([&source.host, &source.login, &source.folder], |row| row.get(0)).optional()?)
}

fn find_or_make(connection: &Connection, source: &Source) -> Result<i64, StoreError> {
    if let Some(id) = find(connection, source)? {
        return Ok(id);
    }
    let mut insert = connection.prepare_cached("INSERT INTO source (host, login, folder) VALUES (?1, ?2, ?3)")?;
    Ok(insert.insert([&source.host, &source.login, &source.folder])?)
}

/// Whether a message may be stored under this row, inside a transaction: the row's source, unless it is safely here already.
pub fn admit(connection: &Connection, row: &Row) -> Result<i64, StoreError> {
    let source = find_or_make(connection, &row.source)?;
    let mut select = connection.prepare_cached("SELECT state, outcome FROM ledger WHERE source = ?1 AND uid = ?2 AND ordinal = ?3")?;
    let before: Option<(String, String)> =
        select.query_row(params![source, row.uid, row.ordinal], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match before {
        Some((state, outcome)) if matches!(State::parse(&state), State::Stored | State::DeleteSent) && outcome != STUB => {
            Err(StoreError::Conflict(format!("the message {} of {} is stored already", row.uid, row.source.login)))
        }
        _ => Ok(source),
    }
}

/// The header that stands for this message in the tray, if the ledger has it as a stub; inside a transaction.
pub fn stub_of(connection: &Connection, source: i64, row: &Row) -> Result<Option<ContentId>, StoreError> {
    let mut select =
        connection.prepare_cached("SELECT content FROM ledger WHERE source = ?1 AND uid = ?2 AND ordinal = ?3 AND outcome = 'stub'")?;
    let content: Option<Option<i64>> = select.query_row(params![source, row.uid, row.ordinal], |row| row.get(0)).optional()?;
    Ok(content.flatten().map(ContentId))
}

/// Whether this message was sent on already, before doubt arose whose bytes had come under its id ([`super::Store::ledger_doubt`]); inside a
/// transaction.
pub fn sent_on_before(connection: &Connection, source: i64, row: &Row) -> Result<bool, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM ledger JOIN trace ON trace.content = ledger.content
                        WHERE source = ?1 AND uid = ?2 AND ordinal = ?3 AND state = 'attempted' AND trace.event = 'forwarded')",
    )?;
    Ok(select.query_row(params![source, row.uid, row.ordinal], |row| row.get(0))?)
}

/// Notes that somebody wants the original of which this header is here; false if it is no longer upstream. Inside a transaction.
pub fn want(connection: &Connection, header: ContentId, mailbox: &str) -> Result<bool, StoreError> {
    let mut update = connection.prepare_cached(
        "UPDATE ledger SET wanted = ?2, attempts = 0
         WHERE source IN (SELECT id FROM source) AND state = 'stored' AND content = ?1 AND outcome = 'stub'",
    )?;
    Ok(update.execute(params![header.0, mailbox])? > 0)
}

/// The message is safely here, inside the same transaction.
pub fn enter(connection: &Connection, source: i64, row: &Row, outcome: &str, content: ContentId) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO ledger (source, uid, ordinal, state, outcome, size, fingerprint, content, first_seen, stored, changed)
             VALUES (?1, ?2, ?3, 'stored', ?4, ?5, ?6, ?7, ?8, ?8, ?8)
             ON CONFLICT DO UPDATE SET state = 'stored', outcome = ?4, size = ?5, fingerprint = ?6, content = ?7, stored = ?8, changed = ?8,
                                       wanted = NULL",
        )?
        .execute(params![source, row.uid, row.ordinal, outcome, row.size, row.fingerprint, content.0, now()])?;
    Ok(())
}
