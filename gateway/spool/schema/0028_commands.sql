-- What central IT asked of this box: each once, for ever as long as it could be sent again. The arguments are names,
-- numbers and words of ours; a configuration is kept beside (configuration).
CREATE TABLE command (
    nonce TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    arguments TEXT NOT NULL,
    signers TEXT NOT NULL,
    issued_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    received_at TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'done', 'failed', 'refused')),
    code TEXT NOT NULL,
    count INTEGER,
    settled_at TEXT,
    told_at TEXT
) STRICT;
CREATE INDEX command_issued ON command (issued_at) WHERE state <> 'refused';
CREATE INDEX command_untold ON command (settled_at) WHERE told_at IS NULL;

-- How often something came that nobody we trust had signed for this box, by reason.
CREATE TABLE command_turned_away (reason TEXT PRIMARY KEY, count INTEGER NOT NULL, last_at TEXT NOT NULL) STRICT;
