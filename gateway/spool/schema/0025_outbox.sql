-- What central IT is told, and has not acknowledged. One row says who the box is in this: it begins anew if the database does.
CREATE TABLE outbox (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    log TEXT NOT NULL,
    key BLOB NOT NULL,
    starts INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    acked INTEGER NOT NULL,
    study_seq INTEGER NOT NULL
) STRICT;
INSERT INTO outbox (only, log, key, starts, last_seq, acked, study_seq)
VALUES (1, 'g' || lower(hex(randomblob(4))), randomblob(32), 0, 0, 0, 0);

CREATE TABLE outbox_event (
    seq INTEGER PRIMARY KEY,
    rank INTEGER NOT NULL,
    at TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX outbox_event_rank ON outbox_event (rank, seq);

-- Alarms as central was told of them: a row until it is known there no more.
CREATE TABLE outbox_alarm (
    code TEXT NOT NULL,
    inst TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('raised', 'cleared')),
    sev TEXT NOT NULL,
    since TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    count INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    eid TEXT NOT NULL,
    PRIMARY KEY (code, inst)
) STRICT;
