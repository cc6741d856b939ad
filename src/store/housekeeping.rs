//! What is forgotten with time: journal, tray, Trash and Junk, ledger, traces, duplicates, answers; and the sweep of what nobody refers to
//! any more.
//!
//! Everything goes in small jobs, so that no delivery waits long behind it.

use super::folders::SpecialUse;
use super::messages::changing;
use super::{DAY, FolderId, SMALL, Store, StoreError, Work, content, now, trace};
use rusqlite::{Connection, params};
use std::time::Duration;

/// How long traces, ledger rows of mail that is gone, and the senders of Message-IDs are kept.
pub(super) const MEMORY_DAYS: i64 = 400;

/// As long as a second copy is recognised, and a day for clocks that jump.
const DELIVERED_DAYS: i64 = 31;

/// Command lines wait minutes for an answer, not days.
const REQUEST_DAYS: i64 = 1;

/// Bytes of an expunged message can still be read for so long, by a session that is in the middle of it.
const RELEASED: i64 = 15 * 60 * 1000;

/// A download that is still spooled after so long has died.
const SPOOLED: i64 = DAY;

/// Rows that one job removes.
const ROWS: usize = 2000;

/// Ranges of vanished UIDs kept for each folder. A client that was away for longer compares all UIDs.
const VANISHED: u32 = 20_000;

/// Free pages are given back to the disk when there are more than this share of the file, so that most are used again instead.
const FREE_SHARE: i64 = 8;

/// Pages given back by one job.
const VACUUM_PAGES: i64 = 512;

/// How long what is configurable is kept; `None` for the journal keeps nothing, for all else everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ages {
    /// `storage.journal`
    pub journal: Option<Duration>,
    /// `storage.tray`
    pub tray: Option<Duration>,
    /// `office.trash`, since the message was put there
    pub trash: Option<Duration>,
    /// `office.junk`, since the message was put there
    pub junk: Option<Duration>,
}

/// What a round forgot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Originals that left the journal.
    pub journal: usize,
    /// What left the tray by age: for the digest.
    pub tray: Vec<String>,
    /// Messages that left a Trash or a Junk folder.
    pub emptied: usize,
    /// Originals whose bytes were removed.
    pub contents: usize,
}

impl Store {
    /// One round. Call it now and then: an hour is near enough.
    pub async fn forget(&self, ages: Ages) -> Result<Forgotten, StoreError> {
        let mut forgotten = Forgotten::default();
        let before = |age: Duration| now().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        forgotten.journal = self
            .delete(
                "DELETE FROM journal WHERE id IN (SELECT id FROM journal WHERE received < ?1 LIMIT ?2)",
                before(ages.journal.unwrap_or_default()),
            )
            .await?;
        if let Some(age) = ages.tray {
            forgotten.tray = self.write(SMALL, move |work| expire_tray(work, before(age))).await?;
        }
        for (special_use, age) in [(SpecialUse::Trash, ages.trash), (SpecialUse::Junk, ages.junk)] {
            let Some(age) = age else { continue };
            loop {
                let emptied = self.write(SMALL, move |work| empty(work, special_use, before(age))).await?;
                forgotten.emptied += emptied;
                if emptied == 0 {
                    break;
                }
            }
        }
        let old = now() - MEMORY_DAYS * DAY;
        self.delete("DELETE FROM trace WHERE id IN (SELECT id FROM trace WHERE id < ifnull((SELECT id FROM trace WHERE time >= ?1 ORDER BY id LIMIT 1), 9223372036854775807) LIMIT ?2)", old).await?;
        // Answers find their writer as long as the journal could tell, too.
        let answered = ages.journal.map_or(old, |age| before(age).min(old));
        self.delete(
            "DELETE FROM sent WHERE (message_id, account) IN (SELECT message_id, account FROM sent WHERE time < ?1 LIMIT ?2)",
            answered,
        )
        .await?;
        self.delete(
            "DELETE FROM ledger WHERE (source, uid, ordinal) IN
                (SELECT source, uid, ordinal FROM ledger WHERE source IN (SELECT id FROM source) AND state = 'gone' AND changed < ?1 LIMIT ?2)",
            old,
        )
        .await?;
        self.delete(
            "DELETE FROM delivered WHERE (account, key) IN (SELECT account, key FROM delivered WHERE time < ?1 LIMIT ?2)",
            now() - DELIVERED_DAYS * DAY,
        )
        .await?;
        self.delete(
            "DELETE FROM handed_on WHERE (system, address, key) IN (SELECT system, address, key FROM handed_on WHERE time < ?1 LIMIT ?2)",
            now() - DELIVERED_DAYS * DAY,
        )
        .await?;
        self.delete("DELETE FROM request WHERE id IN (SELECT id FROM request WHERE posted < ?1 LIMIT ?2)", now() - REQUEST_DAYS * DAY)
            .await?;
        self.write(SMALL, |work| forget_vanished(work)).await?;
        loop {
            match self.write(SMALL, |work| content::sweep(work, now() - RELEASED, now() - SPOOLED)).await? {
                0 => break,
                swept => forgotten.contents += swept,
            }
        }
        while self.write(SMALL, |work| give_back(work)).await? {}
        Ok(forgotten)
    }

