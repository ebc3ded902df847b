-- Whom a delivery was meant for, where it was moved to another destination; empty: it was not.
ALTER TABLE delivery ADD COLUMN meant_for TEXT NOT NULL DEFAULT '';
