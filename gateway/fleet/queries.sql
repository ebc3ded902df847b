-- Every statement of the fleet's database (PostgreSQL). A block starts with its name between dashes.
-- Rows of one statement are locked in the order of their keys, and the tables in the order box, stream, event, alarm,
-- rollout_box: collectors that write at the same time wait for each other and never deadlock.

-- boxes_known --
INSERT INTO box (site, box, since)
SELECT site, box, since FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS told (site, box, since)
ORDER BY site, box
ON CONFLICT DO NOTHING

-- boxes_locked --
SELECT box.* FROM box JOIN unnest($1::text[], $2::text[]) AS told (site, box) USING (site, box)
ORDER BY box.site, box.box FOR UPDATE OF box

-- boxes_write --
UPDATE box SET
    sid = told.sid, state = told.state, heard = told.heard, contested = told.contested, since = told.since,
    health = told.health, health_at = told.health_at, info = told.info, reported = told.reported
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[],
    $8::jsonb[], $9::timestamptz[], $10::jsonb[], $11::jsonb[]
) AS told (site, box, sid, state, heard, contested, since, health, health_at, info, reported)
WHERE box.site = told.site AND box.box = told.box

-- listening_on --
-- $2 is how long nobody may have listened for it to be the same stretch.
INSERT INTO listening AS known (since, at) VALUES ($1, $1)
ON CONFLICT (one) DO UPDATE SET
    since = CASE WHEN known.at < $1 - $2::interval THEN excluded.since ELSE known.since END, at = excluded.at

-- listening --
SELECT since, at FROM listening

-- boxes --
SELECT * FROM box WHERE $1::text = '' OR site = $1 ORDER BY site, box

-- streams_known --
INSERT INTO stream (site, box, log)
SELECT site, box, log FROM unnest($1::text[], $2::text[], $3::text[]) AS told (site, box, log)
ORDER BY site, box, log
ON CONFLICT DO NOTHING

-- streams_locked --
-- Another collector that has one of these in its hands has committed once we go on, and what it wrote is seen.
SELECT stream.* FROM stream JOIN unnest($1::text[], $2::text[], $3::text[]) AS told (site, box, log)
    USING (site, box, log)
ORDER BY stream.site, stream.box, stream.log FOR UPDATE OF stream

-- events_insert --
-- What is here already is not inserted again.
INSERT INTO event (site, box, log, seq, at, received_at, kind, severity, body)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::text[],
    $9::jsonb[]
)
ON CONFLICT DO NOTHING
RETURNING seq

-- events_trim --
-- Those from before $1 by both clocks that their boxes were told to forget, at most $2: the first of all.
DELETE FROM event USING (
    SELECT event.site, event.box, event.log, event.seq, event.at FROM event JOIN stream USING (site, box, log)
    WHERE event.at < $1 AND event.received_at < $1 AND event.seq <= stream.upto ORDER BY event.at LIMIT $2
) AS old
WHERE event.site = old.site AND event.box = old.box AND event.log = old.log AND event.seq = old.seq
    AND event.at = old.at

-- spans_insert --
INSERT INTO span (site, box, log, after, upto)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
ON CONFLICT DO NOTHING

-- streams_beyond --
-- The numbers that are here beyond what is reached, at most $4 of each stream, as arrays in their order.
SELECT told.site, told.box, told.log, here.seqs
FROM unnest($1::text[], $2::text[], $3::text[], $5::bigint[]) AS told (site, box, log, upto), LATERAL (
    SELECT array_agg(seq ORDER BY seq) AS seqs FROM (
        SELECT DISTINCT seq FROM event
        WHERE event.site = told.site AND event.box = told.box AND event.log = told.log AND seq > told.upto
        ORDER BY seq LIMIT $4
    ) AS first
) AS here

-- spans_of --
SELECT span.* FROM span JOIN unnest($1::text[], $2::text[], $3::text[]) AS told (site, box, log) USING (site, box, log)

-- streams_advance --
UPDATE stream SET upto = greatest(stream.upto, told.upto)
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS told (site, box, log, upto)
WHERE stream.site = told.site AND stream.box = told.box AND stream.log = told.log

-- spans_passed --
DELETE FROM span USING unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS told (site, box, log, upto)
WHERE span.site = told.site AND span.box = told.box AND span.log = told.log AND span.upto <= told.upto

-- alarms_write --
INSERT INTO alarm AS known (site, box, code, instance, severity, since, cleared_at)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[]
) AS told (site, box, code, instance, severity, since, cleared_at)
ORDER BY site, box, code, instance
ON CONFLICT (site, box, code, instance) DO UPDATE SET
    severity = excluded.severity,
    since = CASE WHEN excluded.cleared_at IS NULL THEN excluded.since ELSE known.since END,
    cleared_at = CASE
        WHEN excluded.cleared_at IS NULL THEN NULL ELSE coalesce(known.cleared_at, excluded.cleared_at)
    END,
    incident = CASE WHEN known.cleared_at IS NOT NULL AND excluded.cleared_at IS NULL THEN NULL ELSE known.incident END

-- alarms_alone --
-- Those that stand and are of no incident yet.
SELECT site, box, code, instance, severity, since FROM alarm WHERE cleared_at IS NULL AND incident IS NULL

-- alarms_of_code --
SELECT site, box FROM alarm WHERE code = $1 AND cleared_at IS NULL

-- incidents_open --
SELECT incident.id, incident.code, incident.instance, incident.severity, opened_at, latest_at,
    array_agg(DISTINCT site) FILTER (WHERE site IS NOT NULL) AS sites
FROM incident LEFT JOIN alarm ON alarm.incident = incident.id
WHERE closed_at IS NULL GROUP BY incident.id ORDER BY incident.id

