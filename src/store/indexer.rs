//! The background's half of [`fulltext`](super::fulltext): originals enter the index, whoever got them.
//!
//! What became complete waits in `unindexed`, with its sketch; a turn takes some, in the order of their numbers, and puts them into the index
//! in one transaction.

use super::content::Chunks;
use super::original::Original;
use super::{ContentId, Store, StoreError, Work};
use crate::message::sketch::threes;
use rusqlite::{Connection, params};
use std::ops::ControlFlow;
use std::pin::Pin;

/// Originals of one turn of the indexer, which holds the writer while a client waits for its commit: a few hundredths of a second.
const TURN: usize = 64;
/// Bytes of text in one turn.
const TURN_BYTES: usize = 2 << 20;

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
    Original::open(chunks, ContentId(id))?.texts(&mut |text| {
        let text = text.folded();
        bytes += text.len();
        grams.add(text);
        ControlFlow::Continue(())
    })?;
    Ok(bytes)
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

/// Appends the token of a three: letters and digits, which the tokenizer leaves alone.
pub fn push_token(gram: u32, text: &mut String) {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    for at in (0..TOKEN).rev() {
        text.push(char::from(DIGITS[(gram >> (5 * at) & 31) as usize]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::arrival::file;
    use crate::store::content;
    use crate::store::fulltext::query;
    use crate::store::{NewContent, database};
    use rusqlite::OptionalExtension;

    fn count(connection: &Connection, table: &str) -> Result<i64, StoreError> {
        Ok(connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
    }

    #[tokio::test]
    async fn what_is_gone_leaves_the_index() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let add = async |text: &'static str| {
            // No layout is kept with it: it is found anew.
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
                content::release_if_unused(work, ContentId(id))?;
            }
            content::sweep(work, i64::MAX, i64::MAX)?;
            Ok((count(work, "fulltext_docsize")?, count(work, "unindexed")?, count(work, "content")?))
        });
        assert_eq!(left.await.unwrap(), (0, 0, 0));
    }

    #[tokio::test]
    async fn what_was_indexed_by_an_older_version_is_indexed_anew() {
        let dir = tempfile::tempdir().unwrap();
        let before = &database::MIGRATIONS[..14];
        let store = Store::open_as(dir.path(), before).unwrap();
        let made = store.write(1, |work| {
            work.execute_batch(
                "INSERT INTO content (refs, size, header_size, hash, body_hash, subject, sender, recipient, copied, display_from, display_to,
                                      thread, envelope, body, bodystructure, parts)
                 VALUES (1, 20, 20, x'', x'', '', '', '', '', '', '', '', x'', x'', x'', x''),
                        (1, 300000, 20, x'', x'', '', '', '', '', '', '', '', x'', x'', x'', zeroblob(100)),
                        (1, 20, 20, x'', x'', '', '', '', '', '', '', '', x'', x'', x'', zeroblob(100));
                 INSERT INTO chunk (id, data) VALUES (1 << 20, CAST('Subject: steam\n\nboat' AS BLOB));
                 INSERT INTO fulltext (rowid, grams) VALUES (1, 'aaaaa'), (3, 'aaaaa');
                 INSERT INTO unindexed (content, sketch) VALUES (2, zeroblob(64));",
            )?;
            Ok(())
        });
        made.await.unwrap();
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        let counts = store.write(1, |work| {
            let sketched = count(work, "unindexed WHERE sketch IS NOT NULL")?;
            Ok((count(work, "fulltext_docsize")?, count(work, "unindexed")?, sketched))
        });
        assert_eq!(counts.await.unwrap(), (0, 3, 0));
        // Of what may have lost parts, they are found anew.
        let kept = store.write(1, |work| {
            // Nothing but their facts is there.
            work.execute("DELETE FROM unindexed WHERE content > 1", [])?;
            count(work, "content WHERE length(parts) > 0")
        });
        assert_eq!(kept.await.unwrap(), 1);
        assert_eq!(Indexer::new(store.clone()).index_some().await.unwrap(), 1);
        let question = query("steam").unwrap();
        let found = store.write(1, move |work| {
            let found = work.query_row("SELECT rowid FROM fulltext WHERE fulltext MATCH ?1", [&question], |row| row.get::<_, i64>(0));
            Ok(found.optional()?)
        });
        assert_eq!(found.await.unwrap(), Some(1));
    }

    #[test]
    fn each_three_once() {
        let mut grams = Grams::default();
        grams.add("abcabc");
        grams.add("xabc");
        assert_eq!(grams.take(), "gcytd gey3b ggylc hqylc ");
        assert_eq!(grams.take(), "");
    }
}
