//! Who is away, who was told so, and who gets copies of whose mail.

use super::{AccountId, Change, DAY, SMALL, Store, StoreError, Work, accounts, now};
use crate::mapping::Mailbox;
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

/// A sender hears of it once in so many days (RFC 5230 §4.2).
const TOLD_DAYS: i64 = 7;

/// A user who is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// Who.
    pub user: String,
    /// From when on, milliseconds since 1970; `None`: already.
    pub starts: Option<i64>,
    /// Until when; `None`: until it is switched off.
    pub ends: Option<i64>,
    /// What the reply says; `None`: the usual words.
    pub text: Option<String>,
}

/// Somebody who gets copies of a user's mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// Whose mail.
    pub user: String,
    /// Who gets it too.
    pub reader: String,
    /// Until when, milliseconds since 1970; `None`: until it is switched off.
    pub ends: Option<i64>,
}

/// An automatic reply that is due: it is sent only if this sender has not been told lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Who is away.
    pub user: String,
    /// Who is told, as a key.
    pub sender: String,
}

impl Away {
    /// Whether the user is away at this time.
    pub fn holds(&self, now: i64) -> bool {
        self.starts.is_none_or(|starts| starts <= now) && self.ends.is_none_or(|ends| now < ends)
    }
}

/// Who is away, as it was read last: every mail asks, and it hardly ever changes.
pub struct Known(Mutex<Last>);

struct Last {
    changes: Receiver<Change>,
    /// How often something changed that may concern it.
    version: u64,
    away: Option<Arc<[Away]>>,
}

impl Known {
    /// Nothing is known yet; what changes afterwards is heard of from there.
    pub fn new(changes: Receiver<Change>) -> Known {
        Known(Mutex::new(Last { changes, version: 0, away: None }))
    }

    fn now(&self) -> MutexGuard<'_, Last> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match last.changes.try_recv() {
                Ok(Change::Users | Change::Anything) | Err(TryRecvError::Lagged(_)) => {
                    last.version += 1;
                    last.away = None;
                }
                Ok(_) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return last,
            }
        }
    }
}

impl Store {
    /// Everybody who is, was or will be away and has not switched it off. What another process changes is seen as soon as its
    /// [`Change::Anything`] is.
    pub async fn vacations(&self) -> Result<Arc<[Away]>, StoreError> {
        let version = {
            let last = self.0.away.now();
            if let Some(away) = &last.away {
                return Ok(away.clone());
            }
            last.version
        };
        let away: Arc<[Away]> = self.read(vacations).await?.into();
        let mut last = self.0.away.now();
        // Otherwise it may have been read before what has changed meanwhile.
        if last.version == version {
            last.away = Some(away.clone());
        }
        Ok(away)
    }

    /// Switches a user's automatic reply on, or (`None`) off. Nobody counts as told any more.
    pub async fn vacation_set(&self, id: AccountId, away: Option<Away>) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            work.prepare_cached("DELETE FROM vacation WHERE account = ?1")?.execute([id.0])?;
            work.prepare_cached("DELETE FROM vacation_told WHERE account = ?1")?.execute([id.0])?;
            if let Some(away) = &away {
                work.prepare_cached("INSERT INTO vacation (account, starts, ends, text) VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                    id.0,
                    away.starts,
                    away.ends,
                    away.text
                ])?;
            }
            work.changed(Change::Users);
            Ok(())
        })
        .await
    }

    /// Who gets copies of whose mail.
    pub async fn copy_readers(&self) -> Result<Vec<Copies>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT whose.name, reader.name, ends FROM copy JOIN account whose ON whose.id = copy.account
                 JOIN account reader ON reader.id = copy.reader ORDER BY whose.name, reader.name",
            )?;
            let copies = |row: &rusqlite::Row<'_>| Ok(Copies { user: row.get(0)?, reader: row.get(1)?, ends: row.get(2)? });
            Ok(select.query_map([], copies)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// From now on, and until that time if there is one, `reader` gets what comes for the account.
    pub async fn copy_start(&self, id: AccountId, reader: AccountId, ends: Option<i64>) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            work.prepare_cached("INSERT OR REPLACE INTO copy (account, reader, ends) VALUES (?1, ?2, ?3)")?
                .execute(params![id.0, reader.0, ends])?;
            work.changed(Change::Users);
            Ok(())
        })
        .await
    }

    /// No more copies. Whether there were any.
    pub async fn copy_end(&self, id: AccountId, reader: AccountId) -> Result<bool, StoreError> {
        self.write(SMALL, move |work| {
            let ended = work.prepare_cached("DELETE FROM copy WHERE account = ?1 AND reader = ?2")?.execute([id.0, reader.0])?;
            work.changed(Change::Users);
            Ok(ended > 0)
        })
        .await
    }
}

