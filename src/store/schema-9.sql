-- Version 9.

-- What the sender wants to hear (RFC 3461): RET and ENVID of the mail, NOTIFY and ORCPT of each recipient, as the words stand in SMTP but
-- without xtext; null leaves it to us.
ALTER TABLE queue ADD COLUMN ret TEXT;
ALTER TABLE queue ADD COLUMN envid TEXT;
ALTER TABLE queue_recipient ADD COLUMN notify TEXT;
ALTER TABLE queue_recipient ADD COLUMN orcpt TEXT;

-- The collector whose mailbox gets a copy once the mail has left.
ALTER TABLE queue ADD COLUMN copy_to TEXT;

-- Copies of what has left, on their way into the mailbox that a collector fetches. Attempts are counted before they are made: after the
-- first one, the copy may be there already.
CREATE TABLE sent_copy (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    content    INTEGER NOT NULL REFERENCES content,
    header     BLOB,
    collector  TEXT NOT NULL,
    sent_at    INTEGER NOT NULL,
    due        INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    last_error TEXT
);
CREATE INDEX sent_copy_content ON sent_copy (content);
CREATE INDEX sent_copy_due ON sent_copy (due);
CREATE TRIGGER sent_copy_inserted AFTER INSERT ON sent_copy BEGIN
    UPDATE content SET refs = ifnull(refs, 0) + 1, unreferenced = NULL WHERE id = NEW.content;
END;
CREATE TRIGGER sent_copy_deleted AFTER DELETE ON sent_copy BEGIN
    UPDATE content SET refs = refs - 1, unreferenced = iif(refs = 1, unixepoch() * 1000, NULL) WHERE id = OLD.content;
END;
