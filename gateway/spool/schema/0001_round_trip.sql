-- The index of the spool. Times are UTC text of fixed width (ISO 8601, microseconds), so they sort.
-- Columns named like a DICOM keyword hold that element.

CREATE TABLE instance (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    SOPClassUID TEXT NOT NULL,
    SOPInstanceUID TEXT NOT NULL,
    TransferSyntaxUID TEXT NOT NULL,
    StudyInstanceUID TEXT NOT NULL,
    SeriesInstanceUID TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    size INTEGER NOT NULL,
    calling_ae TEXT NOT NULL,
    called_ae TEXT NOT NULL,
    address TEXT NOT NULL,
    association TEXT NOT NULL,
    received_at TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('received', 'prepared', 'delivered', 'purged')),
    quarantine TEXT NOT NULL DEFAULT ''
) STRICT;
-- Same UID and same bytes are one object for as long as we keep it (invariant 11).
CREATE UNIQUE INDEX instance_content ON instance (SOPInstanceUID, content_hash) WHERE state <> 'purged';
CREATE INDEX instance_state ON instance (state, seq);
CREATE INDEX instance_study ON instance (StudyInstanceUID);

CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    instance TEXT NOT NULL REFERENCES instance (id),
    destination TEXT NOT NULL,
    lane TEXT NOT NULL CHECK (lane IN ('stat', 'routine', 'bulk')),
    state TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'confirmed', 'refused')),
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before TEXT,
    lease_until TEXT,
    last_status TEXT NOT NULL DEFAULT '',
    queued_at TEXT NOT NULL,
    sent_at TEXT,
    confirmed_at TEXT
) STRICT;
CREATE INDEX delivery_instance ON delivery (instance);
CREATE INDEX delivery_open ON delivery (state, destination, lane, id) WHERE state <> 'confirmed';

CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    why TEXT NOT NULL
) STRICT;
CREATE INDEX journal_subject ON journal (kind, subject);
CREATE INDEX journal_purged ON journal (at) WHERE kind = 'instance' AND to_state = 'purged';

CREATE TABLE alarm (
    id INTEGER PRIMARY KEY,
    code TEXT NOT NULL,
    subject TEXT NOT NULL,
    since TEXT NOT NULL,
    last TEXT NOT NULL,
    count INTEGER NOT NULL,
    cleared_at TEXT
) STRICT;
CREATE UNIQUE INDEX alarm_active ON alarm (code, subject) WHERE cleared_at IS NULL;

-- One scheduled procedure step of one upstream worklist. NOCASE keeps the prefilter a superset.
CREATE TABLE worklist_row (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    PatientID TEXT NOT NULL COLLATE NOCASE,
    PatientName TEXT NOT NULL,
    AccessionNumber TEXT NOT NULL COLLATE NOCASE,
    StudyInstanceUID TEXT NOT NULL,
    RequestedProcedureID TEXT NOT NULL,
    ScheduledProcedureStepID TEXT NOT NULL,
    start_date TEXT NOT NULL,
    start_time TEXT NOT NULL,
    Modality TEXT NOT NULL COLLATE NOCASE,
    ScheduledStationAETitle TEXT NOT NULL,
    status TEXT NOT NULL,
    first_seen TEXT NOT NULL,
    last_confirmed TEXT NOT NULL,
    missed INTEGER NOT NULL,
    dataset BLOB NOT NULL,
    PRIMARY KEY (source, key)
) STRICT;
CREATE INDEX worklist_accession ON worklist_row (AccessionNumber);
CREATE INDEX worklist_patient ON worklist_row (PatientID);
CREATE INDEX worklist_study ON worklist_row (StudyInstanceUID);
CREATE INDEX worklist_date ON worklist_row (start_date, Modality);

CREATE TABLE worklist_source (
    name TEXT PRIMARY KEY,
    last_attempt TEXT NOT NULL,
    last_success TEXT,
    last_error TEXT NOT NULL,
    rows INTEGER NOT NULL
) STRICT;

-- What was answered to whom: evidence for the check, one row per distinct answer.
CREATE TABLE served (
    calling_ae TEXT NOT NULL,
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    PatientID TEXT NOT NULL,
    AccessionNumber TEXT NOT NULL,
    StudyInstanceUID TEXT NOT NULL,
    RequestedProcedureID TEXT NOT NULL,
    ScheduledProcedureStepID TEXT NOT NULL,
    first_served TEXT NOT NULL,
    last_served TEXT NOT NULL,
    count INTEGER NOT NULL,
    dataset BLOB NOT NULL,
    PRIMARY KEY (calling_ae, source, key, digest)
) STRICT;
CREATE INDEX served_recent ON served (calling_ae, last_served);
CREATE INDEX served_age ON served (last_served);

CREATE TABLE caller (
    calling_ae TEXT NOT NULL,
    called_ae TEXT NOT NULL,
    address TEXT NOT NULL,
    first_seen TEXT NOT NULL,
    last_seen TEXT NOT NULL,
    count INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (calling_ae, called_ae, address)
) STRICT;
CREATE INDEX caller_recent ON caller (last_seen);

CREATE TABLE scanner (
    ae TEXT PRIMARY KEY,
    addresses TEXT NOT NULL,
    profile TEXT NOT NULL,
    added_at TEXT NOT NULL,
    added_by TEXT NOT NULL
) STRICT;

-- A scanner asked us (N-ACTION received; we are the SCP, PS3.4 J.3).
CREATE TABLE commitment_request (
    transaction_uid TEXT NOT NULL,
    scanner TEXT NOT NULL,
    received_at TEXT NOT NULL,
    referenced TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'decided', 'answered')),
    result TEXT NOT NULL,
    answered_at TEXT,
    PRIMARY KEY (transaction_uid, scanner)
) STRICT;
CREATE INDEX commitment_request_open ON commitment_request (state, received_at);

-- We asked a destination, under a Transaction UID of ours.
CREATE TABLE commitment_transaction (
    transaction_uid TEXT PRIMARY KEY,
    destination TEXT NOT NULL,
    asked_at TEXT NOT NULL,
    deliveries TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'answered', 'settled')),
    succeeded TEXT NOT NULL,
    failed TEXT NOT NULL,
    answered_at TEXT
) STRICT;
CREATE INDEX commitment_transaction_state ON commitment_transaction (state, asked_at);
