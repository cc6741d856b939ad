-- Version 13.

-- The program keeps these counters itself when messages come: with a trigger, each INSERT copied every page that it was going to change.
DROP TRIGGER message_inserted;
