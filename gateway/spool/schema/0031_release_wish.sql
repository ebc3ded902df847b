-- The releases that central IT wished for: a row for each, the last of which counts.
CREATE TABLE release_wish (
    sequence INTEGER PRIMARY KEY,
    version TEXT NOT NULL,
    ring TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    phase TEXT NOT NULL CHECK (phase IN ('staged', 'rejected', 'applied', 'confirmed', 'rolled-back')),
    fault TEXT NOT NULL,
    changed_at TEXT NOT NULL
) STRICT;
