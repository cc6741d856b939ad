//! Finding texts in messages. An index says which originals may hold a text; their bytes say which do.
//!
//! The index is an FTS5 table of what each original's words are made of: every three bytes that stand side by side in a word of its
//! texts ([`searched`]), once each. A text is in a message only if all of its own threes are, so the index never misses one, wherever in a
//! word it stands; what it names too much the bytes sort out. Originals are indexed once, whoever got them, in the background
//! ([`Indexer`]); until then their sketches tell nearly as much ([`sketch`]), and what has none may hold anything. What a delivery put above
//! an original is short and looked through every time.

use super::content::Chunks;
use super::{FolderId, Store, StoreError, Work};
use crate::message::facts::Scanner;
use crate::message::layout::Layout;
use crate::message::searched::{self, Finder, Origin, Sought, Text};
use crate::message::sketch::{self, threes};
use bytes::{Bytes, BytesMut};
use memchr::memmem;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::ops::{ControlFlow, RangeInclusive};
use std::pin::Pin;

/// Originals of one turn of the indexer, which holds the writer while a client waits for its commit: a few hundredths of a second.
const TURN: usize = 64;
/// Bytes of text in one turn.
const TURN_BYTES: usize = 2 << 20;
/// Bytes that one look may read before it says how far it got: readers are few, and others want them.
const LOOK: u64 = 8 << 20;
/// Nearly every mail without attachment is shorter: read at once, and the parts cut from it.
const FIRST: usize = 64 * 1024;
/// If fewer originals wait for the index, a search looks at each of them; else at each of its folder's messages, of which many may be indexed.
const FEW: i64 = 1024;
/// Of an original whose parts have to be found anew.
const PIECE: usize = 256 * 1024;

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

/// Whoever indexes: while some originals enter the index, the texts of the next are read.
pub struct Indexer {
    store: Store,
    ahead: Option<Gathering>,
}

/// Originals and their threes, under way.
type Gathering = Pin<Box<dyn Future<Output = Result<Vec<(i64, String)>, StoreError>> + Send>>;

impl Indexer {
    /// Nothing is read yet.
    pub fn new(store: Store) -> Indexer {
        Indexer { store, ahead: None }
    }

    /// Indexes some originals, and says how many; 0: there is nothing left to do.
    pub async fn index_some(&mut self) -> Result<usize, StoreError> {
        let mut documents = match self.ahead.take() {
            Some(ahead) => ahead.await?,
            None => Vec::new(),
        };
        if documents.is_empty() {
            // Also those that were begun long ago, and became complete while others were read.
            documents = self.gather_behind(0).await?;
        }
        let (count, Some((last, _))) = (documents.len(), documents.last()) else { return Ok(0) };
        self.ahead = Some(self.gather_behind(*last));
        let bytes = documents.iter().map(|(_, grams)| grams.len()).sum();
        self.store.write(bytes, move |work| insert(work, &documents)).await?;
        Ok(count)
    }

    fn gather_behind(&self, last: i64) -> Gathering {
        Box::pin(self.store.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT content FROM unindexed WHERE content > ?1 ORDER BY content LIMIT ?2")?;
            let ids = select.query_map(params![last, TURN], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
            let (mut documents, mut grams, mut bytes) = (Vec::new(), Grams::default(), 0);
            let mut chunks = Chunks::new(connection);
            for id in ids {
                bytes += gather(&mut chunks, id, &mut grams)?;
                documents.push((id, grams.take()));
                if bytes > TURN_BYTES {
                    break;
                }
            }
            Ok(documents)
        }))
    }
}

/// An original is complete: it will be indexed. Its sketch, if there is one.
pub fn added(connection: &Connection, id: i64, sketch: &[u8]) -> Result<(), StoreError> {
    let sketch = Some(sketch).filter(|sketch| !sketch.is_empty());
    connection.prepare_cached("INSERT OR IGNORE INTO unindexed (content, sketch) VALUES (?1, ?2)")?.execute(params![id, sketch])?;
    Ok(())
}

/// An original is gone.
pub fn removed(connection: &Connection, id: i64) -> Result<(), StoreError> {
    if connection.prepare_cached("DELETE FROM unindexed WHERE content = ?1")?.execute([id])? == 0 {
        connection.prepare_cached("DELETE FROM fulltext WHERE rowid = ?1")?.execute([id])?;
    }
    Ok(())
}

