-- When the last destination confirmed it: the order in which images are let go.
ALTER TABLE instance ADD COLUMN delivered_at TEXT;
UPDATE instance SET delivered_at = (SELECT max(d.confirmed_at) FROM delivery AS d WHERE d.instance = instance.id)
WHERE state = 'delivered';
CREATE INDEX instance_delivered ON instance (delivered_at, size) WHERE state = 'delivered' AND quarantine = '';

-- How the disk is, as forward saw it last.
CREATE TABLE disk (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    at TEXT NOT NULL,
    free INTEGER NOT NULL,
    total INTEGER NOT NULL,
    reserve INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,
    ingest REAL
) STRICT;
