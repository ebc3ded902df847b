-- What a scanner wants committed is looked up by UID, purged copies too: not by reading every row there ever was.
CREATE INDEX instance_uid ON instance (SOPInstanceUID, seq);
