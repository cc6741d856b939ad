-- Version 7.

-- Which originals a text may be in: see fulltext.rs. Only the postings are kept; rowid is content.id.
CREATE VIRTUAL TABLE fulltext USING fts5 (grams, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii');

-- Originals that have facts and are not in fulltext yet.
CREATE TABLE unindexed (content INTEGER PRIMARY KEY);
INSERT INTO unindexed SELECT id FROM content WHERE refs IS NOT NULL;

-- Opening a folder tells the first unseen message, and clients ask for the unseen ones all day.
CREATE INDEX message_unseen ON message (id) WHERE flags & 1 = 0;
