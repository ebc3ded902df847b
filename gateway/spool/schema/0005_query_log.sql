-- Every question of a scanner and what became of it. The same question with the same answer is one row a minute.
CREATE TABLE worklist_query (
    calling_ae TEXT NOT NULL COLLATE NOCASE,
    first_asked TEXT NOT NULL,
    digest TEXT NOT NULL,
    last_asked TEXT NOT NULL,
    count INTEGER NOT NULL,
    identifier BLOB NOT NULL,
    meant BLOB NOT NULL,
    status INTEGER,
    looked_at INTEGER NOT NULL,
    dropped TEXT NOT NULL,
    quirks TEXT NOT NULL,
    answered INTEGER NOT NULL,
    sources TEXT NOT NULL,
    age_ms INTEGER,
    slowest_ms INTEGER NOT NULL,
    PRIMARY KEY (calling_ae, first_asked, digest)
) STRICT;
CREATE INDEX worklist_query_recent ON worklist_query (calling_ae, last_asked);
CREATE INDEX worklist_query_age ON worklist_query (last_asked);

-- Questions by outcome since the first start: counters for collectors.
CREATE TABLE worklist_tally (outcome TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT;

-- Why a row is no longer in the copy.
CREATE TABLE worklist_removal (
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    PatientID TEXT NOT NULL COLLATE NOCASE,
    AccessionNumber TEXT NOT NULL COLLATE NOCASE,
    StudyInstanceUID TEXT NOT NULL,
    start_date TEXT NOT NULL,
    reason TEXT NOT NULL CHECK (reason IN ('absent', 'expired', 'done', 'withdrawn')),
    removed_at TEXT NOT NULL,
    PRIMARY KEY (source, key)
) STRICT;
CREATE INDEX worklist_removal_accession ON worklist_removal (AccessionNumber);
CREATE INDEX worklist_removal_patient ON worklist_removal (PatientID);
CREATE INDEX worklist_removal_study ON worklist_removal (StudyInstanceUID);
CREATE INDEX worklist_removal_age ON worklist_removal (removed_at);

-- What was shown is kept as it was encoded for the scanner.
ALTER TABLE served ADD COLUMN transfer_syntax TEXT NOT NULL DEFAULT '1.2.840.10008.1.2.1';
CREATE INDEX served_patient ON served (PatientID);
CREATE INDEX served_key ON served (key);

-- Until when a RIS is left alone after failures; empty or past: it is asked.
ALTER TABLE worklist_source ADD COLUMN resting_until TEXT NOT NULL DEFAULT '';
