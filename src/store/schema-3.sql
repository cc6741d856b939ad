-- Version 3.

-- The last remap, for its undoing: one row for each message, what was taken and added as JSON.
CREATE TABLE remap (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    run     INTEGER NOT NULL,
    content INTEGER NOT NULL,              -- does not keep it alive: the journal does
    record  TEXT NOT NULL
);
