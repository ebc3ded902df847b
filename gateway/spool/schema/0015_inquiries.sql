-- Instances that a scanner asked us to commit to and that never came here, on their way to be asked of a destination.
CREATE TABLE commitment_inquiry (
    id INTEGER PRIMARY KEY,
    request TEXT NOT NULL,
    scanner TEXT NOT NULL,
    destination TEXT NOT NULL,
    referenced TEXT NOT NULL,
    transaction_uid TEXT,
    FOREIGN KEY (request, scanner) REFERENCES commitment_request (transaction_uid, scanner) ON DELETE CASCADE
) STRICT;
CREATE INDEX commitment_inquiry_request ON commitment_inquiry (request, scanner);
CREATE INDEX commitment_inquiry_destination ON commitment_inquiry (destination);