fn insert(work: &mut Work<'_>, documents: &[(i64, String)]) -> Result<(), StoreError> {
    let mut take = work.connection.prepare_cached("DELETE FROM unindexed WHERE content = ?1")?;
    let mut insert = work.connection.prepare_cached("INSERT INTO fulltext (rowid, grams) VALUES (?1, ?2)")?;
    for (id, grams) in documents {
        // What was removed in the meantime, or indexed by another process, is not there any more.
        if take.execute([id])? == 1 {
            insert.execute(params![id, grams])?;
        }
    }
    Ok(())
}

/// Collects the threes of all texts of an original; about how many bytes of text were read.
fn gather(chunks: &mut Chunks<'_>, id: i64, grams: &mut Grams) -> Result<usize, StoreError> {
    let mut bytes = 0;
    Original::open(chunks, id)?.texts(&mut |text| {
        let text = text.folded();
        bytes += text.len();
        grams.add(text);
        ControlFlow::Continue(())
    })?;
    Ok(bytes)
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
    Original::open(chunks, content)?.texts(&mut each)
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

/// An original that is read here and there.
struct Original<'r, 'c> {
    chunks: &'r mut Chunks<'c>,
    id: super::ContentId,
    layout: Layout,
    first: Bytes,
    read: u64,
}

impl<'r, 'c> Original<'r, 'c> {
    fn open(chunks: &'r mut Chunks<'c>, id: i64) -> Result<Original<'r, 'c>, StoreError> {
        let id = super::ContentId(id);
        let mut select = chunks.connection().prepare_cached("SELECT parts FROM content WHERE id = ?1")?;
        let parts = select.query_row([id.0], |row| row.get::<_, Vec<u8>>(0)).optional()?.unwrap_or_default();
        let mut original = Original { chunks, id, layout: Layout::default(), first: Bytes::new(), read: 0 };
        original.first = original.bytes(0, FIRST as u64)?;
        original.layout = match Layout::decode(&parts) {
            Some(layout) => layout,
            None => original.scan()?,
        };
        Ok(original)
    }

    /// Every text, until `each` has enough; how many bytes were read.
    fn texts(mut self, each: &mut impl FnMut(&Text<'_>) -> ControlFlow<()>) -> Result<u64, StoreError> {
        let layout = std::mem::take(&mut self.layout);
        searched::texts(&layout, |from, to| self.bytes(from, to), each)?;
        Ok(self.read)
    }

    fn bytes(&mut self, from: u64, to: u64) -> Result<Bytes, StoreError> {
        if to <= self.first.len() as u64 {
            return Ok(self.first.slice(from.min(to) as usize..to as usize));
        }
        let mut bytes = BytesMut::new();
        self.chunks.read(self.id, from, to.saturating_sub(from) as usize, &mut bytes)?;
        self.read += bytes.len() as u64;
        Ok(bytes.freeze())
    }

    fn scan(&mut self) -> Result<Layout, StoreError> {
        let mut scanner = Scanner::default();
        let mut at = 0;
        loop {
            let piece = self.bytes(at, at + PIECE as u64)?;
            if piece.is_empty() {
                return Ok(scanner.finish().layout());
            }
            scanner.feed(&piece);
            at += piece.len() as u64;
        }
    }
}

/// The threes of a document, each once.
struct Grams {
    /// By the first byte, a bit for each pair that can follow: 8 KB for each of the few that texts begin words with.
    seen: [Option<Box<[u64; 1 << 10]>>; 1 << 8],
    list: Vec<u32>,
}

impl Default for Grams {
    fn default() -> Self {
        Grams { seen: [const { None }; 1 << 8], list: Vec::new() }
    }
}

impl Grams {
    fn add(&mut self, text: &str) {
        for gram in threes(text) {
            let pairs = self.seen[gram as usize >> 16].get_or_insert_with(|| Box::new([0; 1 << 10]));
            let (word, bit) = (&mut pairs[gram as usize >> 6 & 0x3ff], 1 << (gram & 63));
            if *word & bit == 0 {
                *word |= bit;
                self.list.push(gram);
            }
        }
    }

    /// As a text of which FTS5 makes one token for each; none of them is left.
    fn take(&mut self) -> String {
        let mut text = String::with_capacity(self.list.len() * (TOKEN + 1));
        for gram in self.list.drain(..) {
            if let Some(pairs) = &mut self.seen[gram as usize >> 16] {
                pairs[gram as usize >> 6 & 0x3ff] = 0;
            }
            push_token(gram, &mut text);
            text.push(' ');
        }
        text
    }
}

/// Characters of a token: five bits each.
const TOKEN: usize = 5;

/// Letters and digits, which the tokenizer leaves alone.
fn push_token(gram: u32, text: &mut String) {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    for at in (0..TOKEN).rev() {
        text.push(char::from(DIGITS[(gram >> (5 * at) & 31) as usize]));
    }
}

/// The question for a text; `None` if it has no three bytes without a space.
fn query(text: &str) -> Option<String> {
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
    use crate::store::arrival::file;
    use crate::store::content;
    use crate::store::{ContentFacts, NewContent, database};

    fn count(connection: &Connection, table: &str) -> Result<i64, StoreError> {
        Ok(connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
    }

    #[tokio::test]
    async fn what_is_gone_leaves_the_index() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let add = async |text: &'static str| {
            let content = NewContent::Inline(text.into(), Box::default());
            store.write(1, move |work| file(work, &content)).await.unwrap()
        };
        add("Subject: one\r\n\r\n").await;
        let mut indexer = Indexer::new(store.clone());
        assert_eq!(indexer.index_some().await.unwrap(), 1);
        assert_eq!(indexer.index_some().await.unwrap(), 0);
        add("Subject: two\r\n\r\n").await;
        let left = store.write(1, |work| {
            assert_eq!((count(work, "fulltext_docsize")?, count(work, "unindexed")?), (1, 1));
            for id in [1, 2] {
                content::release_if_unused(work, crate::store::ContentId(id))?;
            }
            content::sweep(work, i64::MAX, i64::MAX)?;
            Ok((count(work, "fulltext_docsize")?, count(work, "unindexed")?, count(work, "content")?))
        });
        assert_eq!(left.await.unwrap(), (0, 0, 0));
    }

    #[tokio::test]
    async fn what_was_indexed_by_an_older_version_is_indexed_anew() {
        let dir = tempfile::tempdir().unwrap();
        let before = &database::MIGRATIONS[..13];
        let store = Store::open_as(dir.path(), before).unwrap();
        let made = store.write(1, |work| {
            work.execute_batch(
                "INSERT INTO content (refs, size, header_size, hash, body_hash, subject, sender, recipient, copied, display_from, display_to,
                                      thread, envelope, body, bodystructure, parts)
                 VALUES (1, 20, 20, x'', x'', '', '', '', '', '', '', '', x'', x'', x'', x'');
                 INSERT INTO chunk (id, data) VALUES (1 << 20, CAST('Subject: steam\n\nboat' AS BLOB));
                 INSERT INTO fulltext (rowid, grams) VALUES (1, 'aaaaa');",
            )?;
            Ok(())
        });
        made.await.unwrap();
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        let counts = store.write(1, |work| Ok((count(work, "fulltext_docsize")?, count(work, "unindexed")?)));
        assert_eq!(counts.await.unwrap(), (0, 1));
        assert_eq!(Indexer::new(store.clone()).index_some().await.unwrap(), 1);
        let question = query("steam").unwrap();
        let found = store.write(1, move |work| {
            let found = work.query_row("SELECT rowid FROM fulltext WHERE fulltext MATCH ?1", [&question], |row| row.get::<_, i64>(0));
            Ok(found.optional()?)
        });
        assert_eq!(found.await.unwrap(), Some(1));
    }

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

    #[test]
    fn each_three_once() {
        let mut grams = Grams::default();
        grams.add("abcabc");
        grams.add("xabc");
        assert_eq!(grams.take(), "gcytd gey3b ggylc hqylc ");
        assert_eq!(grams.take(), "");
        let facts = ContentFacts::default();
        assert!(Layout::decode(&facts.parts).is_none(), "no layout is kept: it is found anew");
    }
}