fn vacations(connection: &Connection) -> Result<Vec<Away>, StoreError> {
    let mut select = connection
        .prepare_cached("SELECT name, starts, ends, text FROM vacation JOIN account ON account.id = vacation.account ORDER BY name")?;
    let away = |row: &rusqlite::Row<'_>| Ok(Away { user: row.get(0)?, starts: row.get(1)?, ends: row.get(2)?, text: row.get(3)? });
    Ok(select.query_map([], away)?.collect::<Result<_, _>>()?)
}

/// Who gets copies of a user's mail now, inside a transaction.
pub fn readers(work: &Work<'_>, mailbox: &Mailbox) -> Result<Vec<String>, StoreError> {
    let Mailbox::User(name) = mailbox else { return Ok(vec![]) };
    // Asked for each delivery, and nearly nobody has any.
    if !work.prepare_cached("SELECT EXISTS (SELECT 1 FROM copy)")?.query_row([], |row| row.get(0))? {
        return Ok(vec![]);
    }
    let mut select = work.prepare_cached(
        "SELECT reader.name FROM copy JOIN account whose ON whose.id = copy.account JOIN account reader ON reader.id = copy.reader
         WHERE whose.kind = 'user' AND whose.name = ?1 AND (ends IS NULL OR ends > ?2) ORDER BY reader.name",
    )?;
    Ok(select.query_map(params![name, now()], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Whether this sender is to be told now, inside a transaction; remembers that he is.
pub fn tell(work: &Work<'_>, telling: &Telling) -> Result<bool, StoreError> {
    let Some(account) = accounts::id_by_name(work, &Mailbox::User(telling.user.clone()))? else { return Ok(false) };
    let mut select = work.prepare_cached("SELECT time FROM vacation_told WHERE account = ?1 AND sender = ?2")?;
    let told: Option<i64> = select.query_row(params![account.0, telling.sender], |row| row.get(0)).optional()?;
    if told.is_some_and(|time| time > now() - TOLD_DAYS * DAY) {
        return Ok(false);
    }
    work.prepare_cached("INSERT OR REPLACE INTO vacation_told (account, sender, time) VALUES (?1, ?2, ?3)")?.execute(params![
        account.0,
        telling.sender,
        now()
    ])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_away_is_known_at_once_here_and_soon_from_another_process() {
        let dir = tempfile::tempdir().unwrap();
        let (here, elsewhere) = (Store::open(dir.path()).unwrap(), Store::open(dir.path()).unwrap());
        let alice = here.account_add(&Mailbox::User("alice".into()), None, None).await.unwrap();
        let away = |text: &str| Some(Away { user: "alice".into(), starts: None, ends: None, text: Some(text.to_owned()) });
        let said = async || here.vacations().await.unwrap().iter().map(|away| away.text.clone().unwrap()).collect::<Vec<_>>().join(",");
        assert_eq!(said().await, "");
        for text in ["at sea", "at home"] {
            here.vacation_set(alice, away(text)).await.unwrap();
            assert_eq!((said().await, said().await), (text.to_owned(), text.to_owned()));
        }
        for (set, expected) in [(away("elsewhere"), "elsewhere"), (None, "")] {
            let mut changes = here.changes();
            elsewhere.vacation_set(alice, set).await.unwrap();
            while changes.recv().await.unwrap() != Change::Anything {}
            assert_eq!(said().await, expected);
        }
    }
}