    /// Deletes by age in jobs of [`ROWS`]; `?1` is the time, `?2` the number of rows.
    async fn delete(&self, sql: &'static str, before: i64) -> Result<usize, StoreError> {
        let mut all = 0;
        loop {
            let deleted = self.write(SMALL, move |work| Ok(work.prepare_cached(sql)?.execute(params![before, ROWS])?)).await?;
            all += deleted;
            if deleted < ROWS {
                return Ok(all);
            }
        }
    }
}

fn expire_tray(work: &mut Work<'_>, before: i64) -> Result<Vec<String>, StoreError> {
    let mut select = work.connection.prepare_cached("SELECT id, content, sender, subject FROM tray WHERE received < ?1")?;
    let mut rows = select.query([before])?;
    let (mut expired, mut gone): (_, Vec<i64>) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let (sender, subject): (String, String) = (row.get(2)?, row.get(3)?);
        trace::about(work, super::ContentId(row.get(1)?), "expired", format!("left the tray by age: {sender}: {subject}"))?;
        gone.push(row.get(0)?);
        expired.push(format!("{sender}: {subject}"));
    }
    drop(rows);
    gone.into_iter().try_for_each(|id| super::tray::take_out(work, id))?;
    Ok(expired)
}

/// Expunges up to [`ROWS`] messages of one folder of that use, or below one, that were put there before; 0 if there are none left. Mail
/// programs delete a folder by renaming it to one below Trash: its mail was put there with it.
fn empty(work: &mut Work<'_>, special_use: SpecialUse, before: i64) -> Result<usize, StoreError> {
    let folders: Vec<FolderId> = work
        .prepare_cached(
            "SELECT below.id FROM folder JOIN folder AS below
                ON below.account = folder.account AND (below.id = folder.id OR substr(below.name, 1, length(folder.name) + 1) = folder.name || '/')
                WHERE folder.special_use = ?1 AND below.messages > 0 AND below.placed < ?2",
        )?
        .query_map(params![special_use.as_str(), before], |row| row.get(0).map(FolderId))?
        .collect::<Result<_, _>>()?;
    for folder in folders {
        let uids: Vec<u32> = work
            .prepare_cached("SELECT id & 4294967295 FROM message WHERE id >> 32 = ?1 AND id BETWEEN ?1 << 32 AND (?1 + 1 << 32) - 1 AND saved < ?2 ORDER BY id LIMIT ?3")?
            .query_map(params![folder.0, before, ROWS], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        if !uids.is_empty() {
            changing::remove(work, folder, &uids)?;
            return Ok(uids.len());
        }
    }
    Ok(0)
}

/// Keeps the latest ranges, and says from which modseq on they are complete.
fn forget_vanished(connection: &Connection) -> Result<(), StoreError> {
    let mut select = connection.prepare_cached("SELECT folder FROM vanished GROUP BY folder HAVING count(*) > ?1")?;
    let folders: Vec<i64> = select.query_map([VANISHED], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for folder in folders {
        let last: i64 = connection
            .prepare_cached("SELECT modseq FROM vanished WHERE folder = ?1 ORDER BY modseq DESC LIMIT 1 OFFSET ?2")?
            .query_row(params![folder, VANISHED], |row| row.get(0))?;
        connection.prepare_cached("DELETE FROM vanished WHERE folder = ?1 AND modseq <= ?2")?.execute([folder, last])?;
        connection.prepare_cached("UPDATE folder SET vanished_from = ?2 WHERE id = ?1")?.execute([folder, last])?;
    }
    Ok(())
}

/// Whether there may be more to give back.
fn give_back(connection: &Connection) -> Result<bool, StoreError> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if number("freelist_count")? * FREE_SHARE < number("page_count")? {
        return Ok(false);
    }
    let before = number("freelist_count")?;
    connection.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    Ok(number("freelist_count")? < before)
}
