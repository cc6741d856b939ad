//! Every upstream message ever seen and what became of it, per (host, login, folder).
//!
//! `attempted` is a message that was in flight when something ended badly; it is not here, and its row goes when it is no longer listed.
//! `stored → delete_sent → gone`; `known` is mail that was there before `start`, and is `gone`, without an outcome, when it is no longer
//! listed. Rows that are `gone` are kept 400 days, the others as long as they are listed. What is listed again is what it was before only
//! if it is the same message: servers use ids again.

use super::{ContentId, SMALL, Store, StoreError, now, trace};
use rusqlite::{Connection, OptionalExtension, params};

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

impl Store {
    /// Everything about a source but what is gone: what a listing is compared with.
    pub async fn ledger(&self, source: &Source) -> Result<Vec<Entry>, StoreError> {
        let source = source.clone();
        self.read(move |connection| {
            let Some(source) = find(connection, &source)? else { return Ok(vec![]) };
            let mut select = connection.prepare_cached(&format!(
                "{SELECT} WHERE source = ?1 AND state IN ('attempted', 'known', 'stored', 'delete_sent') ORDER BY uid, ordinal"
            ))?;
            Ok(select.query_map([source], entry)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The same, entry by entry, for mailboxes of any size: `each` sees them in no particular order, and `state` comes back.
    pub async fn ledger_each<T: Send + 'static>(
        &self,
        source: &Source,
        mut state: T,
        each: impl Fn(&mut T, Entry) + Send + 'static,
    ) -> Result<T, StoreError> {
        let source = source.clone();
        self.read(move |connection| {
            let Some(source) = find(connection, &source)? else { return Ok(state) };
            let mut select = connection
                .prepare_cached(&format!("{SELECT} WHERE source = ?1 AND state IN ('attempted', 'known', 'stored', 'delete_sent')"))?;
            for found in select.query_map([source], entry)? {
                each(&mut state, found?);
            }
            Ok(state)
        })
        .await
    }

    /// Whether nothing is to be done about `listed` messages if they are the same as last time: as many are stored or known, no other is
    /// open, no stub's original is wanted, and none was stored by `due` unless its outcome is one of `staying`.
    pub async fn ledger_is_at_rest(
        &self,
        source: &Source,
        listed: u64,
        due: Option<i64>,
        staying: [&'static str; 3],
    ) -> Result<bool, StoreError> {
        let source = source.clone();
        self.read(move |connection| {
            let Some(source) = find(connection, &source)? else { return Ok(false) };
            let mut select = connection.prepare_cached(
                "SELECT count(*) FILTER (WHERE state IN ('stored', 'known')),
                        count(*) FILTER (WHERE state IN ('attempted', 'delete_sent') OR wanted IS NOT NULL
                                            OR (state = 'stored' AND stored <= ?2 AND outcome NOT IN (?3, ?4, ?5)))
                 FROM ledger WHERE source = ?1",
            )?;
            let (at_rest, open): (u64, u64) =
                select.query_row(params![source, due, staying[0], staying[1], staying[2]], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(at_rest == listed && open == 0)
        })
        .await
    }

    /// Those of the given ids that are gone: asked before something new in a listing is fetched.
    pub async fn ledger_gone(&self, source: &Source, ids: Vec<UpstreamId>) -> Result<Vec<Entry>, StoreError> {
        let source = source.clone();
        self.read(move |connection| {
            let Some(source) = find(connection, &source)? else { return Ok(vec![]) };
            let mut any = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM ledger WHERE source = ?1 AND state = 'gone')")?;
            if !any.query_row([source], |row| row.get(0))? {
                return Ok(vec![]);
            }
            let mut select =
                connection.prepare_cached(&format!("{SELECT} WHERE source = ?1 AND uid = ?2 AND ordinal = ?3 AND state = 'gone'"))?;
            let mut gone = Vec::new();
            for (uid, ordinal) in &ids {
                gone.extend(select.query_row(params![source, uid, ordinal], entry).optional()?);
            }
            Ok(gone)
        })
        .await
    }

    /// Whether the source was ever listed.
    pub async fn ledger_is_new(&self, source: &Source) -> Result<bool, StoreError> {
        let source = source.clone();
        self.read(move |connection| Ok(find(connection, &source)?.is_none())).await
    }

    /// Counts one more attempt for each of these, durably, before their bytes are asked for. The counts, in order.
    pub async fn ledger_attempt(&self, source: &Source, ids: Vec<UpstreamId>) -> Result<Vec<Attempts>, StoreError> {
        let source = source.clone();
        self.write(SMALL, move |work| {
            let source = find_or_make(work, &source)?;
            let mut count = work.connection.prepare_cached(
                "INSERT INTO ledger (source, uid, ordinal, state, attempts, first_seen, changed) VALUES (?1, ?2, ?3, 'attempted', 1, ?4, ?4)
                 ON CONFLICT DO UPDATE SET attempts = attempts + 1 RETURNING attempts, first_seen",
            )?;
            let now = now();
            let attempts = |row: &rusqlite::Row<'_>| Ok(Attempts { count: row.get(0)?, since: row.get(1)? });
            let counts = ids.iter().map(|(uid, ordinal)| count.query_row(params![source, uid, ordinal, now], attempts));
            Ok(counts.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The connection broke through no fault of theirs: takes the count of the last attempt back.
    pub async fn ledger_forgive(&self, source: &Source, ids: Vec<UpstreamId>) -> Result<(), StoreError> {
        let source = source.clone();
        self.write(SMALL, move |work| {
            let source = find_or_make(work, &source)?;
            for (uid, ordinal) in &ids {
                work.prepare_cached(
                    "UPDATE ledger SET attempts = attempts - 1 WHERE source = ?1 AND uid = ?2 AND ordinal = ?3 AND attempts > 0",
                )?
                .execute(params![source, uid, ordinal])?;
            }
            Ok(())
        })
        .await
    }

    /// Came in a session whose answers slipped: nobody can say whose bytes they were. To be fetched again, unless [`Store::ledger_trust`]
    /// follows.
    pub async fn ledger_doubt(&self, source: &Source, ids: Vec<UpstreamId>) -> Result<(), StoreError> {
        self.ledger_turn(source, ids, State::Stored, State::Attempted).await
    }

    /// Takes [`Store::ledger_doubt`] back.
    pub async fn ledger_trust(&self, source: &Source, ids: Vec<UpstreamId>) -> Result<(), StoreError> {
        self.ledger_turn(source, ids, State::Attempted, State::Stored).await
    }

    async fn ledger_turn(&self, source: &Source, ids: Vec<UpstreamId>, from: State, to: State) -> Result<(), StoreError> {
        let source = source.clone();
        self.write(SMALL, move |work| {
            let source = find_or_make(work, &source)?;
            let mut update = work.connection.prepare_cached(
                "UPDATE ledger SET state = ?5, attempts = 0, changed = ?6 WHERE source = ?1 AND uid = ?2 AND ordinal = ?3 AND state = ?4",
            )?;
            for (uid, ordinal) in &ids {
                update.execute(params![source, uid, ordinal, from.as_str(), to.as_str(), now()])?;
            }
            Ok(())
        })
        .await
    }

    /// Enters mail as seen without fetching it (`start`). With no ids, the source still counts as listed.
    pub async fn ledger_enter_known(&self, source: &Source, ids: Vec<UpstreamId>) -> Result<(), StoreError> {
        let source = source.clone();
        self.write(SMALL, move |work| {
            let source = find_or_make(work, &source)?;
            let mut insert = work.connection.prepare_cached(
                "INSERT INTO ledger (source, uid, ordinal, state, first_seen, changed) VALUES (?1, ?2, ?3, 'known', ?4, ?4)
                 ON CONFLICT DO NOTHING",
            )?;
            for (uid, ordinal) in &ids {
                insert.execute(params![source, uid, ordinal, now()])?;
            }
            Ok(())
        })
        .await
    }

    /// Sets the state of many: [`State::DeleteSent`] when deletion was asked for, [`State::Gone`] when they are no longer listed.
    pub async fn ledger_mark(&self, source: &Source, ids: Vec<UpstreamId>, state: State) -> Result<(), StoreError> {
        let (source, host) = (source.clone(), source.host.clone());
        self.write(SMALL, move |work| {
            let source = find_or_make(work, &source)?;
            let mut update = work.connection.prepare_cached(
                // What is not here is neither deleted nor gone.
                "UPDATE ledger SET state = ?4, changed = ?5 WHERE source = ?1 AND uid = ?2 AND ordinal = ?3 AND state <> ?4
                 AND (outcome <> '' OR (state = 'known' AND ?4 = 'gone'))",
            )?;
            let told = match state {
                State::DeleteSent => Some(("deleting", format!("{host} was asked to delete it"))),
                State::Gone => Some(("gone", format!("it is no longer at {host}"))),
                _ => None,
            };
            let mut select =
                work.connection.prepare_cached("SELECT content FROM ledger WHERE source = ?1 AND uid = ?2 AND ordinal = ?3")?;
            for (uid, ordinal) in &ids {
                let changed = update.execute(params![source, uid, ordinal, state.as_str(), now()])? > 0;
                let content: Option<i64> = select.query_row(params![source, uid, ordinal], |row| row.get(0)).optional()?.flatten();
                if let (true, Some(content), Some((event, detail))) = (changed, content, &told) {
                    trace::about(work, ContentId(content), event, detail.clone())?;
                }
            }
            Ok(())
        })
        .await
    }

    /// They are listed again after they had gone, or with another size, and are the same messages: what was there before `start` is known, the
    /// others are stored.
    pub async fn ledger_return(&self, source: &Source, ids: Vec<(UpstreamId, Option<u64>)>) -> Result<(), StoreError> {
        let source = source.clone();
        self.write(SMALL, move |work| {
            let source = find_or_make(work, &source)?;
            let mut update = work.connection.prepare_cached(
                "UPDATE ledger SET state = CASE WHEN outcome = '' THEN 'known' ELSE 'stored' END, size = ifnull(?4, size), changed = ?5
                 WHERE source = ?1 AND uid = ?2 AND ordinal = ?3 AND state IN ('gone', 'stored')",
            )?;
            for ((uid, ordinal), size) in &ids {
                update.execute(params![source, uid, ordinal, size, now()])?;
            }
            Ok(())
        })
        .await
    }

    /// Whatever has these ids from now on is new.
    pub async fn ledger_forget(&self, source: &Source, ids: Vec<UpstreamId>) -> Result<(), StoreError> {
        let source = source.clone();
        self.write(SMALL, move |work| {
            let source = find_or_make(work, &source)?;
            let mut delete = work.connection.prepare_cached("DELETE FROM ledger WHERE source = ?1 AND uid = ?2 AND ordinal = ?3")?;
            for (uid, ordinal) in &ids {
                delete.execute(params![source, uid, ordinal])?;
            }
            Ok(())
        })
        .await
    }

    /// The server gave all its messages new ids: (old, new).
    pub async fn ledger_rename(&self, source: &Source, ids: Vec<(UpstreamId, UpstreamId)>) -> Result<(), StoreError> {
        let source = source.clone();
        self.write(SMALL, move |work| {
            let source = find_or_make(work, &source)?;
            let mut replace = work.connection.prepare_cached("DELETE FROM ledger WHERE source = ?1 AND uid = ?2 AND ordinal = ?3")?;
            let mut update = work
                .connection
                .prepare_cached("UPDATE ledger SET uid = ?4, ordinal = ?5 WHERE source = ?1 AND uid = ?2 AND ordinal = ?3")?;
            // By way of names that no server gives, since an old id may be another message's new one.
            let aside = |uid: &str| format!("\u{1}{uid}");
            for ((uid, ordinal), (new, new_ordinal)) in &ids {
                update.execute(params![source, uid, ordinal, aside(new), new_ordinal])?;
            }
            for (_, (new, ordinal)) in &ids {
                replace.execute(params![source, new, ordinal])?;
                update.execute(params![source, aside(new), ordinal, new, ordinal])?;
            }
            Ok(())
        })
        .await
    }

    /// For reconciliation and `status`.
    pub async fn ledger_counts(&self, source: &Source) -> Result<Counts, StoreError> {
        let source = source.clone();
        self.read(move |connection| {
            let mut counts = Counts::default();
            let Some(source) = find(connection, &source)? else { return Ok(counts) };
            let mut select = connection.prepare_cached("SELECT state, count(*) FROM ledger WHERE source = ?1 GROUP BY state")?;
            let mut rows = select.query([source])?;
            while let Some(row) = rows.next()? {
                let count = row.get(1)?;
                match State::parse(&row.get::<_, String>(0)?) {
                    State::Attempted => counts.attempted = count,
                    State::Known => counts.known = count,
                    State::Stored => counts.stored = count,
                    State::DeleteSent => counts.delete_sent = count,
                    State::Gone => counts.gone = count,
                }
            }
            Ok(counts)
        })
        .await
    }

    /// The stored original of an upstream message.
    pub async fn ledger_content(&self, source: &Source, id: &UpstreamId) -> Result<Option<ContentId>, StoreError> {
        let (source, id) = (source.clone(), id.clone());
        self.read(move |connection| {
            let Some(source) = find(connection, &source)? else { return Ok(None) };
            let mut select = connection.prepare_cached("SELECT content FROM ledger WHERE source = ?1 AND uid = ?2 AND ordinal = ?3")?;
            let content: Option<Option<i64>> = select.query_row(params![source, id.0, id.1], |row| row.get(0)).optional()?;
            Ok(content.flatten().map(ContentId))
        })
        .await
    }
}

const SELECT: &str = "SELECT uid, ordinal, state, outcome, size, fingerprint, attempts, first_seen, stored, changed, wanted FROM ledger";

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        uid: row.get(0)?,
        ordinal: row.get(1)?,
        state: State::parse(&row.get::<_, String>(2)?),
        outcome: row.get(3)?,
        size: row.get(4)?,
        fingerprint: row.get(5)?,
        attempts: row.get(6)?,
        first_seen: row.get(7)?,
        stored: row.get(8)?,
        changed: row.get(9)?,
        wanted: row.get(10)?,
    })
}

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

/// Whether this message was sent on already, before doubt arose whose bytes had come under its id ([`Store::ledger_doubt`]); inside a
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
