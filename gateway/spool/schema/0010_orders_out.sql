-- How far each study is, by its instances and performed steps: for telling its RIS. No patient is named.
CREATE TABLE study_progress (
    StudyInstanceUID TEXT PRIMARY KEY,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    look_at TEXT NOT NULL,
    standing TEXT NOT NULL CHECK (standing IN ('in progress', 'complete', 'not done')),
    because TEXT NOT NULL,
    ended_at TEXT,
    late INTEGER NOT NULL,
    last_late_at TEXT,
    settled_at TEXT
) STRICT;
CREATE INDEX study_progress_open ON study_progress (look_at) WHERE settled_at IS NULL;
CREATE INDEX study_progress_age ON study_progress (last_at);

-- Up to where instances and performed steps were looked at; what was there before is not told any more.
CREATE TABLE progress_cursor (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    instance INTEGER NOT NULL,
    message INTEGER NOT NULL
) STRICT;
INSERT INTO progress_cursor
SELECT 1, (SELECT coalesce(max(seq), 0) FROM instance), (SELECT coalesce(max(seq), 0) FROM mpps_message);

-- The callers whose associations are open now, as edge tells it.
CREATE TABLE open_association (calling_ae TEXT PRIMARY KEY) STRICT;

-- What is told of orders, each message to one receiver, in the order of their ids. The body is as it is sent, so that
-- it is the same message when it is sent again. It names the patient: erased by [retention] messages once it is over.
CREATE TABLE order_message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver TEXT NOT NULL,
    procedure INTEGER REFERENCES requested_procedure (id) ON DELETE SET NULL,
    event TEXT NOT NULL CHECK (event IN ('start', 'complete', 'report')),
    control_id TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'refused', 'dismissed')),
    attempts INTEGER NOT NULL,
    not_before TEXT,
    last_status TEXT NOT NULL,
    queued_at TEXT NOT NULL,
    settled_at TEXT
) STRICT;
-- At most one of each event, for each order and receiver.
CREATE UNIQUE INDEX order_message_once ON order_message (procedure, receiver, event);
CREATE INDEX order_message_open ON order_message (receiver, id) WHERE settled_at IS NULL;
CREATE INDEX order_message_over ON order_message (settled_at) WHERE settled_at IS NOT NULL;
