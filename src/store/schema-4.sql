-- Version 4.

-- A keyed hash of the log-in that was refused: after a restart, too, the same one is not tried again.
ALTER TABLE collector ADD COLUMN refused_with TEXT;

-- Fetches that ended by a fault of the program, ever.
ALTER TABLE collector ADD COLUMN faults INTEGER NOT NULL DEFAULT 0;

-- Somebody asked for the original of a stub: the mailbox that gets it; '' is whom the mapping says.
ALTER TABLE ledger ADD COLUMN wanted TEXT;

-- Messages of the last listing that a fetch says it dealt with, and that the ledger does not have.
ALTER TABLE source ADD COLUMN missing INTEGER NOT NULL DEFAULT 0;