-- incident_open --
INSERT INTO incident (code, instance, severity, opened_at, latest_at) VALUES ($1, $2, $3, $4, $5) RETURNING id

-- incident_grows --
UPDATE incident SET severity = $2, opened_at = $3, latest_at = $4 WHERE id = $1

-- incident_joins --
UPDATE alarm SET incident = $1
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS told (site, box, code, instance)
WHERE alarm.site = told.site AND alarm.box = told.box AND alarm.code = told.code AND alarm.instance = told.instance

-- incidents_close --
-- Those of which nothing stood since $2.
UPDATE incident SET closed_at = $1 WHERE closed_at IS NULL AND latest_at < $2
AND NOT EXISTS (
    SELECT 1 FROM alarm WHERE alarm.incident = incident.id AND (cleared_at IS NULL OR cleared_at >= $2)
)

-- incidents --
-- With what is raised of each, and how many boxes and sites it reached.
SELECT incident.id, incident.code, incident.instance, incident.severity, opened_at, latest_at, closed_at,
    count(DISTINCT (site, box)) AS boxes, count(DISTINCT (site, box)) FILTER (WHERE cleared_at IS NULL) AS boxes_now,
    array_agg(DISTINCT site) FILTER (WHERE site IS NOT NULL) AS sites
FROM incident LEFT JOIN alarm ON alarm.incident = incident.id
WHERE closed_at IS NULL OR closed_at > $1 GROUP BY incident.id ORDER BY closed_at IS NOT NULL, boxes DESC, incident.id

-- rollout_enter --
INSERT INTO rollout (
    kind, version, asked, rings, failures, soak, patience, absence, begun_at, signers, entered_at, stage, ring
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $9, 'running', 0) RETURNING id

-- rollout_boxes_enter --
INSERT INTO rollout_box (rollout, site, box, ring, toml, digest)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::int[], $5::text[], $6::text[])

-- rollout_boxes_taken --
-- Those that another rollout has not left yet.
SELECT site, box, rollout FROM rollout_box JOIN unnest($1::text[], $2::text[]) AS told (site, box) USING (site, box)
WHERE open ORDER BY rollout, site, box

-- rollouts --
SELECT rollout.*, count(rollout_box.box) AS boxes FROM rollout LEFT JOIN rollout_box ON rollout_box.rollout = rollout.id
GROUP BY rollout.id ORDER BY rollout.id DESC LIMIT $1

-- rollout --
SELECT * FROM rollout WHERE id = $1

-- rollout_locked --
-- Whoever moves or halts it waits here.
SELECT * FROM rollout WHERE id = $1 FOR UPDATE

-- rollout_boxes --
-- The boxes of a rollout, each with what is known of it; of alarms those of the severities $2, without the codes $3.
SELECT member.ring, member.digest, member.asked_at, member.said_at, member.was_there, member.alarms AS before,
    member.outcome, member.code, member.excused, member.site, member.box, box.sid, box.state, box.heard, box.contested,
    coalesce(box.since, $4) AS since, box.reported, box.info, coalesce(standing.alarms, '{}') AS alarms
FROM rollout_box AS member LEFT JOIN box USING (site, box) LEFT JOIN (
    SELECT site, box, array_agg(code || ' ' || instance) AS alarms FROM alarm
    WHERE cleared_at IS NULL AND severity = ANY ($2::text[]) AND code <> ALL ($3::text[]) GROUP BY site, box
) AS standing USING (site, box)
WHERE member.rollout = $1 ORDER BY member.ring, member.site, member.box

-- rollout_texts --
SELECT site, box, toml FROM rollout_box JOIN unnest($2::text[], $3::text[]) AS told (site, box) USING (site, box)
WHERE rollout = $1

-- rollout_moved --
UPDATE rollout SET stage = $2, ring = $3, begun_at = $4, whole_at = $5, halt = $6 WHERE id = $1

-- rollout_carried --
UPDATE rollout SET looked_at = $2 WHERE id = $1

-- rollout_asked --
UPDATE rollout_box SET asked_at = told.asked_at, said_at = told.said_at, was_there = told.was_there,
    alarms = ARRAY (SELECT jsonb_array_elements_text(told.alarms))
FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::boolean[], $7::jsonb[])
    AS told (site, box, asked_at, said_at, was_there, alarms)
WHERE rollout = $1 AND rollout_box.site = told.site AND rollout_box.box = told.box

-- rollout_nonces --
UPDATE rollout_box SET nonce = told.nonce, outcome = NULL, code = NULL
FROM unnest($2::text[], $3::text[], $4::text[]) AS told (site, box, nonce)
WHERE rollout = $1 AND rollout_box.site = told.site AND rollout_box.box = told.box

-- rollout_withdrawn --
UPDATE rollout_box SET asked_at = NULL, said_at = NULL, was_there = NULL, alarms = NULL, nonce = NULL, outcome = NULL,
    code = NULL
FROM unnest($2::text[], $3::text[]) AS told (site, box)
WHERE rollout = $1 AND rollout_box.site = told.site AND rollout_box.box = told.box

-- rollout_excused --
UPDATE rollout_box SET excused = TRUE FROM unnest($2::text[], $3::text[]) AS told (site, box)
WHERE rollout = $1 AND rollout_box.site = told.site AND rollout_box.box = told.box

-- rollout_left --
-- Its boxes are free for another.
UPDATE rollout_box SET open = FALSE WHERE rollout = $1 AND open

-- rollout_answers --
UPDATE rollout_box SET outcome = told.outcome, code = told.code
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS told (site, box, nonce, outcome, code)
WHERE rollout_box.site = told.site AND rollout_box.box = told.box AND rollout_box.nonce = told.nonce AND open
