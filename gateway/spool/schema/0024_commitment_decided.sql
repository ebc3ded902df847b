-- Since when it is known what a scanner is to be told: it is kept from then on, however old its request is.
ALTER TABLE commitment_request ADD COLUMN decided_at TEXT;
UPDATE commitment_request SET decided_at = coalesce(answered_at, received_at) WHERE state <> 'open';
