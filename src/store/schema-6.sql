-- Version 6.

-- When users with a limit by the hour handed mail in.
CREATE TABLE submitted (
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    time    INTEGER NOT NULL
);
CREATE INDEX submitted_time ON submitted (account, time);

-- What the sender asked to hear of, in words for the next server: of the mail, and of each recipient.
ALTER TABLE queue ADD COLUMN wishes TEXT;
ALTER TABLE queue_recipient ADD COLUMN wishes TEXT;

-- Mail that left and has to be filed at the provider too, in the collector's folder for sent mail. `mail` was its number in the queue:
-- one copy, however many attempts its recipients took.
CREATE TABLE sent_copy (
    mail       INTEGER PRIMARY KEY,
    content    INTEGER NOT NULL REFERENCES content,
    header     BLOB,
    collector  TEXT NOT NULL,
    sent_at    INTEGER NOT NULL,
    due        INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX sent_copy_content ON sent_copy (content);
CREATE INDEX sent_copy_due ON sent_copy (due);
CREATE TRIGGER sent_copy_inserted AFTER INSERT ON sent_copy BEGIN
    UPDATE content SET refs = ifnull(refs, 0) + 1, unreferenced = NULL WHERE id = NEW.content;
END;
CREATE TRIGGER sent_copy_deleted AFTER DELETE ON sent_copy BEGIN
    UPDATE content SET refs = refs - 1, unreferenced = iif(refs = 1, unixepoch() * 1000, NULL) WHERE id = OLD.content;
END;
