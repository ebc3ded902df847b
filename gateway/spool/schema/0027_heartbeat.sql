-- When each part of the box last proved that it can write here; a part feeds its watchdog by this (spool/heartbeats.py).
CREATE TABLE heartbeat (
    part TEXT PRIMARY KEY,
    at TEXT NOT NULL
) STRICT;
