-- Several sources may know the same step: what stands first is decided from these (domain/merge.py).
ALTER TABLE worklist_row ADD COLUMN kind TEXT NOT NULL DEFAULT 'live' CHECK (kind IN ('live', 'hl7', 'desk'));
ALTER TABLE worklist_row ADD COLUMN stamp TEXT;
ALTER TABLE worklist_row ADD COLUMN minted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE worklist_row ADD COLUMN IssuerOfAccessionNumber TEXT NOT NULL DEFAULT '';
ALTER TABLE worklist_row ADD COLUMN IssuerOfPatientID TEXT NOT NULL DEFAULT '';
-- Of the row as it was written, so that an answer that says the same writes nothing.
ALTER TABLE worklist_row ADD COLUMN digest TEXT NOT NULL DEFAULT '';
UPDATE worklist_row SET digest = lower(hex(randomblob(16)));
CREATE INDEX worklist_key ON worklist_row (key);

-- The one station of a step, as it is compared; empty if it has none or several.
ALTER TABLE worklist_row ADD COLUMN station TEXT GENERATED ALWAYS AS (
    CASE WHEN instr(ScheduledStationAETitle, '\') THEN ''
         ELSE upper(replace(ScheduledStationAETitle, ' ', '')) END
) VIRTUAL;
CREATE INDEX worklist_station ON worklist_row (station, start_date);

-- The last whole answer of a source, and the days it was asked for.
ALTER TABLE worklist_source ADD COLUMN last_complete TEXT;
ALTER TABLE worklist_source ADD COLUMN window_first TEXT NOT NULL DEFAULT '';
ALTER TABLE worklist_source ADD COLUMN window_last TEXT NOT NULL DEFAULT '';
