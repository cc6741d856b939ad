-- Version 2.

-- Folders of shared mailboxes that a member does not want listed. All else about them is the same for every member.
CREATE TABLE unsubscribed (
    folder  INTEGER NOT NULL REFERENCES folder ON DELETE CASCADE,
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    PRIMARY KEY (folder, account)
) WITHOUT ROWID;
CREATE INDEX unsubscribed_account ON unsubscribed (account);
