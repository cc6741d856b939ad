-- Version 1. Times are milliseconds since 1970. Numbers given to the outside (accounts, folders, contents, prefixes, tray, queue) are
-- AUTOINCREMENT: never given twice.

CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- Users and shared mailboxes ---------------------------------------------------------------------------------------------------

CREATE TABLE account (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL CHECK (kind IN ('user', 'shared', 'removed')), -- removed: only the mail is left
    name       TEXT NOT NULL,
    full_name  TEXT,
    password   TEXT,                       -- argon2id, PHC string
    disabled   INTEGER NOT NULL DEFAULT 0,
    quota      INTEGER,
    messages   INTEGER NOT NULL DEFAULT 0, -- kept by triggers
    bytes      INTEGER NOT NULL DEFAULT 0, -- kept by triggers
    generation INTEGER NOT NULL DEFAULT 0,
    created    INTEGER NOT NULL,
    UNIQUE (kind, name)
);

CREATE TABLE scram (
    account    INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    hash       TEXT NOT NULL CHECK (hash IN ('sha1', 'sha256')),
    salt       BLOB NOT NULL,
    iterations INTEGER NOT NULL,
    stored_key BLOB NOT NULL,
    server_key BLOB NOT NULL,
    PRIMARY KEY (account, hash)
) WITHOUT ROWID;

-- Originals --------------------------------------------------------------------------------------------------------------------

