-- What happened to whole studies, for those who tell others of it: each reads on from the number it read last.
CREATE TABLE study_event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    StudyInstanceUID TEXT NOT NULL,
    event TEXT NOT NULL CHECK (event IN ('complete', 'delivered', 'confirmed')),
    at TEXT NOT NULL,
    images INTEGER NOT NULL
) STRICT;
CREATE INDEX study_event_study ON study_event (StudyInstanceUID, event, seq);
CREATE INDEX study_event_age ON study_event (at);

-- Studies that are complete and not confirmed everywhere: few, whatever is kept.
CREATE TABLE study_settling (
    StudyInstanceUID TEXT PRIMARY KEY,
    delivered INTEGER NOT NULL
) STRICT;
CREATE INDEX study_progress_late ON study_progress (last_late_at) WHERE last_late_at IS NOT NULL;
