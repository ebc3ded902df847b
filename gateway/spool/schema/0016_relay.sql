-- Each message on its way to one peer: what was told of a performed step (mpps), and what we tell of an order
-- (order-message). Ids grow with time; those of order messages stay what they were, for the journal names them.
CREATE TABLE relay (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('mpps', 'order-message')),
    target TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'refused', 'dismissed')),
    attempts INTEGER NOT NULL,
    not_before TEXT,
    last_status TEXT NOT NULL,
    queued_at TEXT NOT NULL,
    settled_at TEXT,
    tells TEXT NOT NULL CHECK (tells IN ('N-CREATE', 'N-SET', 'start', 'complete', 'report')),
    -- Of a performed step: as it came is in mpps_message.
    message INTEGER REFERENCES mpps_message (seq) ON DELETE CASCADE,
    step INTEGER REFERENCES mpps_step (id) ON DELETE CASCADE,
    -- Of an order: as it is sent. The body names the patient.
    procedure INTEGER REFERENCES requested_procedure (id) ON DELETE SET NULL,
    control_id TEXT UNIQUE,
    body BLOB,
    CHECK ((kind = 'mpps') = (message IS NOT NULL AND step IS NOT NULL)),
    CHECK ((kind = 'order-message') = (control_id IS NOT NULL AND body IS NOT NULL))
) STRICT;
INSERT INTO sqlite_sequence (name, seq) SELECT 'relay', seq FROM sqlite_sequence WHERE name = 'order_message';
INSERT INTO relay (
    id, kind, target, state, attempts, not_before, last_status, queued_at, settled_at, tells, procedure, control_id, body
)
SELECT id, 'order-message', receiver, state, attempts, not_before, last_status, queued_at, settled_at, event, procedure,
    control_id, body
FROM order_message;
INSERT INTO relay (
    kind, target, state, attempts, not_before, last_status, queued_at, settled_at, tells, message, step
)
SELECT 'mpps', target, state, attempts, not_before, last_status, queued_at, settled_at, request, message, step
FROM mpps_relay ORDER BY id;
DROP TABLE order_message;
DROP TABLE mpps_relay;
CREATE INDEX relay_step ON relay (step, target, tells, message);
CREATE INDEX relay_message ON relay (message);
-- At most one of each event, for each order and receiver.
CREATE UNIQUE INDEX relay_once ON relay (procedure, target, tells);
-- What is not over is little, whatever is kept: the queues are read by these alone.
CREATE INDEX relay_open ON relay (kind, target, state, step, tells, message) WHERE settled_at IS NULL;
CREATE INDEX relay_waiting ON relay (kind, target, id) WHERE settled_at IS NULL;
CREATE INDEX relay_over ON relay (kind, settled_at) WHERE settled_at IS NOT NULL;
