-- Version 10.

-- Its number in the folder that shows the tray; null: not shown (yet).
ALTER TABLE tray ADD COLUMN uid INTEGER;
CREATE UNIQUE INDEX tray_uid ON tray (uid) WHERE uid IS NOT NULL;
