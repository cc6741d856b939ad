-- Version 5.

-- The mail system that gets it by LMTP (host:port or a socket); null: it goes out through a smarthost.
ALTER TABLE queue ADD COLUMN lmtp TEXT;
-- It came from outside: what fails for good goes to the tray, since nobody outside gets a bounce.
ALTER TABLE queue ADD COLUMN from_outside INTEGER NOT NULL DEFAULT 0;

-- A mailing rather than a letter: letters go first.
ALTER TABLE queue ADD COLUMN bulk INTEGER NOT NULL DEFAULT 0;
CREATE INDEX queue_owner ON queue (owner);

-- Who has to agree before a held mail goes out, and the question's Message-ID by which the answer is known.
CREATE TABLE approval (
    mail     INTEGER PRIMARY KEY REFERENCES queue ON DELETE CASCADE,
    manager  TEXT NOT NULL,
    question TEXT NOT NULL UNIQUE
);

-- When mail left through a smarthost that has a rate.
CREATE TABLE departure (
    smarthost TEXT NOT NULL,
    time      INTEGER NOT NULL
);
CREATE INDEX departure_time ON departure (smarthost, time);

-- Who is away, and who has been told so.
CREATE TABLE vacation (
    account INTEGER PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    starts  INTEGER,
    ends    INTEGER,
    text    TEXT
);
CREATE TABLE vacation_told (
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    sender  TEXT NOT NULL,
    time    INTEGER NOT NULL,
    PRIMARY KEY (account, sender)
) WITHOUT ROWID;

-- Who gets copies of whose mail.
CREATE TABLE copy (
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    reader  INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    ends    INTEGER,
    PRIMARY KEY (account, reader)
) WITHOUT ROWID;
