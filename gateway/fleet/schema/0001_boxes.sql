-- What central knows of the boxes of a fleet. A box is named by its site and its own id, as its topics are.

CREATE TABLE box (
    site TEXT NOT NULL,
    box TEXT NOT NULL,
    sid TEXT,                                    -- the connection that was heard last, of domain/presence
    state TEXT,                                  -- what it says of itself, or its broker of it
    heard TIMESTAMPTZ,
    contested TIMESTAMPTZ,                       -- when another box was heard under its name
    since TIMESTAMPTZ NOT NULL,                  -- of `state`
    health JSONB,
    health_at TIMESTAMPTZ,                       -- by the clock of the box
    info JSONB,
    reported JSONB,
    PRIMARY KEY (site, box)
);

-- Since when somebody listens without a break: one row
CREATE TABLE listening (
    one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    since TIMESTAMPTZ NOT NULL,
    at TIMESTAMPTZ NOT NULL
);

-- How far the events of one numbering (`log`) are here, or given up by the box, without a gap
CREATE TABLE stream (
    site TEXT NOT NULL,
    box TEXT NOT NULL,
    log TEXT NOT NULL,
    upto BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (site, box, log)
);

-- What a backfill said of (after, upto]: whatever of it is not here will never be. Gone once `stream.upto` is past it
CREATE TABLE span (
    site TEXT NOT NULL,
    box TEXT NOT NULL,
    log TEXT NOT NULL,
    after BIGINT NOT NULL,
    upto BIGINT NOT NULL,
    PRIMARY KEY (site, box, log, after, upto)
);

-- `at` is of the box and the same however often it is sent; it is in the key so that TimescaleDB may cut the table by it
CREATE TABLE event (
    site TEXT NOT NULL,
    box TEXT NOT NULL,
    log TEXT NOT NULL,
    seq BIGINT NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    received_at TIMESTAMPTZ NOT NULL,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    body JSONB NOT NULL,
    PRIMARY KEY (site, box, log, seq, at)
);
CREATE INDEX event_at ON event (at);

CREATE TABLE alarm (
    site TEXT NOT NULL,
    box TEXT NOT NULL,
    code TEXT NOT NULL,
    instance TEXT NOT NULL,
    severity TEXT NOT NULL,
    since TIMESTAMPTZ NOT NULL,
    cleared_at TIMESTAMPTZ,
    incident BIGINT,                             -- the one that it is part of
    PRIMARY KEY (site, box, code, instance)
);
CREATE INDEX alarm_raised ON alarm (code, instance) WHERE cleared_at IS NULL;
CREATE INDEX alarm_incident ON alarm (incident);

-- What one cause did to many boxes; whoever is called is called once for it
CREATE TABLE incident (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code TEXT NOT NULL,
    instance TEXT NOT NULL,
    severity TEXT NOT NULL,
    opened_at TIMESTAMPTZ NOT NULL,
    latest_at TIMESTAMPTZ NOT NULL,              -- when the last box came to it
    closed_at TIMESTAMPTZ
);
CREATE INDEX incident_open ON incident (code, instance) WHERE closed_at IS NULL;
