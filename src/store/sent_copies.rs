//! Copies of mail that has left, on their way into a mailbox at the provider: who takes them there is [`crate::outbound::copies`].

use super::queue::MailId;
use super::{Change, ContentId, SMALL, Store, StoreError, Work, trace};
use bytes::Bytes;
use rusqlite::{Row, params};

/// One of them.
#[derive(Debug, Clone)]
pub struct SentCopy {
    /// Its number.
    pub id: i64,
    /// The original.
    pub content: ContentId,
    /// Bytes of the original.
    pub size: u64,
    /// Where the original's body starts.
    pub header_size: u64,
    /// Stands in for the original's header.
    pub header: Option<Bytes>,
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// The collector whose mailbox gets it.
    pub collector: String,
    /// When the mail left, milliseconds since 1970.
    pub sent_at: i64,
    /// Attempts so far: after one, it may be there already.
    pub attempts: u32,
}

impl Store {
    /// Those that are due, the oldest first.
    pub async fn sent_copies_due(&self, now: i64, limit: usize) -> Result<Vec<SentCopy>, StoreError> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT sent_copy.id, content, size, header_size, header, message_id, collector, sent_at, attempts
                 FROM sent_copy JOIN content ON content.id = sent_copy.content WHERE due <= ?1 ORDER BY sent_copy.id LIMIT ?2",
            )?;
            Ok(select.query_map(params![now, limit], row)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// When the next one is due, milliseconds since 1970.
    pub async fn sent_copies_next_due(&self) -> Result<Option<i64>, StoreError> {
        self.read(|connection| Ok(connection.prepare_cached("SELECT min(due) FROM sent_copy")?.query_row([], |row| row.get(0))?)).await
    }

    /// It is about to go: durable before its first byte does, so that after a crash it is looked for before it goes again.
    pub async fn sent_copy_begin(&self, id: i64) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            work.prepare_cached("UPDATE sent_copy SET attempts = attempts + 1 WHERE id = ?1")?.execute([id])?;
            Ok(())
        })
        .await
    }

    /// It has to wait until then, and why.
    pub async fn sent_copy_later(&self, id: i64, due: i64, why: String) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            work.prepare_cached("UPDATE sent_copy SET due = ?2, last_error = ?3 WHERE id = ?1")?.execute(params![id, due, why])?;
            Ok(())
        })
        .await
    }

    /// It is there, or never will be: the trace says which.
    pub async fn sent_copy_end(&self, copy: &SentCopy, how: String) -> Result<(), StoreError> {
        let (id, content) = (copy.id, copy.content);
        self.write(SMALL, move |work| {
            trace::about(work, content, "copied", how.clone())?;
            work.prepare_cached("DELETE FROM sent_copy WHERE id = ?1")?.execute([id])?;
            Ok(())
        })
        .await
    }
}

fn row(row: &Row<'_>) -> rusqlite::Result<SentCopy> {
    Ok(SentCopy {
        id: row.get(0)?,
        content: ContentId(row.get(1)?),
        size: row.get(2)?,
        header_size: row.get(3)?,
        header: row.get::<_, Option<Vec<u8>>>(4)?.map(Bytes::from),
        message_id: row.get(5)?,
        collector: row.get(6)?,
        sent_at: row.get(7)?,
        attempts: row.get(8)?,
    })
}

/// A queued mail has left for the first of its recipients: its copy is due, if there is to be one. Inside a transaction.
pub fn insert(work: &mut Work<'_>, mail: MailId, now: i64) -> Result<(), StoreError> {
    let made = work
        .prepare_cached(
            "INSERT INTO sent_copy (content, header, collector, sent_at, due)
             SELECT content, header, copy_to, ?2, ?2 FROM queue WHERE id = ?1 AND copy_to IS NOT NULL",
        )?
        .execute(params![mail.0, now])?;
    if made > 0 {
        work.prepare_cached("UPDATE queue SET copy_to = NULL WHERE id = ?1")?.execute([mail.0])?;
        work.changed(Change::Queue);
    }
    Ok(())
}
