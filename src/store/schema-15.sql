-- Version 15.

-- When the folder was last renamed: what is in it does not lie longer than that where it lies now.
ALTER TABLE folder ADD COLUMN placed INTEGER NOT NULL DEFAULT 0;
