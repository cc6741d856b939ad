-- Version 11.

-- What was sent on lately to addresses elsewhere: "one person gets one copy". key: see arrival.rs.
CREATE TABLE handed_on (
    system  TEXT NOT NULL,                 -- the mail system that has the mailbox; '': whoever takes mail for the address outside
    address TEXT NOT NULL,
    key     BLOB NOT NULL,
    time    INTEGER NOT NULL,
    listing TEXT,                          -- only where there is no Message-ID
    mail    INTEGER NOT NULL,              -- its number in the queue
    PRIMARY KEY (system, address, key)
) WITHOUT ROWID;
CREATE INDEX handed_on_mail ON handed_on (mail);
