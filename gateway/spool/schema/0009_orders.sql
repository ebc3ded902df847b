-- What messages said is ordered, and of whom. `event` and `message` are the sender's stamps (ORC-9 or EVN-2, MSH-7).
CREATE TABLE patient (
    PatientID TEXT NOT NULL,
    issuer TEXT NOT NULL,
    content TEXT NOT NULL,
    event TEXT NOT NULL,
    message TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (PatientID, issuer)
) STRICT;
CREATE INDEX patient_age ON patient (changed_at);

-- A number that is another's by a merge, or that was given up for another.
CREATE TABLE patient_alias (
    PatientID TEXT NOT NULL,
    issuer TEXT NOT NULL,
    to_PatientID TEXT NOT NULL,
    to_issuer TEXT NOT NULL,
    renamed INTEGER NOT NULL,
    event TEXT NOT NULL,
    message TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (PatientID, issuer)
) STRICT;
CREATE INDEX patient_alias_to ON patient_alias (to_PatientID, to_issuer);
CREATE INDEX patient_alias_age ON patient_alias (changed_at);

CREATE TABLE requested_procedure (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    StudyInstanceUID TEXT NOT NULL,
    RequestedProcedureID TEXT NOT NULL,
    AccessionNumber TEXT NOT NULL,
    accession_issuer TEXT NOT NULL,
    placer TEXT NOT NULL,
    placer_issuer TEXT NOT NULL,
    filler TEXT NOT NULL,
    filler_issuer TEXT NOT NULL,
    PatientID TEXT NOT NULL,
    issuer TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN
        ('SCHEDULED', 'ARRIVED', 'STARTED', 'HELD', 'COMPLETED', 'DISCONTINUED', 'CANCELED')),
    content TEXT NOT NULL,
    keys TEXT NOT NULL,
    event TEXT NOT NULL,
    message TEXT NOT NULL,
    first_seen TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    UNIQUE (StudyInstanceUID, RequestedProcedureID)
) STRICT;
CREATE INDEX requested_procedure_accession ON requested_procedure (AccessionNumber);
CREATE INDEX requested_procedure_placer ON requested_procedure (placer);
CREATE INDEX requested_procedure_filler ON requested_procedure (filler);
CREATE INDEX requested_procedure_patient ON requested_procedure (PatientID, issuer);
CREATE INDEX requested_procedure_age ON requested_procedure (changed_at);

-- Other identifiers by which an order is known: what did not fit, and what it had before.
CREATE TABLE order_alias (
    kind TEXT NOT NULL CHECK (kind IN ('study', 'accession')),
    value TEXT NOT NULL,
    issuer TEXT NOT NULL,
    procedure INTEGER NOT NULL REFERENCES requested_procedure (id) ON DELETE CASCADE,
    PRIMARY KEY (kind, value, issuer, procedure)
) STRICT;
CREATE INDEX order_alias_procedure ON order_alias (procedure);

-- The state of an order that did not come yet.
CREATE TABLE order_tombstone (
    kind TEXT NOT NULL CHECK (kind IN ('study', 'placer', 'filler', 'accession')),
    value TEXT NOT NULL,
    issuer TEXT NOT NULL,
    source TEXT NOT NULL,
    status TEXT NOT NULL,
    event TEXT NOT NULL,
    message TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (kind, value, issuer, source)
) STRICT;
CREATE INDEX order_tombstone_age ON order_tombstone (changed_at);

-- An appointment whose order did not come yet.
CREATE TABLE appointment (
    source TEXT NOT NULL,
    number TEXT NOT NULL,
    placer TEXT NOT NULL,
    filler TEXT NOT NULL,
    PatientID TEXT NOT NULL,
    issuer TEXT NOT NULL,
    content TEXT NOT NULL,
    event TEXT NOT NULL,
    message TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (source, number)
) STRICT;
CREATE INDEX appointment_placer ON appointment (placer);
CREATE INDEX appointment_filler ON appointment (filler);
CREATE INDEX appointment_age ON appointment (changed_at);

-- An order that binds what is known to another patient: kept out of the worklist until a person settles it.
CREATE TABLE order_conflict (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    procedure INTEGER NOT NULL,
    kind TEXT NOT NULL,
    PatientID TEXT NOT NULL,
    issuer TEXT NOT NULL,
    at TEXT NOT NULL,
    settled_at TEXT,
    settled_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX order_conflict_open ON order_conflict (source, at) WHERE settled_at IS NULL;
CREATE INDEX order_conflict_age ON order_conflict (at);

-- Accession numbers of our own.
CREATE TABLE accession_sequence (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), last INTEGER NOT NULL) STRICT;
INSERT INTO accession_sequence VALUES (1, 0);
