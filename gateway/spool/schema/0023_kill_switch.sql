-- Whose studies are corrected how often, for the rule that stops corrections; a patient is a digest here.
ALTER TABLE study_check ADD COLUMN calling_ae TEXT NOT NULL DEFAULT '';
ALTER TABLE study_check ADD COLUMN corrected_patient TEXT NOT NULL DEFAULT '';
-- Since when a person lets the check correct again; empty: nobody had to.
ALTER TABLE check_cursor ADD COLUMN resumed_at TEXT NOT NULL DEFAULT '';
