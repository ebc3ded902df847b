-- How each hop of each peer was the last time health asked, and what it measured last of the machine.
-- What it found wrong is among the alarms, which are the one list of all that is.
CREATE TABLE health_probe (
    hop TEXT NOT NULL,
    peer TEXT NOT NULL,
    at TEXT NOT NULL,
    last_good TEXT,
    latency_ms REAL,
    code TEXT NOT NULL,
    PRIMARY KEY (hop, peer)
) STRICT, WITHOUT ROWID;

CREATE TABLE health_reading (
    name TEXT NOT NULL PRIMARY KEY,
    value REAL NOT NULL,
    at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
