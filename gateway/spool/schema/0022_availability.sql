-- Up to which study event each RIS was notified of what is available.
CREATE TABLE availability_cursor (target TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
