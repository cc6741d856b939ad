//! What fetches ask the ledger, and tell it of messages that are listed or not, begun, deleted or renamed. What they store enters with its
//! arrival.

use super::{Attempts, Counts, Entry, Source, State, UpstreamId, find, find_or_make};
use crate::store::{ContentId, SMALL, Store, StoreError, Work, now, trace};
use rusqlite::{Connection, OptionalExtension, params};

impl Store {
    /// Everything about a source but what is gone: what a listing is compared with.
    pub async fn ledger(&self, source: &Source) -> Result<Vec<Entry>, StoreError> {
        self.ledger_read(source, vec![], move |connection, source| {
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
        self.ledger_read(source, false, move |connection, source| {
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
        self.ledger_read(source, vec![], move |connection, source| {
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
        self.ledger_write(source, move |work, source| {
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
        self.ledger_write(source, move |work, source| {
            let mut update = work.connection.prepare_cached(
                "UPDATE ledger SET attempts = attempts - 1 WHERE source = ?1 AND uid = ?2 AND ordinal = ?3 AND attempts > 0",
            )?;
            for (uid, ordinal) in &ids {
                update.execute(params![source, uid, ordinal])?;
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
        self.ledger_write(source, move |work, source| {
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
        self.ledger_write(source, move |work, source| {
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
        let host = source.host.clone();
        self.ledger_write(source, move |work, source| {
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
        self.ledger_write(source, move |work, source| {
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
        self.ledger_write(source, move |work, source| {
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
        self.ledger_write(source, move |work, source| {
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
        self.ledger_read(source, Counts::default(), move |connection, source| {
            let mut counts = Counts::default();
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
        let id = id.clone();
        self.ledger_read(source, None, move |connection, source| {
            let mut select = connection.prepare_cached("SELECT content FROM ledger WHERE source = ?1 AND uid = ?2 AND ordinal = ?3")?;
            let content: Option<Option<i64>> = select.query_row(params![source, id.0, id.1], |row| row.get(0)).optional()?;
            Ok(content.flatten().map(ContentId))
        })
        .await
    }

    /// Reads what the ledger knows of a source; `unknown` if that was never listed.
    async fn ledger_read<T: Send + 'static>(
        &self,
        source: &Source,
        unknown: T,
        read: impl FnOnce(&Connection, i64) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let source = source.clone();
        self.read(move |connection| match find(connection, &source)? {
            Some(source) => read(connection, source),
            None => Ok(unknown),
        })
        .await
    }

    /// Writes about a source, which counts as listed from then on.
    async fn ledger_write<T: Send + 'static>(
        &self,
        source: &Source,
        write: impl Fn(&mut Work<'_>, i64) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let source = source.clone();
        self.write(SMALL, move |work| {
            let source = find_or_make(work, &source)?;
            write(work, source)
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
