-- Version 8.

-- Notes on folders and on the server (IMAP METADATA).
CREATE TABLE annotation (
    id      INTEGER PRIMARY KEY,
    folder  INTEGER REFERENCES folder ON DELETE CASCADE,  -- null: the server
    account INTEGER REFERENCES account ON DELETE CASCADE, -- whose own; null: everybody's
    entry   TEXT NOT NULL COLLATE NOCASE,
    value   BLOB,                                         -- null: taken away
    change  INTEGER NOT NULL                              -- grows with each change of any of them
);
CREATE UNIQUE INDEX annotation_entry ON annotation (ifnull(folder, 0), ifnull(account, 0), entry);
CREATE INDEX annotation_folder ON annotation (folder) WHERE folder IS NOT NULL;
CREATE INDEX annotation_account ON annotation (account) WHERE account IS NOT NULL;
CREATE INDEX annotation_change ON annotation (change);
