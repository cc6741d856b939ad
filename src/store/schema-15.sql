-- Version 15.

-- When the folder was last renamed: what is in it does not lie longer than that where it lies now.
ALTER TABLE folder ADD COLUMN placed INTEGER NOT NULL DEFAULT 0;

-- More is searched than before: messages that are not taken apart, long headers, letters however their marks are written. What was read for
-- the index and for sketches is read anew.
INSERT INTO fulltext (fulltext) VALUES ('delete-all');
UPDATE unindexed SET sketch = NULL WHERE sketch IS NOT NULL;
INSERT OR IGNORE INTO unindexed (content) SELECT id FROM content WHERE refs IS NOT NULL;

-- Parts behind the first 256 KiB of parts' headers were not taken apart: those of messages that may be such (eight headers, of 32 KiB at
-- most, each with six bytes or more here) are found anew whenever they are needed. Of all others they are as they would be found.
UPDATE content SET parts = x'' WHERE size > 262144 AND length(parts) > 48;