-- The wide columns come last: sizes and keys are read without their overflow pages.
CREATE TABLE content (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    refs          INTEGER,                 -- kept by triggers; NULL: spooled and never referred to yet
    unreferenced  INTEGER,                 -- since when nothing refers to it
    size          INTEGER NOT NULL,
    header_size   INTEGER NOT NULL,
    date          INTEGER,
    message_id    TEXT,
    hash          BLOB NOT NULL,
    body_hash     BLOB NOT NULL,
    subject       TEXT NOT NULL,
    sender        TEXT NOT NULL,
    recipient     TEXT NOT NULL,
    copied        TEXT NOT NULL,
    display_from  TEXT NOT NULL,
    display_to    TEXT NOT NULL,
    thread        TEXT NOT NULL,           -- In-Reply-To and References, one a line
    envelope      BLOB NOT NULL,
    body          BLOB NOT NULL,
    bodystructure BLOB NOT NULL,
    parts         BLOB NOT NULL
);
CREATE INDEX content_message_id ON content (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX content_unreferenced ON content (unreferenced) WHERE unreferenced IS NOT NULL;

-- id = content << 20 | sequence: one tree, the pieces of one original side by side.
CREATE TABLE chunk (id INTEGER PRIMARY KEY, data BLOB NOT NULL);

-- What was rendered above an original at one delivery; shared by copies. No foreign key: an index on message for it would cost more.
CREATE TABLE prefix (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    refs INTEGER NOT NULL DEFAULT 0,       -- kept by triggers
    data BLOB NOT NULL
);

-- Folders and messages ---------------------------------------------------------------------------------------------------------

CREATE TABLE folder (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    account       INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    name          TEXT NOT NULL,
    uidvalidity   INTEGER NOT NULL,
    uidnext       INTEGER NOT NULL DEFAULT 1,
    modseq        INTEGER NOT NULL DEFAULT 1,
    recent        INTEGER NOT NULL DEFAULT 1, -- the first UID that no session was told of
    vanished_from INTEGER NOT NULL DEFAULT 0, -- every UID that went after this modseq is in vanished
    special_use   TEXT,
    subscribed    INTEGER NOT NULL DEFAULT 1,
    object_id     TEXT NOT NULL UNIQUE,
    messages      INTEGER NOT NULL DEFAULT 0, -- this and the rest are kept by triggers
    unseen        INTEGER NOT NULL DEFAULT 0,
    deleted       INTEGER NOT NULL DEFAULT 0,
    bytes         INTEGER NOT NULL DEFAULT 0,
    deleted_bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (account, name)
);

-- Subscribed names without a folder: only the user unsubscribes, whatever becomes of the folder.
CREATE TABLE subscription (
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    name    TEXT NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID;

CREATE TABLE keyword (
    folder INTEGER NOT NULL REFERENCES folder ON DELETE CASCADE,
    bit    INTEGER NOT NULL,
    name   TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY (folder, bit),
    UNIQUE (folder, name)
) WITHOUT ROWID;

-- id = folder << 32 | uid: clustered as folders are listed. Narrow, since opening a folder reads all its rows.
CREATE TABLE message (
    id            INTEGER PRIMARY KEY,
    modseq        INTEGER NOT NULL,
    flags         INTEGER NOT NULL,
    keywords      INTEGER NOT NULL DEFAULT 0,
    size          INTEGER NOT NULL,        -- prefix and original
    internal_date INTEGER NOT NULL,
    saved         INTEGER NOT NULL,
    content       INTEGER NOT NULL REFERENCES content,
    prefix        INTEGER
);
CREATE INDEX message_modseq ON message (id >> 32, modseq);
CREATE INDEX message_content ON message (content);

CREATE TABLE vanished (
    folder INTEGER NOT NULL REFERENCES folder ON DELETE CASCADE,
    modseq INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    PRIMARY KEY (folder, modseq, first)
) WITHOUT ROWID;

CREATE TRIGGER message_inserted AFTER INSERT ON message BEGIN
    UPDATE folder SET messages = messages + 1, bytes = bytes + NEW.size,
        unseen = unseen + (NEW.flags & 1 = 0),
        deleted = deleted + (NEW.flags & 8 <> 0),
        deleted_bytes = deleted_bytes + (NEW.flags & 8 <> 0) * NEW.size
        WHERE id = NEW.id >> 32;
    UPDATE account SET messages = messages + 1, bytes = bytes + NEW.size
        WHERE id = (SELECT account FROM folder WHERE id = NEW.id >> 32);
    UPDATE content SET refs = ifnull(refs, 0) + 1, unreferenced = NULL WHERE id = NEW.content;
    UPDATE prefix SET refs = refs + 1 WHERE id = NEW.prefix;
END;

CREATE TRIGGER message_deleted AFTER DELETE ON message BEGIN
    UPDATE folder SET messages = messages - 1, bytes = bytes - OLD.size,
        unseen = unseen - (OLD.flags & 1 = 0),
        deleted = deleted - (OLD.flags & 8 <> 0),
        deleted_bytes = deleted_bytes - (OLD.flags & 8 <> 0) * OLD.size
        WHERE id = OLD.id >> 32;
    UPDATE account SET messages = messages - 1, bytes = bytes - OLD.size
        WHERE id = (SELECT account FROM folder WHERE id = OLD.id >> 32);
    UPDATE content SET refs = refs - 1, unreferenced = iif(refs = 1, unixepoch() * 1000, NULL) WHERE id = OLD.content;
    UPDATE prefix SET refs = refs - 1 WHERE id = OLD.prefix;
    DELETE FROM prefix WHERE id = OLD.prefix AND refs = 0;
END;

CREATE TRIGGER message_flagged AFTER UPDATE OF flags ON message WHEN OLD.flags & 9 <> NEW.flags & 9 BEGIN
    UPDATE folder SET
        unseen = unseen + (NEW.flags & 1 = 0) - (OLD.flags & 1 = 0),
        deleted = deleted + (NEW.flags & 8 <> 0) - (OLD.flags & 8 <> 0),
        deleted_bytes = deleted_bytes + ((NEW.flags & 8 <> 0) - (OLD.flags & 8 <> 0)) * NEW.size
        WHERE id = NEW.id >> 32;
END;

-- What each person got lately: "one person gets one copy". key: see arrival.rs.
CREATE TABLE delivered (
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    key     BLOB NOT NULL,
    time    INTEGER NOT NULL,
    listing TEXT,                          -- only where there is no Message-ID
    PRIMARY KEY (account, key)
) WITHOUT ROWID;

-- Coming in --------------------------------------------------------------------------------------------------------------------

CREATE TABLE source (
    id     INTEGER PRIMARY KEY,
    host   TEXT NOT NULL,
    login  TEXT NOT NULL,
    folder TEXT NOT NULL,
    UNIQUE (host, login, folder)
);

CREATE TABLE ledger (
    source      INTEGER NOT NULL REFERENCES source,
    uid         TEXT NOT NULL,
    ordinal     INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('attempted', 'known', 'stored', 'delete_sent', 'gone')),
    outcome     TEXT NOT NULL DEFAULT '',
    size        INTEGER NOT NULL DEFAULT 0,
    fingerprint TEXT,
    content     INTEGER,                   -- does not keep it alive
    attempts    INTEGER NOT NULL DEFAULT 0,
    first_seen  INTEGER NOT NULL,
    stored      INTEGER,
    changed     INTEGER NOT NULL,
    PRIMARY KEY (source, uid, ordinal)
) WITHOUT ROWID;
CREATE INDEX ledger_state ON ledger (source, state, changed);

CREATE TABLE collector (
    name           TEXT PRIMARY KEY,
    fetching_since INTEGER,
    last_run       INTEGER,
    last_success   INTEGER,
    next_run       INTEGER,
    last_error     TEXT,
    failures       INTEGER NOT NULL,
    refused        INTEGER NOT NULL,
    first_refused  INTEGER,
    suspended      TEXT,
    figures        TEXT
) WITHOUT ROWID;

CREATE TABLE journal (
    id        INTEGER PRIMARY KEY,
    content   INTEGER NOT NULL REFERENCES content,
    received  INTEGER NOT NULL,
    collector TEXT NOT NULL,
    decision  TEXT NOT NULL
);
CREATE INDEX journal_received ON journal (received);
CREATE INDEX journal_content ON journal (content);

CREATE TABLE tray (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    content   INTEGER NOT NULL REFERENCES content,
    received  INTEGER NOT NULL,
    kind      TEXT NOT NULL CHECK (kind IN ('held', 'quarantine', 'stub')),
    reason    TEXT NOT NULL,
    addresses TEXT NOT NULL,               -- JSON array
    sender    TEXT NOT NULL,
    subject   TEXT NOT NULL,
    collector TEXT
);
CREATE INDEX tray_content ON tray (content);

-- Going out --------------------------------------------------------------------------------------------------------------------

CREATE TABLE queue (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    content   INTEGER NOT NULL REFERENCES content,
    owner     TEXT NOT NULL,
    sender    TEXT,
    queued_at INTEGER NOT NULL,
    smarthost TEXT,
    data_sent INTEGER NOT NULL DEFAULT 0,  -- bits: 1 the final dot is about to go, 2 an earlier one got no answer
    notified  INTEGER NOT NULL DEFAULT 0,
    header    BLOB
);
CREATE INDEX queue_content ON queue (content);

CREATE TABLE queue_recipient (
    mail       INTEGER NOT NULL REFERENCES queue ON DELETE CASCADE,
    address    TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'delayed', 'held', 'relayed', 'failed')),
    due        INTEGER,
    attempts   INTEGER NOT NULL DEFAULT 0,
    last_reply TEXT,
    changed    INTEGER NOT NULL,
    PRIMARY KEY (mail, address)
) WITHOUT ROWID;
CREATE INDEX queue_recipient_due ON queue_recipient (due) WHERE state IN ('queued', 'delayed');
CREATE INDEX queue_recipient_sending ON queue_recipient (mail) WHERE state = 'sending';

