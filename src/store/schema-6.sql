-- Version 6.

-- When users with a limit by the hour handed mail in.
CREATE TABLE submitted (
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    time    INTEGER NOT NULL
);
CREATE INDEX submitted_time ON submitted (account, time);
