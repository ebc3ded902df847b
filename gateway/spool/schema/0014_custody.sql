-- The Transfer Syntax UID in which a destination stored it last; empty: none, or not written down.
ALTER TABLE delivery ADD COLUMN sent_as TEXT NOT NULL DEFAULT '';

-- What each destination took, in slots of ten seconds (since 1970): how fast it is now.
CREATE TABLE throughput (
    destination TEXT NOT NULL,
    slot INTEGER NOT NULL,
    images INTEGER NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (destination, slot)
) STRICT, WITHOUT ROWID;
