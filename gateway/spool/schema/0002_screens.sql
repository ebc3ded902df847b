-- Screens count what is in quarantine every few seconds: not by reading every row there ever was.
CREATE INDEX instance_quarantined ON instance (seq) WHERE quarantine <> '';
