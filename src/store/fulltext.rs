//! Finding texts in messages. An index says which originals may hold a text; their bytes say which do.
//!
//! The index is an FTS5 table of what each original's words are made of: every three bytes that stand side by side in a word of its
//! texts ([`searched`]), once each. A text is in a message only if all of its own threes are, so the index never misses one, wherever in a
//! word it stands; what it names too much the bytes sort out. Originals are indexed once, whoever got them, in the background
//! ([`indexer`](super::indexer)); until then their sketches tell nearly as much ([`sketch`]), and what has none may hold anything. What a delivery put above
//! an original is short and looked through every time.

use super::content::Chunks;
use super::indexer::push_token;
use super::original::Original;
use super::{ContentId, FolderId, Store, StoreError};
use crate::message::searched::{self, Finder, Origin, Sought, Text};
use crate::message::sketch::{self, threes};
use memchr::memmem;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::ops::{ControlFlow, RangeInclusive};

/// Bytes that one look may read before it says how far it got: readers are few, and others want them.
const LOOK: u64 = 8 << 20;
/// If fewer originals wait for the index, a search looks at each of them; else at each of its folder's messages, of which many may be indexed.
const FEW: i64 = 1024;

/// Which of the texts are in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mentions {
    /// UID
    pub uid: u32,
    /// One for each text.
    pub found: Vec<bool>,
}

impl Store {
    /// UIDs among `within` of messages that may hold this folded text, ascending: none that does is missing. With `above`, what a delivery
    /// put above the message counts too. `None`: the text is too short to be asked for.
    pub async fn whereabouts(
        &self,
        folder: FolderId,
        within: RangeInclusive<u32>,
        text: &str,
        above: bool,
    ) -> Result<Option<Vec<u32>>, StoreError> {
        let Some(query) = query(text) else { return Ok(None) };
        let text = text.to_owned();
        self.read(move |connection| {
            let bounds = [*within.start(), *within.end()].map(|uid| folder.0 << 32 | i64::from(uid));
            let mut uids = Vec::new();
            let mut select = connection.prepare_cached(
                "SELECT message.id & 0xFFFFFFFF FROM fulltext JOIN message ON message.content = fulltext.rowid
                 WHERE fulltext MATCH ?3 AND message.id BETWEEN ?1 AND ?2",
            )?;
            for uid in select.query_map(params![bounds[0], bounds[1], query], |row| row.get(0))? {
                uids.push(uid?);
            }
            uids.extend(sketched(connection, bounds, &text)?);
            if above {
                uids.extend(mentioned_above(connection, bounds, &text)?);
            }
            uids.sort_unstable();
            uids.dedup();
            Ok(Some(uids))
        })
        .await
    }

    /// Looks for texts in the bytes of messages, in the order of `uids`. May end early, but not before the first; what is gone holds nothing.
    pub async fn look(&self, folder: FolderId, uids: Vec<u32>, sought: Vec<Sought>) -> Result<Vec<Mentions>, StoreError> {
        self.read(move |connection| {
            let finders: Vec<_> = sought.iter().map(|sought| (Finder::new(&sought.text), sought.header)).collect();
            let mut mentions = Vec::with_capacity(uids.len());
            let mut read = 0;
            let mut chunks = Chunks::new(connection);
            for uid in uids {
                let mut found = vec![false; finders.len()];
                read += look(&mut chunks, folder, uid, &finders, &mut found)?;
                mentions.push(Mentions { uid, found });
                if read > LOOK {
                    break;
                }
            }
            Ok(mentions)
        })
        .await
    }

    /// Originals that wait for the indexer.
    pub async fn unindexed(&self) -> Result<u64, StoreError> {
        self.read(|connection| Ok(connection.query_row("SELECT count(*) FROM unindexed", [], |row| row.get(0))?)).await
    }
}