CREATE TABLE sent (
    message_id TEXT NOT NULL,
    account    INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    time       INTEGER NOT NULL,
    PRIMARY KEY (message_id, account)
) WITHOUT ROWID;

-- What else refers to originals ------------------------------------------------------------------------------------------------

CREATE TRIGGER journal_inserted AFTER INSERT ON journal BEGIN
    UPDATE content SET refs = ifnull(refs, 0) + 1, unreferenced = NULL WHERE id = NEW.content;
END;
CREATE TRIGGER journal_deleted AFTER DELETE ON journal BEGIN
    UPDATE content SET refs = refs - 1, unreferenced = iif(refs = 1, unixepoch() * 1000, NULL) WHERE id = OLD.content;
END;
CREATE TRIGGER tray_inserted AFTER INSERT ON tray BEGIN
    UPDATE content SET refs = ifnull(refs, 0) + 1, unreferenced = NULL WHERE id = NEW.content;
END;
CREATE TRIGGER tray_deleted AFTER DELETE ON tray BEGIN
    UPDATE content SET refs = refs - 1, unreferenced = iif(refs = 1, unixepoch() * 1000, NULL) WHERE id = OLD.content;
END;
CREATE TRIGGER queue_inserted AFTER INSERT ON queue BEGIN
    UPDATE content SET refs = ifnull(refs, 0) + 1, unreferenced = NULL WHERE id = NEW.content;
END;
CREATE TRIGGER queue_deleted AFTER DELETE ON queue BEGIN
    UPDATE content SET refs = refs - 1, unreferenced = iif(refs = 1, unixepoch() * 1000, NULL) WHERE id = OLD.content;
END;

-- The life of mail -------------------------------------------------------------------------------------------------------------

-- In order of time, so ageing reads from the front.
CREATE TABLE trace (
    id         INTEGER PRIMARY KEY,
    time       INTEGER NOT NULL,
    content    INTEGER,                    -- does not keep it alive
    message_id TEXT,
    event      TEXT NOT NULL,
    detail     TEXT NOT NULL
);
CREATE INDEX trace_message_id ON trace (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX trace_content ON trace (content) WHERE content IS NOT NULL;

-- What processes share ---------------------------------------------------------------------------------------------------------

CREATE TABLE secret (
    name       TEXT PRIMARY KEY,
    nonce      BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    changed    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE request (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    kind      TEXT NOT NULL,
    arguments TEXT NOT NULL,
    posted    INTEGER NOT NULL,
    taken     INTEGER,
    result    TEXT
);

CREATE TABLE last_good (path TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
