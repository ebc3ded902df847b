-- A source that had the step for another patient when it was shown last; empty if none had.
ALTER TABLE served ADD COLUMN conflict TEXT NOT NULL DEFAULT '';
