-- Entries of the downtime desk. A row is never removed, only emptied of the patient: what was minted is never
-- minted again.
CREATE TABLE desk_entry (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    second INTEGER NOT NULL UNIQUE,
    AccessionNumber TEXT NOT NULL UNIQUE COLLATE NOCASE,
    StudyInstanceUID TEXT NOT NULL UNIQUE,
    PatientID TEXT NOT NULL,
    IssuerOfPatientID TEXT NOT NULL,
    PatientName TEXT NOT NULL,
    PatientBirthDate TEXT NOT NULL,
    PatientSex TEXT NOT NULL,
    named INTEGER NOT NULL,
    stations TEXT NOT NULL,
    Modality TEXT NOT NULL,
    procedure TEXT NOT NULL,
    emergency INTEGER NOT NULL,
    start TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'linked', 'expired', 'cancelled')),
    automatic INTEGER NOT NULL,
    added_at TEXT NOT NULL,
    added_by TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    erased INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX desk_waiting ON desk_entry (state) WHERE state IN ('open', 'expired') AND erased = 0;
CREATE INDEX desk_expiry ON desk_entry (expires_at) WHERE state = 'open' AND erased = 0;

-- What was minted for an entry, and the real values it stands for.
CREATE TABLE desk_link (
    entry INTEGER PRIMARY KEY REFERENCES desk_entry (number),
    source TEXT NOT NULL,
    AccessionNumber TEXT NOT NULL,
    StudyInstanceUID TEXT NOT NULL,
    PatientID TEXT NOT NULL,
    IssuerOfPatientID TEXT NOT NULL,
    RequestedProcedureID TEXT NOT NULL,
    how TEXT NOT NULL,
    at TEXT NOT NULL,
    by TEXT NOT NULL
) STRICT;
