-- Version 14.

-- What tells of most originals that wait for the index that a text is not in them: see message/sketch.rs. Null: it may be.
ALTER TABLE unindexed ADD COLUMN sketch BLOB;

-- HTML is read anew: what is in the index was read without the words' borders.
INSERT INTO fulltext (fulltext) VALUES ('delete-all');
INSERT OR IGNORE INTO unindexed (content) SELECT id FROM content WHERE refs IS NOT NULL;
