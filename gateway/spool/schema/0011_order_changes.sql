-- What changed of orders and patients, in the order of the commits: who holds instances looks here for what concerns them.
CREATE TABLE order_change (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    procedure INTEGER,
    PatientID TEXT NOT NULL,
    issuer TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT;
