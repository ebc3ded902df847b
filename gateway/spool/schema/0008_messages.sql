-- HL7 messages as received, with what was answered: raw bytes for a person and a replay, erased by [retention] messages.
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_at TEXT NOT NULL,
    sender TEXT NOT NULL,
    address TEXT NOT NULL,
    kind TEXT NOT NULL,
    control_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    raw BLOB NOT NULL,
    code TEXT NOT NULL CHECK (code IN ('AA', 'AE', 'AR')),
    effect TEXT NOT NULL,
    faults TEXT NOT NULL,
    answer BLOB NOT NULL,
    seen_at TEXT
) STRICT;
-- A digest may repeat: what was not applied is tried anew when it comes again.
CREATE INDEX message_digest ON message (digest);
CREATE INDEX message_age ON message (received_at);
-- What a person has still to look at.
CREATE INDEX message_open ON message (sender) WHERE seen_at IS NULL;
