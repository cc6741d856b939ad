//! Everything that ever happened to a message, in or out. Kept 400 days.

use super::{ContentId, SMALL, Store, StoreError, content, now};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// One line of a message's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub time: i64,
    /// The original, if there was one.
    pub content: Option<ContentId>,
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// A word.
    pub event: String,
    /// In plain words. Never a secret.
    pub detail: String,
}

/// A line's text is cut here: it is for people.
const MAX_DETAIL: usize = 2000;

/// Lines that one question is answered with, the latest: a word like "the" would match everything.
const MAX_LINES: u32 = 10_000;

impl Store {
    /// Adds lines about stored content, or about none.
    pub async fn trace_add(&self, content: Option<ContentId>, lines: Vec<(&'static str, String)>) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            let message_id = content.map(|id| message_id(work, id)).transpose()?.flatten();
            insert(work, content, message_id.as_deref(), &lines)
        })
        .await
    }

    /// The lines with this event since a time, oldest first.
    pub async fn trace_events(&self, event: &str, since: i64) -> Result<Vec<Line>, StoreError> {
        let event = event.to_owned();
        self.read(move |connection| {
            // Lines are in the order of time: from the last one back, no further than asked.
            let mut select = connection.prepare_cached("SELECT time, content, message_id, event, detail FROM trace ORDER BY id DESC")?;
            let mut rows = select.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let line = line(row)?;
                if line.time < since {
                    break;
                }
                if line.event == event {
                    found.push(line);
                }
            }
            found.reverse();
            Ok(found)
        })
        .await
    }

    /// Every line of the messages that have this Message-ID (with or without angle brackets), or that have this text in some line, in
    /// their subject or their sender. By time.
    pub async fn trace(&self, text: &str) -> Result<Vec<Line>, StoreError> {
        let text = text.trim();
        let bare = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
        let message_id = content::clip(bare).to_owned();
        self.read(move |connection| {
            let by_id = lines(connection, "message_id = ?1", &message_id)?;
            if !by_id.is_empty() {
                return Ok(by_id);
            }
            let pattern = format!("%{}%", message_id.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
            let about = "SELECT content FROM trace WHERE detail LIKE ?1 ESCAPE '\\' AND content IS NOT NULL
                         UNION SELECT id FROM content WHERE subject LIKE ?1 ESCAPE '\\' OR sender LIKE ?1 ESCAPE '\\'
                                                         OR message_id LIKE ?1 ESCAPE '\\'";
            lines(connection, &format!("content IN ({about}) OR content IS NULL AND detail LIKE ?1 ESCAPE '\\'"), &pattern)
        })
        .await
    }
}

fn lines(connection: &Connection, condition: &str, text: &str) -> Result<Vec<Line>, StoreError> {
    let mut select = connection.prepare(&format!(
        "SELECT time, content, message_id, event, detail FROM
            (SELECT * FROM trace WHERE {condition} ORDER BY id DESC LIMIT {MAX_LINES}) ORDER BY id"
    ))?;
    Ok(select.query_map([text], line)?.collect::<Result<_, _>>()?)
}

fn line(row: &Row<'_>) -> rusqlite::Result<Line> {
    Ok(Line {
        time: row.get(0)?,
        content: row.get::<_, Option<i64>>(1)?.map(ContentId),
        message_id: row.get(2)?,
        event: row.get(3)?,
        detail: row.get(4)?,
    })
}

/// Adds lines, inside a transaction.
pub fn insert(
    connection: &Connection,
    about: Option<ContentId>,
    message_id: Option<&str>,
    lines: &[(&'static str, String)],
) -> Result<(), StoreError> {
    let mut insert =
        connection.prepare_cached("INSERT INTO trace (time, content, message_id, event, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (event, detail) in lines {
        let detail = content::cut(detail, MAX_DETAIL);
        insert.execute(params![now(), about.map(|id| id.0), message_id, event, detail])?;
    }
    Ok(())
}

/// Adds one line about stored content, inside a transaction.
pub fn about(connection: &Connection, content: ContentId, event: &'static str, detail: String) -> Result<(), StoreError> {
    let message_id = message_id(connection, content)?;
    insert(connection, Some(content), message_id.as_deref(), &[(event, detail)])
}

fn message_id(connection: &Connection, id: ContentId) -> Result<Option<String>, StoreError> {
    // Its life may go on upstream when the original is gone here.
    let mut select = connection.prepare_cached(
        "SELECT message_id FROM content WHERE id = ?1
         UNION ALL SELECT message_id FROM (SELECT message_id FROM trace WHERE content = ?1 AND message_id IS NOT NULL LIMIT 1)",
    )?;
    Ok(select.query_row([id.0], |row| row.get(0)).optional()?.flatten())
}
