-- What central IT wished the configuration to be: a row for each version, the last of which counts.
CREATE TABLE configuration (
    version INTEGER PRIMARY KEY,
    ring TEXT NOT NULL,
    digest TEXT NOT NULL,
    toml TEXT NOT NULL,
    phase TEXT NOT NULL CHECK (phase IN ('staged', 'rejected', 'applied', 'confirmed', 'rolled-back')),
    faults TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    told_at TEXT
) STRICT;
