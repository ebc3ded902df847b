-- What scanners performed (PS3.4 F.7): evidence, so it is kept whatever its relaying comes to.
CREATE TABLE mpps_step (
    id INTEGER PRIMARY KEY,
    SOPInstanceUID TEXT NOT NULL UNIQUE,
    calling_ae TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('', 'IN PROGRESS', 'COMPLETED', 'DISCONTINUED')),
    created TEXT NOT NULL,
    last_set TEXT NOT NULL,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    ended_at TEXT,
    PatientID TEXT NOT NULL,
    Modality TEXT NOT NULL,
    PerformedProcedureStepID TEXT NOT NULL,
    PerformedStationAETitle TEXT NOT NULL,
    reason TEXT NOT NULL,
    series INTEGER,
    instances INTEGER
) STRICT;
CREATE INDEX mpps_step_last ON mpps_step (last_at);
CREATE INDEX mpps_step_completed ON mpps_step (ended_at) WHERE status = 'COMPLETED';

-- The scheduled steps it was performed for, as the scanner said.
CREATE TABLE mpps_reference (
    step INTEGER NOT NULL REFERENCES mpps_step (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    StudyInstanceUID TEXT NOT NULL,
    AccessionNumber TEXT NOT NULL,
    RequestedProcedureID TEXT NOT NULL,
    ScheduledProcedureStepID TEXT NOT NULL,
    PRIMARY KEY (step, position)
) STRICT;
CREATE INDEX mpps_reference_study ON mpps_reference (StudyInstanceUID, ScheduledProcedureStepID);

-- The messages as they came, in their order.
CREATE TABLE mpps_message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    step INTEGER NOT NULL REFERENCES mpps_step (id) ON DELETE CASCADE,
    request TEXT NOT NULL CHECK (request IN ('N-CREATE', 'N-SET')),
    calling_ae TEXT NOT NULL,
    address TEXT NOT NULL,
    received_at TEXT NOT NULL,
    TransferSyntaxUID TEXT NOT NULL,
    dataset BLOB NOT NULL
) STRICT;
CREATE INDEX mpps_message_step ON mpps_message (step, request, seq);

-- Each on its way to one peer. Only the first of a step that is queued or sending may go; refused ones wait for a person.
CREATE TABLE mpps_relay (
    id INTEGER PRIMARY KEY,
    message INTEGER NOT NULL REFERENCES mpps_message (seq) ON DELETE CASCADE,
    step INTEGER NOT NULL REFERENCES mpps_step (id) ON DELETE CASCADE,
    request TEXT NOT NULL,
    target TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'refused', 'dismissed')),
    attempts INTEGER NOT NULL,
    not_before TEXT,
    last_status TEXT NOT NULL,
    queued_at TEXT NOT NULL,
    settled_at TEXT
) STRICT;
CREATE INDEX mpps_relay_step ON mpps_relay (step, target, request, message);
CREATE INDEX mpps_relay_message ON mpps_relay (message);
-- What is not over is little, whatever is kept: the queue is read by this alone.
CREATE INDEX mpps_relay_open ON mpps_relay (target, state, step, request, message) WHERE settled_at IS NULL;
