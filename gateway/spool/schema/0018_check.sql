-- What the check made of each study (a StudyInstanceUID; of an image without one, our id of the image), and which way
-- its images go. Kept as the map by which later images of the study follow. It names patients: erased with them.
CREATE TABLE study_check (
    study TEXT PRIMARY KEY,
    verdict TEXT NOT NULL,
    blocks INTEGER NOT NULL,
    applied INTEGER NOT NULL,
    way TEXT NOT NULL CHECK (way IN ('routes', 'held', 'unverified', 'rejected')),
    held_until TEXT,
    basis TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    bound TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decision INTEGER REFERENCES decision (id),
    first_at TEXT NOT NULL,
    decided_at TEXT NOT NULL,
    used_at TEXT NOT NULL,
    looked_at TEXT NOT NULL,
    again INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX study_check_again ON study_check (study) WHERE again;
CREATE INDEX study_check_held ON study_check (held_until) WHERE way = 'held';
-- The order that a study was found to be, by our own name of it.
CREATE INDEX study_check_bound ON study_check (bound) WHERE bound <> '';
CREATE INDEX study_check_age ON study_check (used_at);
CREATE INDEX study_check_doubt ON study_check (looked_at)
WHERE decision IS NULL AND verdict IN ('hold', 'suggest', 'unscheduled');
CREATE INDEX study_check_decided ON study_check (decided_at);

-- The headers of a study as far as the check reads them (elements in Explicit VR little endian, and marks of the rest):
-- images that agree in that share one, and its edits.
CREATE TABLE header (
    id INTEGER PRIMARY KEY,
    study TEXT NOT NULL REFERENCES study_check (study) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    excerpt BLOB NOT NULL,
    marks TEXT NOT NULL,
    PatientID TEXT NOT NULL COLLATE NOCASE,
    AccessionNumber TEXT NOT NULL COLLATE NOCASE,
    edits TEXT NOT NULL DEFAULT '',
    UNIQUE (study, digest)
) STRICT;
CREATE INDEX header_patient ON header (PatientID);
CREATE INDEX header_accession ON header (AccessionNumber);

CREATE TABLE instance_header (
    instance TEXT PRIMARY KEY REFERENCES instance (id) ON DELETE CASCADE,
    header INTEGER NOT NULL REFERENCES header (id),
    unpatchable TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX instance_header_of ON instance_header (header);

-- What a person is asked.
CREATE TABLE task (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    study TEXT NOT NULL,
    kind TEXT NOT NULL,
    code TEXT NOT NULL,
    blocks INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'decided')),
    opened_at TEXT NOT NULL,
    escalate_at TEXT,
    decided_at TEXT,
    decided_by TEXT NOT NULL DEFAULT '',
    outcome TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX task_open ON task (study, kind) WHERE state = 'open';
CREATE INDEX task_escalation ON task (escalate_at) WHERE state = 'open' AND escalate_at IS NOT NULL;
CREATE INDEX task_study ON task (study);

-- What a person said, carried out by forward. `target` names an order, `why` is the person's own words.
CREATE TABLE decision (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    study TEXT NOT NULL,
    choice TEXT NOT NULL CHECK (choice IN ('assign', 'release', 'hold', 'reject', 'undo', 'seen')),
    target TEXT NOT NULL,
    remember INTEGER NOT NULL,
    why TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at TEXT NOT NULL,
    carried_at TEXT,
    outcome TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX decision_waiting ON decision (id) WHERE carried_at IS NULL;
CREATE INDEX decision_study ON decision (study);

-- Decisions that hold for other studies with the same evidence.
CREATE TABLE remembered (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    decision INTEGER NOT NULL REFERENCES decision (id),
    fingerprint TEXT NOT NULL,
    used INTEGER NOT NULL DEFAULT 0,
    last_used TEXT,
    revoked_at TEXT,
    revoked_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX remembered_stands ON remembered (fingerprint) WHERE revoked_at IS NULL;

-- Attributes that a destination must show, after a study was sent to it again.
CREATE TABLE read_back (
    id INTEGER PRIMARY KEY,
    study TEXT NOT NULL,
    destination TEXT NOT NULL,
    expected TEXT NOT NULL,
    asked_at TEXT NOT NULL,
    settled_at TEXT,
    outcome TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX read_back_open ON read_back (study, destination) WHERE settled_at IS NULL;

-- Up to which change of orders and patients the studies were looked at.
CREATE TABLE check_cursor (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), order_change INTEGER NOT NULL) STRICT;
INSERT INTO check_cursor VALUES (1, 0);

-- Why a received image is not free to go: its study is held or rejected.
ALTER TABLE instance ADD COLUMN held TEXT NOT NULL DEFAULT '' CHECK (held IN ('', 'held', 'rejected'));
CREATE INDEX instance_unprepared ON instance (seq) WHERE state = 'received' AND quarantine = '' AND held = '';
CREATE INDEX instance_rejected ON instance (seq) WHERE held = 'rejected';