/// Looks for texts in one message; how many bytes were read.
fn look(
    chunks: &mut Chunks<'_>,
    folder: FolderId,
    uid: u32,
    finders: &[(Finder<'_>, bool)],
    found: &mut [bool],
) -> Result<u64, StoreError> {
    let mut select = chunks.connection().prepare_cached(
        "SELECT message.content, prefix.data FROM message LEFT JOIN prefix ON prefix.id = message.prefix WHERE message.id = ?1",
    )?;
    let row = select.query_row([folder.0 << 32 | i64::from(uid)], |row| Ok((row.get(0)?, row.get::<_, Option<Vec<u8>>>(1)?)));
    let Some((content, prefix)) = row.optional()? else { return Ok(0) };
    let mut each = |text: &Text<'_>| {
        for ((finder, header), found) in finders.iter().zip(&mut *found) {
            *found = *found || ((*header || text.origin != Origin::Header) && finder.is_in(text));
        }
        if found.iter().all(|found| *found) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    if searched::header_texts(prefix.as_deref().unwrap_or_default(), &mut each).is_break() {
        return Ok(0);
    }
    Original::open(chunks, ContentId(content))?.texts(&mut each)
}

/// Messages that are not in the index and may hold a text.
fn sketched(connection: &Connection, bounds: [i64; 2], text: &str) -> Result<Vec<u32>, StoreError> {
    let wanted: Vec<u32> = threes(text).collect();
    let may_hold = |row: &Row<'_>| {
        let sketch = row.get_ref(1)?.as_blob_or_null()?;
        Ok::<_, rusqlite::Error>(sketch.is_none_or(|sketch| sketch::may_hold(sketch, &wanted)))
    };
    let mut uids = Vec::new();
    let mut count = connection.prepare_cached("SELECT count(*) FROM (SELECT 1 FROM unindexed LIMIT ?1)")?;
    if count.query_row([FEW], |row| row.get::<_, i64>(0))? == FEW {
        let mut select = connection.prepare_cached(
            "SELECT message.id & 0xFFFFFFFF, sketch FROM message CROSS JOIN unindexed ON unindexed.content = message.content
             WHERE message.id BETWEEN ?1 AND ?2",
        )?;
        let mut rows = select.query(bounds)?;
        while let Some(row) = rows.next()? {
            if may_hold(row)? {
                uids.push(row.get(0)?);
            }
        }
        return Ok(uids);
    }
    let mut originals = connection.prepare_cached("SELECT content, sketch FROM unindexed")?;
    let mut copies = connection.prepare_cached("SELECT id & 0xFFFFFFFF FROM message WHERE content = ?3 AND id BETWEEN ?1 AND ?2")?;
    let mut rows = originals.query([])?;
    while let Some(row) = rows.next()? {
        if may_hold(row)? {
            let content: i64 = row.get(0)?;
            for uid in copies.query_map([bounds[0], bounds[1], content], |row| row.get(0))? {
                uids.push(uid?);
            }
        }
    }
    Ok(uids)
}

/// Messages whose prefix holds a text.
fn mentioned_above(connection: &Connection, bounds: [i64; 2], text: &str) -> Result<Vec<u32>, StoreError> {
    let finder = memmem::Finder::new(text);
    let mut select = connection.prepare_cached(
        "SELECT message.id & 0xFFFFFFFF, prefix.data FROM message JOIN prefix ON prefix.id = message.prefix WHERE message.id BETWEEN ?1 AND ?2",
    )?;
    let mut rows = select.query(bounds)?;
    let (mut uids, mut lower) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let mut found = false;
        let prefix = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        if searched::reads_as_written(prefix) && !text.contains(' ') {
            lower.clear();
            lower.extend(prefix.iter().map(u8::to_ascii_lowercase));
            if finder.find(&lower).is_none() {
                continue;
            }
        }
        let _ = searched::header_texts(prefix, &mut |text| {
            found |= finder.find(text.folded().as_bytes()).is_some();
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if found {
            uids.push(row.get(0)?);
        }
    }
    Ok(uids)
}

/// The question for a text; `None` if it has no three bytes without a space.
pub fn query(text: &str) -> Option<String> {
    let mut wanted: Vec<u32> = threes(text).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut query = String::new();
    for gram in wanted {
        if !query.is_empty() {
            query.push_str(" AND ");
        }
        push_token(gram, &mut query);
    }
    (!query.is_empty()).then_some(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(query(text).as_deref(), expected, "{text}");
        check("ab", None);
        check("ab cd e", None);
        check("abc", Some("gcytd"));
        check("abcd", Some("gcytd AND gey3e"));
        check("ab abcabc x", Some("gcytd AND gey3b AND ggylc"));
        check("ü", None);
        check("üü", Some("lzq54 AND mhpgd"));
    }
}
