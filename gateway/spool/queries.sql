-- Every statement of the spool. A block starts with its name between dashes; see queries.py.

-- journal_insert --
INSERT INTO journal (at, who, kind, subject, from_state, to_state, why)
VALUES (:at, :who, :kind, :subject, :from_state, :to_state, :why)

-- journal_of --
SELECT seq, at, who, kind, subject, from_state, to_state, why
FROM journal WHERE kind = :kind AND subject = :subject ORDER BY seq

-- alarm_raise --
INSERT INTO alarm (code, subject, since, last, count) VALUES (:code, :subject, :now, :now, 1)
ON CONFLICT (code, subject) WHERE cleared_at IS NULL
DO UPDATE SET last = excluded.last, count = count + 1

-- alarm_clear --
UPDATE alarm SET cleared_at = :now WHERE code = :code AND subject = :subject AND cleared_at IS NULL

-- alarms_active --
SELECT code, subject, since, last, count, cleared_at FROM alarm
WHERE cleared_at IS NULL AND (:code IS NULL OR code = :code) ORDER BY since, id

-- instance_insert --
INSERT INTO instance (
    id, SOPClassUID, SOPInstanceUID, TransferSyntaxUID, StudyInstanceUID, SeriesInstanceUID, content_hash, size,
    calling_ae, called_ae, address, association, received_at, priority, state, quarantine
) VALUES (
    :id, :SOPClassUID, :SOPInstanceUID, :TransferSyntaxUID, :StudyInstanceUID, :SeriesInstanceUID, :content_hash, :size,
    :calling_ae, :called_ae, :address, :association, :received_at, :priority, :state, :quarantine
)

-- instance_same_content --
SELECT * FROM instance
WHERE SOPInstanceUID = :SOPInstanceUID AND content_hash = :content_hash AND state <> 'purged'

-- instance_same_uid --
SELECT 1 FROM instance WHERE SOPInstanceUID = :SOPInstanceUID AND state <> 'purged' LIMIT 1

-- instance_get --
SELECT * FROM instance WHERE id = :id

-- instance_by_uid --
SELECT * FROM instance WHERE SOPInstanceUID = :SOPInstanceUID ORDER BY seq

-- instance_in_study --
SELECT * FROM instance WHERE StudyInstanceUID = :StudyInstanceUID ORDER BY seq

-- instance_waiting --
SELECT * FROM instance WHERE state = 'received' AND quarantine = '' AND held = '' ORDER BY seq LIMIT :limit

-- instance_quarantined --
SELECT * FROM instance WHERE quarantine <> '' AND state <> 'purged' ORDER BY seq LIMIT :limit

-- instance_count_quarantined --
SELECT count(*) AS n FROM instance WHERE quarantine <> '' AND state <> 'purged'

-- instance_count_rejected --
SELECT state, count(*) AS n FROM instance WHERE held = 'rejected' GROUP BY state

-- instance_count --
SELECT state, count(*) AS n FROM instance GROUP BY state

-- instance_in_folder --
SELECT id, state FROM instance WHERE id >= :low AND id < :high

-- instance_move --
UPDATE instance SET state = :state WHERE id = :id

-- instance_journal_delivered --
INSERT INTO journal (at, who, kind, subject, from_state, to_state, why)
SELECT :at, :by, 'instance', i.id, i.state, 'delivered', :why
FROM json_each(:ids) AS listed JOIN instance AS i ON i.id = listed.value
WHERE +i.state = 'prepared' AND EXISTS (SELECT 1 FROM delivery AS d WHERE d.instance = i.id)
AND NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.instance = i.id AND d.state <> 'confirmed')

-- instance_deliver --
UPDATE instance SET state = 'delivered', delivered_at = :at WHERE id IN (SELECT value FROM json_each(:ids))
AND +state = 'prepared' AND EXISTS (SELECT 1 FROM delivery AS d WHERE d.instance = instance.id)
AND NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.instance = instance.id AND d.state <> 'confirmed') RETURNING id

-- instance_release --
UPDATE instance SET quarantine = '' WHERE id = :id

-- instance_purgeable --
-- Invariant 3: delivered, in nobody's quarantine, every delivery confirmed, the last one long enough ago.
-- The first to be confirmed are the first to go.
SELECT * FROM instance AS i
WHERE i.state = 'delivered' AND i.quarantine = '' AND i.delivered_at < :confirmed_before
AND EXISTS (SELECT 1 FROM delivery AS d WHERE d.instance = i.id)
AND NOT EXISTS (
    SELECT 1 FROM delivery AS d WHERE d.instance = i.id
    AND (d.state <> 'confirmed' OR d.confirmed_at IS NULL OR d.confirmed_at >= :confirmed_before)
)
ORDER BY i.delivered_at, i.seq LIMIT :limit

-- transit_pace --
SELECT destination, sum(size) AS size, min(slot) AS first FROM throughput
WHERE slot BETWEEN :first AND :last GROUP BY destination

-- transit_queues --
SELECT d.destination, count(*) AS images, sum(i.size) AS size,
    count(*) FILTER (WHERE d.state IN ('queued', 'sending')) AS waiting_images,
    coalesce(sum(i.size) FILTER (WHERE d.state IN ('queued', 'sending')), 0) AS waiting_size,
    count(*) FILTER (WHERE d.state = 'sent') AS sent_images,
    0 AS confirmed_images,
    count(*) FILTER (WHERE d.state = 'refused') AS refused_images
FROM delivery AS d JOIN instance AS i ON i.id = d.instance
WHERE d.state <> 'confirmed' GROUP BY d.destination ORDER BY d.destination

-- transit_studies --
SELECT i.StudyInstanceUID, min(d.id) AS first FROM delivery AS d JOIN instance AS i ON i.id = d.instance
WHERE d.state <> 'confirmed' AND d.state IN ('queued', 'sending')
GROUP BY i.StudyInstanceUID ORDER BY first LIMIT :limit

-- transit_of_study --
-- Of an image that was sent to a destination more than once, the last time counts.
SELECT d.destination, count(*) AS images, sum(i.size) AS size,
    count(*) FILTER (WHERE d.state IN ('queued', 'sending')) AS waiting_images,
    coalesce(sum(i.size) FILTER (WHERE d.state IN ('queued', 'sending')), 0) AS waiting_size,
    count(*) FILTER (WHERE d.state = 'sent') AS sent_images,
    count(*) FILTER (WHERE d.state = 'confirmed') AS confirmed_images,
    count(*) FILTER (WHERE d.state = 'refused') AS refused_images
FROM instance AS i JOIN delivery AS d ON d.instance = i.id
WHERE i.StudyInstanceUID = :StudyInstanceUID AND NOT EXISTS (
    SELECT 1 FROM delivery AS l WHERE l.instance = d.instance AND l.destination = d.destination AND l.id > d.id
)
GROUP BY d.destination ORDER BY d.destination

-- transit_ahead --
-- What others have in the same queue before the last of the study: in a lane that goes before, or earlier in its own.
WITH waiting (id, lane, study, size) AS MATERIALIZED (
    SELECT d.id, CASE d.lane WHEN 'stat' THEN 0 WHEN 'routine' THEN 1 ELSE 2 END, i.StudyInstanceUID, i.size
    FROM delivery AS d JOIN instance AS i ON i.id = d.instance
    WHERE d.state IN ('queued', 'sending') AND d.state <> 'confirmed' AND d.destination = :destination LIMIT :limit
), last (lane, id) AS (SELECT lane, id FROM waiting WHERE study = :study ORDER BY lane DESC, id DESC LIMIT 1)
SELECT coalesce(sum(w.size), 0) AS size FROM waiting AS w, last
WHERE w.study <> :study AND (w.lane < last.lane OR (w.lane = last.lane AND w.id < last.id))

-- disk_confirmed --
SELECT coalesce(sum(size), 0) AS size FROM instance
WHERE state = 'delivered' AND quarantine = '' AND delivered_at < :before

-- disk_received --
SELECT coalesce(sum(size), 0) AS size
FROM (SELECT size, received_at FROM instance ORDER BY seq DESC LIMIT :newest) WHERE received_at >= :since

-- disk_keep --
INSERT INTO disk (only_one, at, free, total, reserve, confirmed, ingest)
VALUES (1, :at, :free, :total, :reserve, :confirmed, :ingest)
ON CONFLICT (only_one) DO UPDATE SET
    at = excluded.at, free = excluded.free, total = excluded.total, reserve = excluded.reserve,
    confirmed = excluded.confirmed, ingest = excluded.ingest

-- disk_last --
SELECT * FROM disk

-- study_latest --
-- Among the newest images only: bounded work, however many there are.
SELECT StudyInstanceUID, max(seq) AS newest
FROM (SELECT seq, StudyInstanceUID FROM instance ORDER BY seq DESC LIMIT :window)
GROUP BY StudyInstanceUID ORDER BY newest DESC LIMIT :limit

-- study_tally --
SELECT
    (SELECT f.id FROM instance AS f WHERE f.StudyInstanceUID = :StudyInstanceUID ORDER BY f.seq LIMIT 1) AS id,
    count(*) AS images, sum(i.size) AS size, json_group_array(DISTINCT i.calling_ae) AS senders,
    min(i.received_at) AS first_received, max(i.received_at) AS last_received,
    count(*) FILTER (WHERE i.state IN ('delivered', 'purged')) AS settled,
    count(*) FILTER (WHERE i.state = 'purged') AS purged,
    count(*) FILTER (WHERE i.quarantine <> '' AND i.state <> 'purged') AS quarantined,
    count(*) FILTER (WHERE i.state = 'prepared' AND EXISTS (
        SELECT 1 FROM delivery AS d WHERE d.instance = i.id AND d.state = 'refused'
    )) AS refused,
    count(*) FILTER (WHERE i.state = 'prepared' AND NOT EXISTS (
        SELECT 1 FROM delivery AS d WHERE d.instance = i.id
    )) AS unrouted,
    count(*) FILTER (WHERE i.held <> '') AS held
FROM instance AS i WHERE i.StudyInstanceUID = :StudyInstanceUID

-- study_received --
SELECT calling_ae, address, count(*) AS images, sum(size) AS size, min(received_at) AS first, max(received_at) AS last
FROM instance WHERE StudyInstanceUID = :StudyInstanceUID GROUP BY calling_ae, address ORDER BY first

-- study_delivered --
SELECT
    d.destination, d.state, d.last_status, count(*) AS images, max(d.attempts) AS attempts,
    min(d.queued_at) AS first_queued, max(d.sent_at) AS last_sent, max(d.confirmed_at) AS last_confirmed
FROM instance AS i JOIN delivery AS d ON d.instance = i.id
WHERE i.StudyInstanceUID = :StudyInstanceUID
GROUP BY d.destination, d.state, d.last_status ORDER BY d.destination, d.state, d.last_status

-- delivery_insert --
INSERT INTO delivery (instance, destination, lane, state, queued_at, compression)
VALUES (:instance, :destination, :lane, 'queued', :now, :compression) RETURNING id

-- delivery_reroute --
UPDATE delivery SET lane = :lane, compression = :compression WHERE id = :id

-- delivery_unbegun --
SELECT * FROM delivery
WHERE instance = :instance AND destination = :destination AND state IN ('queued', 'refused') ORDER BY id LIMIT 1

-- delivery_due --
-- An instance that went back to `received` is not sent until it is prepared again. (The + keeps the planner
-- from looking at every prepared instance there is, here and elsewhere; the index is of what is not confirmed.)
SELECT d.* FROM delivery AS d JOIN instance AS i ON i.id = d.instance
WHERE d.state = 'queued' AND d.state <> 'confirmed' AND d.destination = :destination AND d.lane = :lane
AND +i.state = 'prepared'
AND (d.not_before IS NULL OR d.not_before <= :now OR d.not_before > :implausible)
ORDER BY d.id LIMIT :limit

-- delivery_claim --
UPDATE delivery SET state = 'sending', attempts = attempts + 1, lease_until = :lease_until, not_before = NULL
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'queued' RETURNING *

-- delivery_journal_all --
INSERT INTO journal (at, who, kind, subject, from_state, to_state, why)
SELECT :at, :by, 'delivery', CAST(d.id AS TEXT), :before, :after, :why
FROM json_each(:ids) AS listed JOIN delivery AS d ON d.id = listed.value
WHERE d.state = :before ORDER BY listed.key

-- delivery_all_sending --
SELECT * FROM delivery WHERE state = 'sending' ORDER BY id

-- delivery_extend --
UPDATE delivery SET lease_until = :lease_until WHERE id = :id

-- delivery_journal_sent --
INSERT INTO journal (at, who, kind, subject, from_state, to_state, why)
SELECT a.value ->> 'at', :by, 'delivery', CAST(d.id AS TEXT), d.state, 'sent', a.value ->> 'status'
FROM json_each(:arrived) AS a JOIN delivery AS d ON d.id = a.value ->> 'id'
WHERE d.state = 'sending' AND d.attempts = a.value ->> 'attempts' ORDER BY a.key

-- delivery_sent --
-- Only what is still in the hands of the one who claimed it.
UPDATE delivery SET
    state = 'sent', lease_until = NULL, last_status = a.value ->> 'status', sent_at = a.value ->> 'at',
    sent_as = a.value ->> 'sent_as'
FROM json_each(:arrived) AS a
WHERE delivery.id = a.value ->> 'id' AND state = 'sending' AND attempts = a.value ->> 'attempts' RETURNING delivery.id

-- delivery_throughput --
INSERT INTO throughput (destination, slot, images, size)
SELECT d.destination, a.value ->> 'slot', count(*), sum(i.size)
FROM json_each(:arrived) AS a JOIN delivery AS d ON d.id = a.value ->> 'id' JOIN instance AS i ON i.id = d.instance
WHERE d.state = 'sending' AND d.attempts = a.value ->> 'attempts' AND a.value ->> 'sent_as' <> ''
GROUP BY d.destination, a.value ->> 'slot'
ON CONFLICT (destination, slot) DO UPDATE SET images = images + excluded.images, size = size + excluded.size

-- throughput_trim --
-- A day is kept.
DELETE FROM throughput WHERE slot < (SELECT max(slot) FROM throughput) - 8640

-- delivery_of_study --
SELECT d.* FROM instance AS i JOIN delivery AS d ON d.instance = i.id
WHERE i.StudyInstanceUID = :StudyInstanceUID ORDER BY d.id

-- custody_journal --
SELECT j.* FROM instance AS i JOIN journal AS j ON j.kind = 'instance' AND j.subject = i.id
WHERE i.StudyInstanceUID = :StudyInstanceUID
UNION ALL
SELECT j.* FROM instance AS i JOIN delivery AS d ON d.instance = i.id
JOIN journal AS j ON j.kind = 'delivery' AND j.subject = CAST(d.id AS TEXT)
WHERE i.StudyInstanceUID = :StudyInstanceUID
ORDER BY seq

-- delivery_confirmed --
UPDATE delivery SET state = 'confirmed', confirmed_at = :now
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'sent' RETURNING instance

-- failover_journal --
INSERT INTO journal (at, who, kind, subject, from_state, to_state, why)
SELECT :at, 'forward', 'delivery', CAST(id AS TEXT), state, state, :why FROM delivery
WHERE state = 'queued' AND state <> 'confirmed' AND destination = :destination AND queued_at <= :queued_before
AND coalesce(nullif(meant_for, ''), destination) = :meant_for
AND NOT EXISTS (SELECT 1 FROM delivery AS o WHERE o.instance = delivery.instance AND o.destination = :to)

-- failover_move --
UPDATE delivery SET meant_for = :meant_for, destination = :to, not_before = NULL,
    lane = CASE WHEN lane IN (SELECT value FROM json_each(:lanes)) THEN lane ELSE :first END
WHERE state = 'queued' AND state <> 'confirmed' AND destination = :destination AND queued_at <= :queued_before
AND coalesce(nullif(meant_for, ''), destination) = :meant_for
AND NOT EXISTS (SELECT 1 FROM delivery AS o WHERE o.instance = delivery.instance AND o.destination = :to)
RETURNING id

-- delivery_refused --
UPDATE delivery SET state = 'refused', lease_until = NULL, last_status = :status WHERE id = :id

-- delivery_queue --
UPDATE delivery SET state = 'queued', lease_until = NULL, not_before = :not_before, last_status = :status, sent_at = NULL
WHERE id = :id

-- delivery_lease_over --
SELECT * FROM delivery
WHERE state = 'sending' AND (lease_until IS NULL OR lease_until <= :now OR lease_until > :implausible) ORDER BY id

-- delivery_get --
SELECT * FROM delivery WHERE id = :id

-- delivery_of_instance --
SELECT * FROM delivery WHERE instance = :instance ORDER BY id

-- delivery_unasked --
-- Sent, and named in no request for commitment that is open and as young.
SELECT * FROM delivery WHERE destination = :destination AND state = 'sent' AND state <> 'confirmed' AND id NOT IN (
    SELECT j.value FROM commitment_transaction AS t, json_each(t.deliveries) AS j
    WHERE t.state = 'open' AND t.destination = :destination AND t.asked_at > :lately
)
ORDER BY id LIMIT :limit

-- delivery_in_state --
SELECT * FROM delivery WHERE destination = :destination AND state = :state ORDER BY id LIMIT :limit

-- delivery_backlog --
SELECT destination, lane, state, count(*) AS n, min(queued_at) AS oldest FROM delivery
WHERE state <> 'confirmed' GROUP BY destination, lane, state ORDER BY destination, lane, state

-- delivery_younger --
-- For each bound (a JSON list of times): how many were queued after it.
SELECT d.destination, b.key AS bound, count(*) AS n FROM delivery AS d JOIN json_each(:bounds) AS b
ON d.queued_at > b.value
WHERE d.state <> 'confirmed' AND d.state = :state GROUP BY d.destination, b.key

-- worklist_window --
SELECT key FROM worklist_row WHERE source = :source AND start_date BETWEEN :first AND :last

-- worklist_miss --
UPDATE worklist_row SET missed = missed + 1 WHERE source = :source AND key = :key

-- worklist_known --
SELECT digest, missed, last_confirmed FROM worklist_row WHERE source = :source AND key = :key

-- worklist_touch --
UPDATE worklist_row SET last_confirmed = :now WHERE source = :source AND key = :key

-- worklist_upsert --
INSERT INTO worklist_row (
    source, key, PatientID, PatientName, AccessionNumber, StudyInstanceUID, RequestedProcedureID,
    ScheduledProcedureStepID, start_date, start_time, Modality, ScheduledStationAETitle, status,
    first_seen, last_confirmed, missed, dataset, kind, stamp, minted, IssuerOfAccessionNumber, IssuerOfPatientID,
    digest
) VALUES (
    :source, :key, trim(:PatientID), :PatientName, trim(:AccessionNumber), trim(:StudyInstanceUID, ' ' || char(0)),
    :RequestedProcedureID, :ScheduledProcedureStepID, :start_date, :start_time, trim(:Modality), :ScheduledStationAETitle, :status,
    :now, :now, 0, :dataset, :kind, :stamp, :minted, :IssuerOfAccessionNumber, :IssuerOfPatientID,
    :digest
)
ON CONFLICT (source, key) DO UPDATE SET
    PatientID = excluded.PatientID, PatientName = excluded.PatientName, AccessionNumber = excluded.AccessionNumber,
    StudyInstanceUID = excluded.StudyInstanceUID, RequestedProcedureID = excluded.RequestedProcedureID,
    ScheduledProcedureStepID = excluded.ScheduledProcedureStepID, start_date = excluded.start_date,
    start_time = excluded.start_time, Modality = excluded.Modality,
    ScheduledStationAETitle = excluded.ScheduledStationAETitle, status = excluded.status,
    last_confirmed = excluded.last_confirmed, missed = 0, dataset = excluded.dataset,
    kind = excluded.kind, stamp = excluded.stamp, minted = excluded.minted,
    IssuerOfAccessionNumber = excluded.IssuerOfAccessionNumber, IssuerOfPatientID = excluded.IssuerOfPatientID,
    digest = excluded.digest

-- worklist_remove_absent --
DELETE FROM worklist_row WHERE source = :source AND missed >= :limit
RETURNING source, key, PatientID, AccessionNumber, StudyInstanceUID, start_date

-- worklist_files_absent --
DELETE FROM worklist_row WHERE source = :source AND key NOT IN (SELECT value FROM json_each(:keys))
RETURNING source, key, PatientID, AccessionNumber, StudyInstanceUID, start_date

-- worklist_files_confirm --
UPDATE worklist_row SET last_confirmed = :now WHERE source = :source AND last_confirmed < :now

-- worklist_source_success --
INSERT INTO worklist_source (
    name, last_attempt, last_success, last_error, rows, last_complete, window_first, window_last
) VALUES (:name, :now, :now, '', :rows, CASE WHEN :first <> '' THEN :now END, :first, :last)
ON CONFLICT (name) DO UPDATE SET
    last_attempt = excluded.last_attempt, last_success = excluded.last_success, last_error = '', rows = excluded.rows,
    last_complete = coalesce(excluded.last_complete, last_complete),
    window_first = coalesce(nullif(:first, ''), window_first), window_last = coalesce(nullif(:last, ''), window_last)

-- worklist_source_failure --
INSERT INTO worklist_source (name, last_attempt, last_success, last_error, rows) VALUES (:name, :now, NULL, :error, 0)
ON CONFLICT (name) DO UPDATE SET last_attempt = excluded.last_attempt, last_error = excluded.last_error

-- worklist_sources --
SELECT * FROM worklist_source ORDER BY name

-- worklist_candidates --
-- The clauses below are added with AND for each key that filters; an empty column is always a candidate.
SELECT source, key, dataset, digest, kind, start_date, start_time, last_confirmed, missed FROM worklist_row WHERE 1 = 1

-- worklist_ids --
SELECT rowid AS id FROM worklist_row WHERE 1 = 1

-- worklist_by_id --
SELECT source, key, dataset, digest, kind, start_date, start_time, last_confirmed, missed
FROM worklist_row WHERE rowid IN (SELECT value FROM json_each(:ids))

-- worklist_second_source --
SELECT 1 FROM worklist_row WHERE source > (SELECT min(source) FROM worklist_row) LIMIT 1

-- worklist_known_patient --
SELECT PatientID FROM worklist_row
WHERE source = :source AND missed = 0 AND start_date BETWEEN :first AND :last
    AND PatientID <> '' AND PatientID NOT GLOB '*[^-A-Za-z0-9._ ]*'
LIMIT 1

-- worklist_any --
SELECT 1 FROM worklist_row WHERE source = :source LIMIT 1

-- worklist_contenders --
WITH named (id) AS (SELECT r.rowid FROM json_each(:keys) AS k JOIN worklist_row AS r ON r.key = k.value)
SELECT source, key, dataset, digest, kind, start_date, start_time, last_confirmed, missed, AccessionNumber,
    IssuerOfAccessionNumber, ScheduledProcedureStepID, PatientID, IssuerOfPatientID, status, minted, stamp, first_seen
FROM worklist_row WHERE rowid IN (
    SELECT id FROM named
    UNION
    SELECT r.rowid FROM named JOIN worklist_row AS n ON n.rowid = named.id
    JOIN worklist_row AS r ON r.AccessionNumber = n.AccessionNumber WHERE n.AccessionNumber <> ''
)

-- worklist_rows --
SELECT * FROM worklist_row WHERE 1 = 1

-- worklist_where_AccessionNumber --
AccessionNumber IN (:AccessionNumber, '')

-- worklist_where_PatientID --
PatientID IN (:PatientID, '')

-- worklist_where_StudyInstanceUID --
StudyInstanceUID IN (:StudyInstanceUID, '')

-- worklist_where_Modality --
Modality IN (:Modality, '')

-- worklist_where_ScheduledStationAETitle --
station IN (upper(replace(:ScheduledStationAETitle, ' ', '')), '')
AND (trim(ScheduledStationAETitle) = ''
OR instr('\' || upper(replace(ScheduledStationAETitle, ' ', '')) || '\',
         '\' || upper(replace(:ScheduledStationAETitle, ' ', '')) || '\') > 0)

-- worklist_where_start_from --
(start_date >= :start_from OR start_date = '')

-- worklist_where_start_to --
start_date <= :start_to

-- worklist_where_source --
source = :source

-- worklist_order --
ORDER BY start_date, start_time, source, key LIMIT :limit

-- worklist_expire --
-- Rows of the desk have an end of their own (desk_overdue).
DELETE FROM worklist_row WHERE start_date < :started_before AND last_confirmed < :confirmed_before AND source <> 'desk'
RETURNING source, key, PatientID, AccessionNumber, StudyInstanceUID, start_date

-- worklist_expire_status --
-- What a message or a person said is done stands before what a RIS still says, until it expires.
DELETE FROM worklist_row WHERE status = :status AND (kind = 'live' OR last_confirmed < :settled_before)
RETURNING source, key, PatientID, AccessionNumber, StudyInstanceUID, start_date

-- worklist_source_rest --
UPDATE worklist_source SET resting_until = :until WHERE name = :name AND resting_until <> :until

-- worklist_copied --
SELECT source, count(*) AS n FROM worklist_row GROUP BY source

-- removal_insert --
INSERT OR REPLACE INTO worklist_removal (
    source, key, PatientID, AccessionNumber, StudyInstanceUID, start_date, reason, removed_at
) VALUES (:source, :key, :PatientID, :AccessionNumber, :StudyInstanceUID, :start_date, :reason, :now)

-- removals --
-- The clauses of one order are added with AND.
SELECT source, reason, removed_at FROM worklist_removal WHERE 1 = 1

-- removals_forget --
DELETE FROM worklist_removal WHERE removed_at < :before

-- worklist_where_same_AccessionNumber --
AccessionNumber = :AccessionNumber

-- worklist_where_same_PatientID --
PatientID = :PatientID

-- worklist_where_same_StudyInstanceUID --
StudyInstanceUID = :StudyInstanceUID

-- served_upsert --
INSERT INTO served (
    calling_ae, source, key, digest, PatientID, AccessionNumber, StudyInstanceUID, RequestedProcedureID,
    ScheduledProcedureStepID, first_served, last_served, count, dataset, transfer_syntax, conflict
)
SELECT :calling_ae, source, key, :digest, PatientID, AccessionNumber, StudyInstanceUID, RequestedProcedureID,
    ScheduledProcedureStepID, :now, :now, 1, :dataset, :transfer_syntax, :conflict
FROM worklist_row WHERE source = :source AND key = :key
ON CONFLICT (calling_ae, source, key, digest) DO UPDATE SET
    last_served = excluded.last_served, count = count + 1, conflict = excluded.conflict

-- served_upsert_gone --
-- For a row that is no longer in the copy.
INSERT INTO served (
    calling_ae, source, key, digest, PatientID, AccessionNumber, StudyInstanceUID, RequestedProcedureID,
    ScheduledProcedureStepID, first_served, last_served, count, dataset, transfer_syntax, conflict
)
SELECT :calling_ae, :source, :key, :digest, :PatientID, :AccessionNumber, :StudyInstanceUID, :RequestedProcedureID,
    :ScheduledProcedureStepID, :now, :now, 1, :dataset, :transfer_syntax, :conflict
WHERE NOT EXISTS (SELECT 1 FROM worklist_row WHERE source = :source AND key = :key)
ON CONFLICT (calling_ae, source, key, digest) DO UPDATE SET
    last_served = excluded.last_served, count = count + 1, conflict = excluded.conflict

-- served_to --
SELECT calling_ae, source, key, PatientID, AccessionNumber, StudyInstanceUID, RequestedProcedureID,
       ScheduledProcedureStepID, first_served, last_served, count, dataset, transfer_syntax, conflict
FROM served WHERE calling_ae = :calling_ae AND last_served >= :since ORDER BY last_served DESC, source, key

-- served_last --
SELECT max(last_served) AS last FROM served WHERE key = :key AND calling_ae = :calling_ae COLLATE NOCASE

-- served_forget --
DELETE FROM served WHERE last_served < :before

-- query_insert --
INSERT INTO worklist_query (
    calling_ae, first_asked, digest, last_asked, count, identifier, meant, status, looked_at, dropped, quirks,
    answered, sources, age_ms, slowest_ms
) VALUES (
    :calling_ae, :first_asked, :digest, :last_asked, :count, :identifier, :meant, :status, :looked_at, :dropped, :quirks,
    :answered, :sources, :age_ms, :slowest_ms
)
ON CONFLICT (calling_ae, first_asked, digest) DO UPDATE SET count = count + excluded.count

-- query_count --
-- Not an upsert: what was erased meanwhile stays erased.
UPDATE worklist_query SET last_asked = :last_asked, count = :count, looked_at = :looked_at, dropped = :dropped,
    quirks = :quirks, age_ms = :age_ms, slowest_ms = :slowest_ms
WHERE calling_ae = :calling_ae AND first_asked = :first_asked AND digest = :digest

-- queries_latest --
SELECT * FROM worklist_query WHERE calling_ae = :calling_ae ORDER BY last_asked DESC, first_asked DESC LIMIT :limit

-- askers --
-- A few seeks in the index for each scanner, however long the log is.
WITH RECURSIVE asker (calling_ae) AS (
    SELECT min(calling_ae) FROM worklist_query
    UNION ALL
    SELECT (SELECT min(q.calling_ae) FROM worklist_query AS q WHERE q.calling_ae > asker.calling_ae)
    FROM asker WHERE asker.calling_ae IS NOT NULL
)
SELECT q.* FROM asker JOIN worklist_query AS q ON q.rowid = (
    SELECT l.rowid FROM worklist_query AS l WHERE l.calling_ae = asker.calling_ae ORDER BY l.last_asked DESC LIMIT 1
)
ORDER BY q.calling_ae

-- queries_trim --
DELETE FROM worklist_query WHERE (calling_ae, first_asked, digest) IN (
    SELECT calling_ae, first_asked, digest FROM worklist_query WHERE calling_ae = :calling_ae
    ORDER BY last_asked DESC LIMIT -1 OFFSET :kept
)

-- queries_forget --
DELETE FROM worklist_query WHERE last_asked < :before

-- query_identifiers --
SELECT DISTINCT identifier FROM worklist_query WHERE identifier <> x''

-- query_erase --
DELETE FROM worklist_query WHERE identifier = :identifier

-- erase_rows --
DELETE FROM worklist_row WHERE PatientID = :PatientID COLLATE BINARY

-- erase_served --
DELETE FROM served WHERE PatientID = :PatientID

-- erase_removals --
DELETE FROM worklist_removal WHERE PatientID = :PatientID COLLATE BINARY

-- erase_rows_known --
SELECT dataset FROM worklist_row WHERE PatientID = :PatientID COLLATE BINARY

-- erase_served_known --
SELECT * FROM served WHERE PatientID = :PatientID

-- tally_add --
INSERT INTO worklist_tally (outcome, count) VALUES (:outcome, :count)
ON CONFLICT (outcome) DO UPDATE SET count = count + excluded.count

-- tally --
SELECT outcome, count FROM worklist_tally

-- caller_upsert --
INSERT INTO caller (calling_ae, called_ae, address, first_seen, last_seen, count, reason)
VALUES (:calling_ae, :called_ae, :address, :now, :now, 1, :reason)
ON CONFLICT (calling_ae, called_ae, address) DO UPDATE SET
    last_seen = excluded.last_seen, count = count + 1, reason = excluded.reason

-- caller_trim --
DELETE FROM caller WHERE rowid IN (SELECT rowid FROM caller ORDER BY last_seen DESC, rowid DESC LIMIT -1 OFFSET :kept)

-- callers --
SELECT * FROM caller ORDER BY last_seen DESC, calling_ae, called_ae, address

-- caller_forget --
DELETE FROM caller WHERE calling_ae = :calling_ae

-- scanner_upsert --
INSERT INTO scanner (ae, addresses, profile, added_at, added_by) VALUES (:ae, :addresses, :profile, :now, :by)
ON CONFLICT (ae) DO UPDATE SET
    addresses = excluded.addresses, profile = excluded.profile, added_at = excluded.added_at,
    added_by = excluded.added_by

-- scanner_remove --
DELETE FROM scanner WHERE ae = :ae

-- scanners --
SELECT * FROM scanner ORDER BY ae

-- request_insert --
INSERT INTO commitment_request (transaction_uid, scanner, received_at, referenced, state, result)
VALUES (:transaction_uid, :scanner, :now, :referenced, 'open', '')
ON CONFLICT (transaction_uid, scanner) DO NOTHING

-- requests_in_state --
SELECT * FROM commitment_request WHERE state = :state ORDER BY received_at, rowid LIMIT :limit OFFSET :offset

-- request_decide --
UPDATE commitment_request SET state = 'decided', result = :result, decided_at = :now
WHERE transaction_uid = :transaction_uid AND scanner = :scanner AND state = 'open'

-- request_get --
SELECT * FROM commitment_request WHERE transaction_uid = :transaction_uid AND scanner = :scanner

-- request_answer --
UPDATE commitment_request SET state = 'answered', answered_at = :now
WHERE transaction_uid = :transaction_uid AND scanner = :scanner AND state = 'decided'

-- transaction_insert --
INSERT INTO commitment_transaction (transaction_uid, destination, asked_at, deliveries, state, succeeded, failed)
VALUES (:transaction_uid, :destination, :now, :deliveries, 'open', '[]', '[]')

-- transaction_withdraw --
DELETE FROM commitment_transaction WHERE transaction_uid = :transaction_uid AND state = 'open'

-- transaction_answer --
-- The first report stands.
UPDATE commitment_transaction SET state = 'answered', succeeded = :succeeded, failed = :failed, answered_at = :now
WHERE transaction_uid = :transaction_uid AND state = 'open'

-- transaction_get --
SELECT * FROM commitment_transaction WHERE transaction_uid = :transaction_uid

-- transactions_in_state --
SELECT * FROM commitment_transaction
WHERE state = :state AND asked_at < :asked_before AND destination = :destination ORDER BY asked_at, rowid LIMIT :limit

-- transactions_withdraw --
DELETE FROM commitment_transaction WHERE destination = :destination AND state = 'open'

-- transaction_settle --
UPDATE commitment_transaction SET state = 'settled' WHERE transaction_uid = :transaction_uid AND state = 'answered'

-- inquiry_insert --
INSERT INTO commitment_inquiry (request, scanner, destination, referenced)
VALUES (:request, :scanner, :destination, :referenced)

-- inquiries_of --
SELECT * FROM commitment_inquiry WHERE request = :request AND scanner = :scanner ORDER BY id

-- inquiries_unasked --
-- Of requests that are open; a transaction that is gone, or stands without an answer for long, is asked anew.
SELECT q.* FROM commitment_inquiry AS q
JOIN commitment_request AS r ON r.transaction_uid = q.request AND r.scanner = q.scanner AND r.state = 'open'
LEFT JOIN commitment_transaction AS t ON t.transaction_uid = q.transaction_uid
WHERE q.destination = :destination
AND (t.transaction_uid IS NULL OR (t.state = 'open' AND t.asked_at < :again))
ORDER BY q.scanner, q.id LIMIT :limit

-- inquiry_asked --
UPDATE commitment_inquiry SET transaction_uid = :transaction_uid WHERE id = :id

-- message_before --
SELECT code, faults, answer FROM message WHERE digest = :digest ORDER BY id DESC LIMIT 1

-- message_insert --
INSERT INTO message (received_at, sender, address, kind, control_id, digest, raw, code, effect, faults, answer, seen_at)
VALUES (:now, :sender, :address, :kind, :control_id, :digest, :raw, :code, :effect, :faults, :answer, :seen_at)

-- message_get --
SELECT * FROM message WHERE id = :id

-- message_latest --
SELECT * FROM message WHERE (:sender = '' OR sender = :sender) ORDER BY id DESC LIMIT :limit

-- message_latest_open --
SELECT * FROM message WHERE seen_at IS NULL AND (:sender = '' OR sender = :sender)
ORDER BY id DESC LIMIT :limit

-- message_count_open --
SELECT count(*) AS n FROM message WHERE seen_at IS NULL AND sender = :sender

-- message_see --
UPDATE message SET seen_at = :now WHERE id = :id AND seen_at IS NULL

-- message_bound --
DELETE FROM message WHERE id IN (
    SELECT id FROM message WHERE seen_at IS NULL AND sender = :sender ORDER BY id DESC LIMIT -1 OFFSET :most
)

-- message_bodies --
SELECT id, sender, raw FROM message

-- message_erase --
DELETE FROM message WHERE id = :id

-- message_trim --
DELETE FROM message WHERE id IN (SELECT id FROM message WHERE received_at < :before ORDER BY received_at LIMIT :limit)

-- trim_purged --
SELECT j.subject FROM journal AS j JOIN instance AS i ON i.id = j.subject
WHERE j.kind = 'instance' AND j.to_state = 'purged' AND j.at < :before AND i.state = 'purged' ORDER BY j.at LIMIT :limit

-- trim_delivery_journal --
DELETE FROM journal WHERE kind = 'delivery'
AND subject IN (SELECT CAST(id AS TEXT) FROM delivery WHERE instance = :id)

-- trim_instance_journal --
DELETE FROM journal WHERE kind = 'instance' AND subject = :id

-- trim_deliveries --
DELETE FROM delivery WHERE instance = :id

-- trim_instance --
DELETE FROM instance WHERE id = :id AND state = 'purged'

-- trim_transactions --
DELETE FROM commitment_transaction WHERE state = 'settled' AND answered_at < :before

-- trim_requests --
-- A decided one that its scanner never took has nobody left to take it.
DELETE FROM commitment_request WHERE state <> 'open' AND coalesce(answered_at, decided_at) < :before

-- trim_alarms --
DELETE FROM alarm WHERE cleared_at < :before

-- desk_last_second --
SELECT coalesce(max(second), -1) AS last FROM desk_entry

-- desk_known_accession --
SELECT 1 FROM worklist_row WHERE AccessionNumber = :AccessionNumber LIMIT 1

-- desk_insert --
INSERT INTO desk_entry (
    second, AccessionNumber, StudyInstanceUID, PatientID, IssuerOfPatientID, PatientName, PatientBirthDate,
    PatientSex, named, stations, Modality, procedure, emergency, start, state, automatic, added_at, added_by,
    expires_at
) VALUES (
    :second, :AccessionNumber, :StudyInstanceUID, :PatientID, :IssuerOfPatientID, :PatientName, :PatientBirthDate,
    :PatientSex, :named, :stations, :Modality, :procedure, :emergency, :start, :state, :automatic, :added_at,
    :added_by, :expires_at
) RETURNING number

-- desk_count_open --
SELECT count(*) AS n FROM desk_entry WHERE state = 'open' AND erased = 0

-- desk_list --
SELECT * FROM desk_entry WHERE erased = 0 AND (:all OR state IN ('open', 'expired')) ORDER BY number DESC LIMIT :limit

-- desk_find --
SELECT * FROM desk_entry
WHERE number = :number OR AccessionNumber = :AccessionNumber OR StudyInstanceUID = :StudyInstanceUID

-- desk_link_of --
SELECT * FROM desk_link WHERE entry = :number

-- desk_move --
UPDATE desk_entry SET state = :state, automatic = :automatic WHERE number = :number

-- desk_remove_row --
DELETE FROM worklist_row WHERE source = :source AND key = :key
RETURNING source, key, PatientID, AccessionNumber, StudyInstanceUID, start_date

-- desk_overdue --
SELECT * FROM desk_entry WHERE state = 'open' AND erased = 0 AND expires_at <= :now ORDER BY number LIMIT :limit

-- desk_link_insert --
INSERT INTO desk_link (
    entry, source, AccessionNumber, StudyInstanceUID, PatientID, IssuerOfPatientID, RequestedProcedureID, how, at, by
) VALUES (
    :entry, :source, :AccessionNumber, :StudyInstanceUID, :PatientID, :IssuerOfPatientID, :RequestedProcedureID,
    :how, :at, :by
)

-- desk_link_remove --
DELETE FROM desk_link WHERE entry = :number

-- desk_waiting --
SELECT e.* FROM desk_entry AS e
WHERE e.state IN ('open', 'expired') AND e.erased = 0 AND e.automatic
AND (
    EXISTS (SELECT 1 FROM worklist_row AS r WHERE r.AccessionNumber = e.AccessionNumber AND r.source <> :desk)
    OR EXISTS (SELECT 1 FROM worklist_row AS r WHERE r.StudyInstanceUID = e.StudyInstanceUID AND r.source <> :desk)
)
ORDER BY e.number LIMIT :limit

-- desk_orders_by_key --
SELECT * FROM worklist_row
WHERE (AccessionNumber = :AccessionNumber OR StudyInstanceUID = :StudyInstanceUID OR PatientID = :PatientID)
AND source <> :desk ORDER BY source, key LIMIT :limit

-- desk_orders_by_name --
SELECT * FROM worklist_row WHERE start_date BETWEEN :first AND :last AND source <> :desk
AND PatientName IN (SELECT value FROM json_each(:names))
ORDER BY source, key LIMIT :limit

-- desk_orders_by_prefix --
SELECT * FROM worklist_row WHERE AccessionNumber BETWEEN :first AND :last AND source <> :desk
ORDER BY AccessionNumber, source, key LIMIT :limit

-- desk_names --
SELECT DISTINCT PatientName FROM worklist_row WHERE source <> :desk AND start_date BETWEEN :first AND :last

-- desk_of_patient --
SELECT * FROM desk_entry WHERE erased = 0 AND (
    PatientID = :PatientID OR number IN (SELECT entry FROM desk_link WHERE PatientID = :PatientID COLLATE BINARY)
)

-- desk_erase_one --
UPDATE desk_entry SET
    PatientID = '', IssuerOfPatientID = '', PatientName = '', PatientBirthDate = '', PatientSex = '', erased = 1
WHERE number = :number

-- desk_erase --
-- What was minted stays for ever, what a person typed does not. Expired entries have waited long enough too.
UPDATE desk_entry SET
    PatientID = '', IssuerOfPatientID = '', PatientName = '', PatientBirthDate = '', PatientSex = '', erased = 1
WHERE erased = 0 AND state <> 'open' AND expires_at < :before
AND NOT EXISTS (SELECT 1 FROM desk_link AS l WHERE l.entry = desk_entry.number AND l.at >= :before)
RETURNING number

-- mpps_step_by_uid --
SELECT id, status, created, last_set FROM mpps_step WHERE SOPInstanceUID = :SOPInstanceUID

-- mpps_step_upsert --
-- What a message does not say stays as it was.
INSERT INTO mpps_step (
    SOPInstanceUID, calling_ae, status, created, last_set, first_at, last_at, ended_at, PatientID, Modality,
    PerformedProcedureStepID, PerformedStationAETitle, reason, series, instances
) VALUES (
    :SOPInstanceUID, :calling_ae, :status, :created, :last_set, :now, :now, :ended_at, :PatientID, :Modality,
    :PerformedProcedureStepID, :PerformedStationAETitle, :reason, :series, :instances
)
ON CONFLICT (SOPInstanceUID) DO UPDATE SET
    status = excluded.status, last_at = excluded.last_at,
    created = CASE excluded.created WHEN '' THEN created ELSE excluded.created END,
    last_set = CASE excluded.last_set WHEN '' THEN last_set ELSE excluded.last_set END,
    ended_at = coalesce(ended_at, excluded.ended_at),
    PatientID = CASE excluded.PatientID WHEN '' THEN PatientID ELSE excluded.PatientID END,
    Modality = CASE excluded.Modality WHEN '' THEN Modality ELSE excluded.Modality END,
    PerformedProcedureStepID =
        CASE excluded.PerformedProcedureStepID WHEN '' THEN PerformedProcedureStepID
        ELSE excluded.PerformedProcedureStepID END,
    PerformedStationAETitle =
        CASE excluded.PerformedStationAETitle WHEN '' THEN PerformedStationAETitle
        ELSE excluded.PerformedStationAETitle END,
    reason = CASE excluded.reason WHEN '' THEN reason ELSE excluded.reason END,
    series = coalesce(excluded.series, series), instances = coalesce(excluded.instances, instances)
RETURNING id

-- mpps_steps --
SELECT * FROM mpps_step ORDER BY last_at DESC, id DESC LIMIT :limit

-- mpps_steps_of_study --
SELECT * FROM mpps_step WHERE id IN (SELECT step FROM mpps_reference WHERE StudyInstanceUID = :study) ORDER BY id

-- mpps_reference_forget --
DELETE FROM mpps_reference WHERE step = :step

-- mpps_reference_insert --
INSERT INTO mpps_reference (
    step, position, StudyInstanceUID, AccessionNumber, RequestedProcedureID, ScheduledProcedureStepID
) VALUES (
    :step, :position, :StudyInstanceUID, :AccessionNumber, :RequestedProcedureID, :ScheduledProcedureStepID
)

-- mpps_references --
SELECT StudyInstanceUID, AccessionNumber, RequestedProcedureID, ScheduledProcedureStepID FROM mpps_reference
WHERE step = :step ORDER BY position

-- mpps_message_insert --
INSERT INTO mpps_message (step, request, calling_ae, address, received_at, TransferSyntaxUID, dataset)
VALUES (:step, :request, :calling_ae, :address, :now, :TransferSyntaxUID, :dataset) RETURNING seq

-- mpps_message_dataset --
SELECT dataset FROM mpps_message WHERE seq = :seq

-- mpps_relay_insert --
INSERT INTO relay (kind, message, step, tells, target, state, attempts, last_status, queued_at)
VALUES ('mpps', :message, :step, :request, :target, 'queued', 0, '', :now)

-- mpps_relays_of_step --
SELECT r.*, s.SOPInstanceUID, m.TransferSyntaxUID, m.calling_ae FROM relay AS r
JOIN mpps_message AS m ON m.seq = r.message JOIN mpps_step AS s ON s.id = r.step
WHERE r.step = :step ORDER BY r.target, r.tells, r.message

-- mpps_relay_unknown_there --
SELECT r.*, s.SOPInstanceUID, m.TransferSyntaxUID, m.calling_ae FROM relay AS r
JOIN mpps_message AS m ON m.seq = r.message JOIN mpps_step AS s ON s.id = r.step
WHERE r.step = :step AND r.settled_at IS NULL AND r.state IN ('queued', 'refused') AND r.last_status = :status

-- mpps_relay_due --
-- Of each step the first that is not over, and not those behind one that is being sent or waits for its next attempt.
SELECT r.*, s.SOPInstanceUID, m.TransferSyntaxUID, m.calling_ae FROM relay AS r
JOIN mpps_message AS m ON m.seq = r.message JOIN mpps_step AS s ON s.id = r.step
WHERE r.settled_at IS NULL AND r.kind = 'mpps' AND r.target = :target AND r.state = 'queued'
AND (r.not_before IS NULL OR r.not_before <= :now OR r.not_before > :implausible)
AND NOT EXISTS (
    SELECT 1 FROM relay AS e
    WHERE e.settled_at IS NULL AND e.kind = 'mpps' AND e.target = r.target AND e.state IN ('queued', 'sending') AND e.step = r.step
    AND (e.tells, e.message) < (r.tells, r.message)
)
ORDER BY r.message LIMIT :limit

-- mpps_relay_not_over --
SELECT r.*, s.SOPInstanceUID, m.TransferSyntaxUID, m.calling_ae FROM relay AS r
JOIN mpps_message AS m ON m.seq = r.message JOIN mpps_step AS s ON s.id = r.step
WHERE r.settled_at IS NULL AND r.kind = 'mpps' AND :target IN ('', r.target) AND :state IN ('', r.state) ORDER BY r.id LIMIT :limit

-- relay_get --
SELECT * FROM relay WHERE id = :id AND kind = :kind

-- relay_left --
SELECT * FROM relay WHERE settled_at IS NULL AND kind = :kind AND target = :target AND state = 'sending' ORDER BY id

-- relay_move --
UPDATE relay SET state = :to, settled_at = :settled_at WHERE id = :id AND state = :from

-- relay_count --
UPDATE relay SET attempts = attempts + 1, not_before = NULL WHERE id = :id

-- relay_settle --
UPDATE relay SET last_status = :status, not_before = :not_before WHERE id = :id

-- relay_put_off --
UPDATE relay SET attempts = attempts + 1, last_status = :status, not_before = :not_before
WHERE id = :id AND state = 'queued'

-- relay_note --
UPDATE relay SET last_status = :status WHERE id = :id AND state = 'queued'

-- relay_at_once --
UPDATE relay SET not_before = NULL WHERE id = :id

-- relay_undecided --
SELECT id, state FROM relay WHERE settled_at IS NULL AND kind = :kind AND target = :target ORDER BY id

-- relay_backlog --
SELECT target, count(*) FILTER (WHERE state <> 'refused') AS waiting, count(*) FILTER (WHERE state = 'refused') AS refused,
    min(queued_at) FILTER (WHERE state <> 'refused') AS oldest,
    (SELECT o.last_status FROM relay AS o WHERE o.settled_at IS NULL AND o.kind = r.kind AND o.target = r.target
     ORDER BY o.state = 'refused', o.id LIMIT 1) AS last_status
FROM relay AS r WHERE settled_at IS NULL AND kind = :kind GROUP BY target ORDER BY target

-- mpps_any_completed --
SELECT 1 FROM mpps_step WHERE status = 'COMPLETED' AND ended_at <= :before LIMIT 1

-- mpps_performed --
SELECT r.StudyInstanceUID AS study, r.ScheduledProcedureStepID AS sps, min(s.ended_at) AS ended_at
FROM json_each(:scheduled) AS j JOIN mpps_reference AS r
ON r.StudyInstanceUID = j.value ->> 0 AND r.ScheduledProcedureStepID = j.value ->> 1
JOIN mpps_step AS s ON s.id = r.step
WHERE s.status = 'COMPLETED' AND s.ended_at <= :before
AND NOT EXISTS (
    SELECT 1 FROM mpps_reference AS o JOIN mpps_step AS t ON t.id = o.step
    WHERE o.StudyInstanceUID = r.StudyInstanceUID AND o.ScheduledProcedureStepID = r.ScheduledProcedureStepID
    AND t.status = 'IN PROGRESS'
)
GROUP BY r.StudyInstanceUID, r.ScheduledProcedureStepID

-- mpps_trim --
SELECT s.id FROM mpps_step AS s WHERE s.last_at < :before
AND NOT EXISTS (SELECT 1 FROM relay AS r WHERE r.step = s.id AND r.settled_at IS NULL)
ORDER BY s.last_at LIMIT :limit

-- mpps_erase --
DELETE FROM mpps_step WHERE PatientID = :PatientID
AND NOT EXISTS (SELECT 1 FROM relay AS r WHERE r.step = mpps_step.id AND r.settled_at IS NULL)

-- mpps_trim_journal --
DELETE FROM journal WHERE kind = 'mpps' AND subject = :subject

-- mpps_step_forget --
DELETE FROM mpps_step WHERE id = :id

-- patient_of --
SELECT PatientID, issuer FROM patient WHERE PatientID = :PatientID AND (issuer = :issuer OR issuer = '' OR :issuer = '')

-- patient_content --
SELECT content, event, message FROM patient WHERE PatientID = :PatientID AND issuer = :issuer

-- patient_set --
INSERT INTO patient (PatientID, issuer, content, event, message, changed_at)
VALUES (:PatientID, :issuer, :content, :event, :message, :changed_at)
ON CONFLICT (PatientID, issuer) DO UPDATE SET
    content = excluded.content, event = excluded.event, message = excluded.message, changed_at = excluded.changed_at

-- patient_remove --
DELETE FROM patient WHERE PatientID = :PatientID AND issuer = :issuer

-- patient_forget --
DELETE FROM patient WHERE changed_at < :before AND NOT EXISTS (
    SELECT 1 FROM requested_procedure AS p WHERE p.PatientID = patient.PatientID AND p.issuer = patient.issuer
)

-- patient_alias_of --
SELECT * FROM patient_alias WHERE PatientID = :PatientID AND (issuer = :issuer OR issuer = '' OR :issuer = '')

-- patient_alias_set --
INSERT INTO patient_alias (PatientID, issuer, to_PatientID, to_issuer, renamed, event, message, changed_at)
VALUES (:PatientID, :issuer, :to_PatientID, :to_issuer, :renamed, :event, :message, :changed_at)
ON CONFLICT (PatientID, issuer) DO UPDATE SET
    to_PatientID = excluded.to_PatientID, to_issuer = excluded.to_issuer, renamed = excluded.renamed,
    event = excluded.event, message = excluded.message, changed_at = excluded.changed_at

-- patient_alias_follow --
-- What led to a number that is merged now leads to its survivor.
UPDATE patient_alias SET to_PatientID = :to_PatientID, to_issuer = :to_issuer
WHERE to_PatientID = :PatientID AND to_issuer = :issuer

-- patient_alias_remove --
DELETE FROM patient_alias WHERE PatientID = :PatientID AND issuer = :issuer

-- patient_alias_forget --
DELETE FROM patient_alias WHERE changed_at < :before

-- order_met --
-- Whether there is anything of the order: each of these stops at the first and reads no row.
SELECT EXISTS (
    SELECT 1 FROM requested_procedure WHERE StudyInstanceUID = :study
    UNION ALL SELECT 1 FROM requested_procedure WHERE AccessionNumber = :accession
    UNION ALL SELECT 1 FROM requested_procedure WHERE placer = :placer
    UNION ALL SELECT 1 FROM requested_procedure WHERE filler = :filler
    UNION ALL SELECT 1 FROM order_alias WHERE kind = 'study' AND value = :study
    UNION ALL SELECT 1 FROM order_alias WHERE kind = 'accession' AND value = :accession
) AS known, EXISTS (
    SELECT 1 FROM order_tombstone WHERE kind = 'study' AND value = :whole
    UNION ALL SELECT 1 FROM order_tombstone WHERE kind = 'accession' AND value = :accession
    UNION ALL SELECT 1 FROM order_tombstone WHERE kind = 'placer' AND value = :placer
    UNION ALL SELECT 1 FROM order_tombstone WHERE kind = 'filler' AND value = :filler
) AS ended, EXISTS (
    SELECT 1 FROM appointment WHERE placer = :placer UNION ALL SELECT 1 FROM appointment WHERE filler = :filler
) AS booked

-- orders_sharing --
SELECT * FROM requested_procedure WHERE id IN (
    SELECT id FROM requested_procedure WHERE StudyInstanceUID = :study
    UNION ALL SELECT id FROM requested_procedure WHERE AccessionNumber = :accession
    UNION ALL SELECT id FROM requested_procedure WHERE placer = :placer
    UNION ALL SELECT id FROM requested_procedure WHERE filler = :filler
    UNION ALL SELECT procedure FROM order_alias WHERE kind = 'study' AND value = :study
    UNION ALL SELECT procedure FROM order_alias WHERE kind = 'accession' AND value = :accession
) ORDER BY +changed_at DESC, id DESC LIMIT :limit

-- orders_of_patient --
SELECT * FROM requested_procedure WHERE PatientID = :PatientID AND issuer = :issuer
ORDER BY +changed_at DESC, id DESC LIMIT :limit

-- order_by_id --
SELECT * FROM requested_procedure WHERE id = :id

-- order_of_procedure --
SELECT * FROM requested_procedure WHERE StudyInstanceUID = :study AND RequestedProcedureID = :procedure

-- orders_latest --
SELECT * FROM requested_procedure
WHERE :number = '' OR :number IN (AccessionNumber, PatientID, placer, filler, StudyInstanceUID, RequestedProcedureID)
ORDER BY changed_at DESC, id DESC LIMIT :limit

-- order_set --
INSERT INTO requested_procedure (
    id, source, StudyInstanceUID, RequestedProcedureID, AccessionNumber, accession_issuer, placer, placer_issuer,
    filler, filler_issuer, PatientID, issuer, status, content, keys, event, message, first_seen, changed_at
) VALUES (
    :id, :source, :StudyInstanceUID, :RequestedProcedureID, :AccessionNumber, :accession_issuer, :placer, :placer_issuer,
    :filler, :filler_issuer, :PatientID, :issuer, :status, :content, :keys, :event, :message, :now, :now
)
ON CONFLICT (id) DO UPDATE SET
    StudyInstanceUID = excluded.StudyInstanceUID, RequestedProcedureID = excluded.RequestedProcedureID,
    AccessionNumber = excluded.AccessionNumber, accession_issuer = excluded.accession_issuer,
    placer = excluded.placer, placer_issuer = excluded.placer_issuer, filler = excluded.filler,
    filler_issuer = excluded.filler_issuer, PatientID = excluded.PatientID, issuer = excluded.issuer,
    status = excluded.status, content = excluded.content, keys = excluded.keys, event = excluded.event,
    message = excluded.message, changed_at = excluded.changed_at
RETURNING id

-- order_row_there --
SELECT 1 FROM worklist_row WHERE source = :source AND key = :key

-- order_row_remove --
DELETE FROM worklist_row WHERE source = :source AND key = :key

-- orders_forget --
-- Orders are made months ahead: one that stands is kept for its last step too.
DELETE FROM requested_procedure WHERE changed_at < :before AND (
    status IN (SELECT value FROM json_each(:ended))
    OR NOT EXISTS (SELECT 1 FROM json_each(content, '$.steps') AS s WHERE s.value ->> 'start' >= :before)
) RETURNING source, keys

-- order_rows_forget --
DELETE FROM worklist_row WHERE kind = 'hl7' AND source = :source AND key IN (SELECT value FROM json_each(:keys))

-- order_was_served --
SELECT 1 FROM served WHERE key IN (SELECT value FROM json_each(:keys)) LIMIT 1

-- order_images --
SELECT 1 FROM instance WHERE StudyInstanceUID = :study LIMIT 1

-- order_alias_set --
INSERT INTO order_alias (kind, value, issuer, procedure) VALUES (:kind, :value, :issuer, :procedure)
ON CONFLICT DO NOTHING

-- order_aliases --
SELECT kind, value FROM order_alias WHERE procedure = :procedure

-- accession_next --
UPDATE accession_sequence SET last = last + 1 RETURNING last

-- order_tombstone_set --
INSERT INTO order_tombstone (kind, value, issuer, source, status, event, message, changed_at)
VALUES (:kind, :value, :issuer, :source, :status, :event, :message, :now)
ON CONFLICT (kind, value, issuer, source) DO UPDATE SET
    status = excluded.status, event = excluded.event, message = excluded.message, changed_at = excluded.changed_at
WHERE (excluded.event, excluded.message) >= (order_tombstone.event, order_tombstone.message)

-- order_tombstone_of --
SELECT status, event, message FROM order_tombstone WHERE source = :source AND (
    (kind = 'study' AND value = :study AND issuer = :study_issuer)
    OR (kind = 'filler' AND value = :filler AND issuer = :filler_issuer)
    OR (kind = 'placer' AND value = :placer AND issuer = :placer_issuer)
    OR (kind = 'accession' AND value = :accession AND issuer = :accession_issuer)
) ORDER BY event DESC, message DESC LIMIT 1

-- order_tombstones_forget --
DELETE FROM order_tombstone WHERE changed_at < :before

-- appointment_set --
INSERT INTO appointment (
    source, number, placer, filler, PatientID, issuer, content, event, message, changed_at
) VALUES (:source, :number, :placer, :filler, :PatientID, :issuer, :content, :event, :message, :now)
ON CONFLICT (source, number) DO UPDATE SET
    placer = excluded.placer, filler = excluded.filler, PatientID = excluded.PatientID, issuer = excluded.issuer,
    content = excluded.content, event = excluded.event, message = excluded.message, changed_at = excluded.changed_at
WHERE (excluded.event, excluded.message) >= (appointment.event, appointment.message)

-- appointment_remove --
DELETE FROM appointment WHERE source = :source AND number = :number AND (event, message) <= (:event, :message)

-- appointments_for --
SELECT * FROM appointment WHERE placer = :placer OR filler = :filler ORDER BY event, message

-- appointments_forget --
DELETE FROM appointment WHERE changed_at < :before

-- order_conflict_add --
-- Once for each newcomer that is not settled.
INSERT INTO order_conflict (source, procedure, kind, PatientID, issuer, at)
SELECT :source, :procedure, :kind, :PatientID, :issuer, :now WHERE NOT EXISTS (
    SELECT 1 FROM order_conflict WHERE source = :source AND settled_at IS NULL AND procedure = :procedure
        AND kind = :kind AND PatientID = :PatientID AND issuer = :issuer
)

-- order_conflicts --
SELECT * FROM order_conflict WHERE settled_at IS NULL ORDER BY at DESC, id DESC LIMIT :limit

-- order_conflict_settle --
UPDATE order_conflict SET settled_at = :now, settled_by = :by WHERE id = :id AND settled_at IS NULL RETURNING source

-- order_conflicts_left --
SELECT count(*) AS left FROM order_conflict WHERE source = :source AND settled_at IS NULL

-- order_change_add --
INSERT INTO order_change (procedure, PatientID, issuer, at) VALUES (:procedure, :PatientID, :issuer, :now)

-- order_changes_since --
SELECT seq, procedure, PatientID, issuer, at FROM order_change WHERE seq > :seq ORDER BY seq LIMIT :limit

-- order_change_last --
SELECT seq FROM sqlite_sequence WHERE name = 'order_change'

-- order_changes_forget --
-- They are in the order of their times, but for a clock that was set back.
DELETE FROM order_change WHERE seq < coalesce(
    (SELECT seq FROM order_change WHERE at >= :before ORDER BY seq LIMIT 1), (SELECT max(seq) + 1 FROM order_change)
)

-- order_change_erase --
-- Those of the patient's other numbers too: before the aliases go.
DELETE FROM order_change WHERE PatientID = :PatientID
OR PatientID IN (SELECT PatientID FROM patient_alias WHERE to_PatientID = :PatientID)

-- orders_erase --
DELETE FROM requested_procedure WHERE PatientID = :PatientID

-- patient_erase --
DELETE FROM patient WHERE PatientID = :PatientID

-- patient_alias_erase --
DELETE FROM patient_alias WHERE :PatientID IN (PatientID, to_PatientID)

-- appointment_erase --
DELETE FROM appointment WHERE PatientID = :PatientID

-- order_conflict_erase --
DELETE FROM order_conflict WHERE PatientID = :PatientID

-- order_conflicts_forget --
DELETE FROM order_conflict WHERE at < :before

-- check_of --
SELECT * FROM study_check WHERE study = :study

-- check_set --
INSERT INTO study_check (
    study, verdict, blocks, applied, way, held_until, basis, fingerprint, bound, decided_by, decision, first_at,
    decided_at, used_at, looked_at, calling_ae, corrected_patient
) VALUES (
    :study, :verdict, :blocks, :applied, :way, :held_until, :basis, :fingerprint, :bound, :decided_by, :decision,
    :first_at, :now, :now, :now, :calling_ae, :corrected_patient
)
ON CONFLICT (study) DO UPDATE SET
    verdict = excluded.verdict, blocks = excluded.blocks, applied = excluded.applied, way = excluded.way,
    held_until = excluded.held_until, basis = excluded.basis, fingerprint = excluded.fingerprint,
    bound = excluded.bound, decided_by = excluded.decided_by, decision = excluded.decision,
    decided_at = excluded.decided_at, used_at = excluded.used_at, looked_at = excluded.looked_at, again = 0,
    calling_ae = excluded.calling_ae, corrected_patient = excluded.corrected_patient

-- corrections_by_scanner --
SELECT calling_ae, count(*) FILTER (WHERE decided_at >= :lately) AS studies,
    count(*) FILTER (WHERE decided_at >= :lately AND corrected_patient <> '') AS corrected,
    count(*) FILTER (WHERE decided_at < :lately) AS studies_before,
    count(*) FILTER (WHERE decided_at < :lately AND corrected_patient <> '') AS corrected_before
FROM study_check WHERE decided_at >= :since AND calling_ae <> '' GROUP BY calling_ae

-- corrections_to_one --
SELECT max(n) AS most FROM (
    SELECT count(*) AS n FROM study_check WHERE decided_at >= :since AND corrected_patient <> ''
    GROUP BY corrected_patient
)

-- corrections_resumed --
SELECT resumed_at FROM check_cursor

-- corrections_resume --
UPDATE check_cursor SET resumed_at = :now

-- check_used --
UPDATE study_check SET used_at = :now WHERE study = :study

-- check_settled --
-- They were looked at again and nothing is different.
UPDATE study_check SET again = 0, looked_at = :now WHERE study IN (SELECT value FROM json_each(:studies))

-- check_doubtful --
-- What a row of a worklist may have come for since it was looked at last; held ones first.
SELECT study FROM study_check WHERE decision IS NULL AND verdict IN ('hold', 'suggest', 'unscheduled')
AND looked_at < :before AND first_at > :since ORDER BY way <> 'held', looked_at LIMIT :limit

-- check_origins --
SELECT calling_ae, min(received_at) AS first, max(received_at) AS last, max(priority = 1) AS urgent
FROM (SELECT * FROM instance WHERE StudyInstanceUID = :study UNION SELECT * FROM instance WHERE id = :study)
GROUP BY calling_ae

-- check_unlinked --
SELECT i.* FROM instance AS i WHERE i.id IN (
    SELECT id FROM instance WHERE StudyInstanceUID = :study UNION SELECT id FROM instance WHERE id = :study
) AND i.state <> 'purged' AND NOT EXISTS (SELECT 1 FROM instance_header AS l WHERE l.instance = i.id) LIMIT :limit

-- check_destinations --
-- Which had images with these headers.
SELECT DISTINCT d.destination FROM instance_header AS l JOIN delivery AS d ON d.instance = l.instance
WHERE l.header IN (SELECT value FROM json_each(:headers)) AND d.state IN ('sent', 'confirmed')

-- check_again --
SELECT study FROM study_check WHERE again ORDER BY study LIMIT :limit

-- check_overdue --
SELECT study FROM study_check WHERE way = 'held' AND held_until <= :now ORDER BY held_until LIMIT :limit

-- check_touch_study --
UPDATE study_check SET again = 1 WHERE study = :study AND NOT again

-- check_touch_accession --
UPDATE study_check SET again = 1
WHERE study IN (SELECT study FROM header WHERE AccessionNumber = :AccessionNumber) AND NOT again

-- check_touch_patient --
UPDATE study_check SET again = 1 WHERE study IN (SELECT study FROM header WHERE PatientID = :PatientID) AND NOT again

-- check_summary --
SELECT verdict, applied, blocks, decided_by = 'check' AS automatic, count(*) AS studies
FROM study_check WHERE decided_at >= :since AND decided_at < :until
GROUP BY verdict, applied, blocks, automatic ORDER BY verdict, applied, blocks, automatic

-- check_cursor --
SELECT order_change FROM check_cursor

-- check_cursor_move --
UPDATE check_cursor SET order_change = :seq

-- check_forget --
-- The map is kept for as long as later images may follow it, and while anything of the study is here or open.
DELETE FROM study_check WHERE study IN (
    SELECT k.study FROM study_check AS k WHERE k.used_at < :before
    AND NOT EXISTS (SELECT 1 FROM header AS h JOIN instance_header AS l ON l.header = h.id WHERE h.study = k.study)
    AND NOT EXISTS (SELECT 1 FROM task AS t WHERE t.study = k.study AND t.state = 'open')
    ORDER BY k.used_at LIMIT :limit
)

-- check_of_patient --
-- By a header, or by the evidence of the verdict (JSON). What is still here is not touched: its edits are needed.
SELECT k.study FROM study_check AS k WHERE (
    instr(k.basis, :quoted) > 0
    OR EXISTS (SELECT 1 FROM header AS h WHERE h.study = k.study AND h.PatientID = :PatientID COLLATE BINARY)
)
AND NOT EXISTS (SELECT 1 FROM instance AS i WHERE i.StudyInstanceUID = k.study AND i.state <> 'purged')
AND NOT EXISTS (SELECT 1 FROM instance AS i WHERE i.id = k.study AND i.state <> 'purged')

-- check_erase_links --
DELETE FROM instance_header WHERE header IN (SELECT id FROM header WHERE study = :study)

-- check_erase_tasks --
DELETE FROM task WHERE study = :study

-- check_erase_reads --
DELETE FROM read_back WHERE study = :study

-- check_erase --
DELETE FROM study_check WHERE study = :study

-- header_known --
SELECT id, edits FROM header WHERE study = :study AND digest = :digest

-- headers_of --
SELECT id, digest, excerpt, marks, edits FROM header WHERE study = :study ORDER BY id

-- header_add --
INSERT INTO header (study, digest, excerpt, marks, PatientID, AccessionNumber)
VALUES (:study, :digest, :excerpt, :marks, trim(:PatientID), trim(:AccessionNumber))
ON CONFLICT (study, digest) DO UPDATE SET marks = excluded.marks RETURNING id

-- header_edit --
UPDATE header SET edits = :edits WHERE id = :id AND edits <> :edits RETURNING id

-- header_link --
INSERT INTO instance_header (instance, header, unpatchable) VALUES (:instance, :header, :unpatchable)
ON CONFLICT (instance) DO UPDATE SET header = excluded.header, unpatchable = excluded.unpatchable

-- instance_outgoing --
SELECT i.state, h.edits, l.unpatchable FROM instance AS i LEFT JOIN instance_header AS l ON l.instance = i.id
LEFT JOIN header AS h ON h.id = l.header WHERE i.id = :instance

-- instance_journal_many --
INSERT INTO journal (at, who, kind, subject, from_state, to_state, why)
SELECT :at, :by, 'instance', i.id, CASE i.held WHEN '' THEN i.state ELSE i.held END, :after, :why
FROM json_each(:ids) AS listed JOIN instance AS i ON i.id = listed.value WHERE +i.state <> 'purged'

-- instance_set_many --
UPDATE instance SET state = 'received', held = :held
WHERE id IN (SELECT value FROM json_each(:ids)) AND +state <> 'purged'

-- instances_of_study --
-- Of a StudyInstanceUID, or the one image of that id.
SELECT id, state, held FROM instance WHERE StudyInstanceUID = :study
UNION SELECT id, state, held FROM instance WHERE id = :study

-- instances_with_headers --
SELECT l.instance FROM instance_header AS l JOIN json_each(:headers) AS listed ON l.header = listed.value

-- instance_purge_rejected --
SELECT i.* FROM instance AS i WHERE i.held = 'rejected' AND i.state = 'received'
AND NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.instance = i.id AND d.state = 'sending')
AND EXISTS (
    SELECT 1 FROM study_check AS k WHERE k.study IN (i.StudyInstanceUID, i.id) AND k.way = 'rejected'
    AND k.decided_at < :rejected_before
)
ORDER BY i.seq LIMIT :limit

-- delivery_withdrawn_journal --
INSERT INTO journal (at, who, kind, subject, from_state, to_state, why)
SELECT :at, :by, 'delivery', CAST(d.id AS TEXT), d.state, 'withdrawn', :why
FROM json_each(:ids) AS listed JOIN delivery AS d ON d.instance = listed.value WHERE d.state IN ('queued', 'refused')

-- delivery_withdraw --
DELETE FROM delivery WHERE instance IN (SELECT value FROM json_each(:ids)) AND state IN ('queued', 'refused')

-- task_open --
SELECT * FROM task WHERE study = :study AND kind = :kind AND state = 'open'

-- task_insert --
INSERT INTO task (study, kind, code, blocks, state, opened_at, escalate_at)
VALUES (:study, :kind, :code, :blocks, 'open', :now, :escalate_at) RETURNING id

-- task_renew --
UPDATE task SET code = :code, blocks = :blocks, escalate_at = :escalate_at WHERE id = :id

-- task_decide --
UPDATE task SET state = 'decided', decided_at = :now, decided_by = :by, outcome = :outcome
WHERE id = :id AND state = 'open' RETURNING id

-- task_get --
SELECT * FROM task WHERE id = :id

-- tasks_of_study --
SELECT * FROM task WHERE study = :study ORDER BY id

-- tasks_latest --
-- Those that block first, then the oldest; decided ones after them, the latest first.
SELECT * FROM task WHERE :every OR state = 'open'
ORDER BY state = 'decided', blocks DESC, CASE state WHEN 'open' THEN id ELSE -id END LIMIT :limit

-- task_counts --
SELECT kind, blocks, count(*) AS n, min(opened_at) AS oldest FROM task WHERE state = 'open' GROUP BY kind, blocks

-- tasks_due --
SELECT * FROM task WHERE state = 'open' AND escalate_at <= :now ORDER BY escalate_at LIMIT :limit

-- task_escalate --
UPDATE task SET escalate_at = :escalate_at WHERE id = :id

-- tasks_forget --
DELETE FROM task WHERE state = 'decided' AND decided_at < :before

-- decision_insert --
INSERT INTO decision (study, choice, target, remember, why, decided_by, decided_at)
VALUES (:study, :choice, :target, :remember, :why, :by, :now) RETURNING id

-- decision_get --
SELECT * FROM decision WHERE id = :id

-- decisions_waiting --
SELECT * FROM decision WHERE carried_at IS NULL ORDER BY id LIMIT :limit

-- decisions_of_study --
SELECT * FROM decision WHERE study = :study ORDER BY id

-- decision_carried --
UPDATE decision SET carried_at = :now, outcome = :outcome WHERE id = :id AND carried_at IS NULL RETURNING id

-- decisions_forget --
DELETE FROM decision WHERE carried_at < :before AND id NOT IN (SELECT decision FROM remembered)
AND id NOT IN (SELECT decision FROM study_check WHERE decision IS NOT NULL)

-- decision_erase --
UPDATE decision SET target = '', why = '' WHERE study NOT IN (SELECT study FROM study_check) AND carried_at IS NOT NULL

-- remembered_add --
INSERT INTO remembered (decision, fingerprint) VALUES (:decision, :fingerprint)
ON CONFLICT (fingerprint) WHERE revoked_at IS NULL DO UPDATE SET decision = excluded.decision RETURNING id

-- remembered_for --
SELECT r.id, d.* FROM remembered AS r JOIN decision AS d ON d.id = r.decision
WHERE r.fingerprint = :fingerprint AND r.revoked_at IS NULL

-- remembered_use --
UPDATE remembered SET used = used + 1, last_used = :now WHERE id = :id

-- remembered_list --
SELECT r.id AS rule, r.used, r.last_used, r.revoked_at, r.revoked_by, d.* FROM remembered AS r
JOIN decision AS d ON d.id = r.decision WHERE :every OR r.revoked_at IS NULL ORDER BY r.id LIMIT :limit

-- remembered_revoke --
UPDATE remembered SET revoked_at = :now, revoked_by = :by WHERE id = :id AND revoked_at IS NULL RETURNING id

-- read_back_set --
INSERT INTO read_back (study, destination, expected, asked_at) VALUES (:study, :destination, :expected, :now)
ON CONFLICT (study, destination) WHERE settled_at IS NULL
DO UPDATE SET expected = excluded.expected, asked_at = excluded.asked_at

-- read_back_due --
-- Nothing of the study is on its way to that destination any more, and something of it is there.
SELECT b.* FROM read_back AS b WHERE b.settled_at IS NULL AND b.destination = :destination
AND NOT EXISTS (SELECT 1 FROM instance AS i WHERE i.StudyInstanceUID = b.study AND i.state = 'received' AND i.held = '')
AND NOT EXISTS (
    SELECT 1 FROM instance AS i JOIN delivery AS d ON d.instance = i.id
    WHERE i.StudyInstanceUID = b.study AND d.destination = b.destination AND d.state <> 'confirmed'
)
ORDER BY b.id LIMIT :limit

-- read_back_settle --
UPDATE read_back SET settled_at = :now, outcome = :outcome WHERE id = :id AND settled_at IS NULL RETURNING id

-- read_backs_of_study --
SELECT * FROM read_back WHERE study = :study ORDER BY id

-- read_back_forget --
DELETE FROM read_back WHERE settled_at < :before

-- candidate_rows --
-- Of the copy: what shares a number with the study, and what is scheduled at its stations about its time.
SELECT r.* FROM worklist_row AS r WHERE r.rowid IN (
    SELECT rowid FROM worklist_row WHERE StudyInstanceUID IN (SELECT value FROM json_each(:studies))
    UNION SELECT rowid FROM worklist_row WHERE AccessionNumber IN (SELECT value FROM json_each(:accessions))
    UNION SELECT rowid FROM worklist_row WHERE PatientID IN (SELECT value FROM json_each(:patients))
    UNION SELECT rowid FROM (
        SELECT rowid FROM worklist_row WHERE station IN (SELECT value FROM json_each(:stations))
        AND start_date BETWEEN :first AND :last ORDER BY start_date, start_time LIMIT :near
    )
) ORDER BY r.source, r.key LIMIT :limit

-- candidate_orders --
SELECT * FROM requested_procedure WHERE id IN (
    SELECT id FROM requested_procedure WHERE StudyInstanceUID IN (SELECT value FROM json_each(:studies))
    UNION SELECT id FROM requested_procedure WHERE AccessionNumber IN (SELECT value FROM json_each(:accessions))
    UNION SELECT id FROM requested_procedure WHERE PatientID IN (SELECT value FROM json_each(:patients))
    UNION SELECT procedure FROM order_alias WHERE kind = 'study' AND value IN (SELECT value FROM json_each(:studies))
    UNION SELECT procedure FROM order_alias
    WHERE kind = 'accession' AND value IN (SELECT value FROM json_each(:accessions))
) ORDER BY id DESC LIMIT :limit

-- candidate_served --
-- What these scanners were shown of it; also of rows that have left the copy since.
SELECT s.*, (SELECT reason FROM worklist_removal AS g WHERE g.source = s.source AND g.key = s.key) AS reason
FROM served AS s WHERE s.rowid IN (
    SELECT rowid FROM served WHERE key IN (SELECT value FROM json_each(:keys))
    UNION SELECT rowid FROM served WHERE PatientID IN (SELECT value FROM json_each(:patients))
    UNION SELECT rowid FROM served WHERE calling_ae IN (SELECT value FROM json_each(:scanners))
    AND last_served >= :since AND (
        StudyInstanceUID IN (SELECT value FROM json_each(:studies))
        OR AccessionNumber IN (SELECT value FROM json_each(:accessions))
    )
) ORDER BY s.last_served DESC LIMIT :limit

-- candidate_aliases --
-- The numbers that lead to these patients, and those that these lead to.
SELECT PatientID, issuer, to_PatientID, to_issuer FROM patient_alias
WHERE PatientID IN (SELECT value FROM json_each(:patients)) OR to_PatientID IN (SELECT value FROM json_each(:patients))
LIMIT :limit

-- candidate_patients --
SELECT PatientID, issuer FROM patient WHERE PatientID IN (SELECT value FROM json_each(:patients)) LIMIT :limit

-- candidate_steps --
SELECT s.*, r.StudyInstanceUID, r.AccessionNumber, r.RequestedProcedureID, r.ScheduledProcedureStepID
FROM mpps_reference AS r JOIN mpps_step AS s ON s.id = r.step
WHERE r.StudyInstanceUID IN (SELECT value FROM json_each(:studies)) ORDER BY s.id, r.position LIMIT :limit

-- candidate_desk --
-- What the desk minted, and the order that was linked to it.
SELECT e.AccessionNumber AS minted_accession, e.StudyInstanceUID AS minted_study, e.PatientID AS minted_patient,
    e.IssuerOfPatientID AS minted_issuer, l.*
FROM desk_entry AS e JOIN desk_link AS l ON l.entry = e.number
WHERE e.AccessionNumber IN (SELECT value FROM json_each(:accessions))
OR e.StudyInstanceUID IN (SELECT value FROM json_each(:studies)) LIMIT :limit

-- candidate_conflicts --
SELECT DISTINCT procedure FROM order_conflict
WHERE settled_at IS NULL AND procedure IN (SELECT value FROM json_each(:orders))

-- candidate_heard --
SELECT received_at FROM message WHERE sender = :sender ORDER BY id DESC LIMIT 1

-- candidate_bound --
SELECT DISTINCT k.bound, h.PatientID FROM study_check AS k JOIN header AS h ON h.study = k.study
WHERE k.bound IN (SELECT value FROM json_each(:orders)) AND k.study <> :study

-- candidate_before --
-- The study before this one from the same scanner, among the images that came last before it.
SELECT h.excerpt, h.marks FROM (
    SELECT l.header FROM (
        SELECT id, seq, calling_ae, StudyInstanceUID FROM instance
        WHERE seq < (SELECT min(seq) FROM instance WHERE StudyInstanceUID = :study) ORDER BY seq DESC LIMIT :window
    ) AS i JOIN instance_header AS l ON l.instance = i.id
    WHERE i.calling_ae IN (SELECT value FROM json_each(:scanners)) ORDER BY i.seq DESC LIMIT 1
) AS b JOIN header AS h ON h.id = b.header

-- progress_behind --
SELECT 1 FROM progress_cursor AS p WHERE p.instance <> (SELECT coalesce(max(seq), 0) FROM instance)
OR p.message < (SELECT coalesce(max(seq), 0) FROM mpps_message)

-- progress_rewind --
UPDATE progress_cursor SET instance = min(instance, (SELECT coalesce(max(seq), 0) FROM instance))

-- progress_cursor --
SELECT instance, message FROM progress_cursor

-- progress_instances --
SELECT StudyInstanceUID AS study, count(*) AS instances, min(received_at) AS first_at, max(received_at) AS last_at
FROM (SELECT StudyInstanceUID, received_at FROM instance WHERE seq > :since ORDER BY seq LIMIT :limit)
WHERE StudyInstanceUID <> '' GROUP BY StudyInstanceUID

-- progress_messages --
SELECT r.StudyInstanceUID AS study, min(m.received_at) AS first_at, max(m.received_at) AS last_at
FROM (SELECT step, received_at FROM mpps_message WHERE seq > :since ORDER BY seq LIMIT :limit) AS m
JOIN mpps_reference AS r ON r.step = m.step
WHERE r.StudyInstanceUID <> '' GROUP BY r.StudyInstanceUID

-- progress_move --
UPDATE progress_cursor SET
    instance = coalesce(
        (SELECT max(seq) FROM (SELECT seq FROM instance WHERE seq > :instance ORDER BY seq LIMIT :limit)), instance),
    message = coalesce(
        (SELECT max(seq) FROM (SELECT seq FROM mpps_message WHERE seq > :message ORDER BY seq LIMIT :limit)), message)

-- progress_note --
INSERT INTO study_progress (StudyInstanceUID, first_at, last_at, look_at, standing, because, late)
VALUES (:study, :first_at, :last_at, :now, 'in progress', 'not-quiet', 0)
ON CONFLICT (StudyInstanceUID) DO UPDATE SET
    last_at = max(last_at, excluded.last_at),
    late = CASE WHEN ended_at IS NULL THEN 0 ELSE late + :instances END,
    last_late_at = CASE WHEN ended_at IS NULL OR :instances = 0 THEN last_late_at ELSE excluded.last_at END,
    look_at = CASE WHEN ended_at IS NULL THEN excluded.look_at ELSE look_at END

-- progress_due --
SELECT * FROM study_progress WHERE settled_at IS NULL AND (look_at <= :now OR look_at > :implausible)
ORDER BY look_at LIMIT :limit

-- progress_of --
SELECT * FROM study_progress WHERE StudyInstanceUID = :study

-- progress_counts --
SELECT (SELECT count(DISTINCT SOPInstanceUID) FROM instance WHERE StudyInstanceUID = :study) AS received,
    EXISTS (
        SELECT 1 FROM open_association AS a WHERE a.calling_ae IN (
            SELECT lower(trim(i.calling_ae)) FROM instance AS i WHERE i.StudyInstanceUID = :study
            UNION SELECT lower(trim(s.calling_ae)) FROM mpps_reference AS r JOIN mpps_step AS s ON s.id = r.step
            WHERE r.StudyInstanceUID = :study
        )
    ) AS connected

-- progress_orders --
SELECT id FROM requested_procedure WHERE StudyInstanceUID = :study
UNION SELECT procedure FROM order_alias WHERE kind = 'study' AND value = :study ORDER BY 1 LIMIT :limit

-- progress_stand --
UPDATE study_progress SET
    standing = :standing, because = :because, look_at = :look_at, ended_at = coalesce(ended_at, :ended_at)
WHERE StudyInstanceUID = :study AND last_at = :seen

-- progress_settle --
UPDATE study_progress SET settled_at = :now WHERE StudyInstanceUID = :study

-- progress_trim --
DELETE FROM study_progress WHERE StudyInstanceUID IN (
    SELECT StudyInstanceUID FROM study_progress WHERE last_at < :before AND settled_at IS NOT NULL
    ORDER BY last_at LIMIT :limit
)

-- study_event_insert --
INSERT INTO study_event (StudyInstanceUID, event, at, images) SELECT :study, :event, :now,
    (SELECT count(DISTINCT SOPInstanceUID) FROM instance WHERE StudyInstanceUID = :study AND quarantine = '')

-- study_settling_begin --
INSERT INTO study_settling (StudyInstanceUID, delivered) VALUES (:study, 0)
ON CONFLICT (StudyInstanceUID) DO UPDATE SET delivered = 0

-- study_settling_delivered --
UPDATE study_settling SET delivered = 1 WHERE StudyInstanceUID = :study

-- study_settling_end --
DELETE FROM study_settling WHERE StudyInstanceUID = :study

-- study_settling_forget --
-- Its images were forgotten before it came to an end: it never will.
DELETE FROM study_settling WHERE NOT EXISTS (
    SELECT 1 FROM instance AS i WHERE i.StudyInstanceUID = study_settling.StudyInstanceUID
) AND NOT EXISTS (SELECT 1 FROM study_progress AS p WHERE p.StudyInstanceUID = study_settling.StudyInstanceUID)

-- study_events_late --
-- Images that came after the end, and have been quiet since.
SELECT p.StudyInstanceUID AS study FROM study_progress AS p
WHERE p.last_late_at IS NOT NULL AND p.last_late_at <= :quiet_since AND p.standing = 'complete' AND p.last_late_at > (
    SELECT max(e.at) FROM study_event AS e WHERE e.StudyInstanceUID = p.StudyInstanceUID AND e.event = 'complete'
)

-- study_events_delivered --
-- What a person rejected went nowhere, also once it is purged.
SELECT s.StudyInstanceUID AS study FROM study_settling AS s WHERE s.delivered = 0
AND EXISTS (SELECT 1 FROM instance AS i WHERE i.StudyInstanceUID = s.StudyInstanceUID)
AND NOT EXISTS (
    SELECT 1 FROM instance AS i WHERE i.StudyInstanceUID = s.StudyInstanceUID AND i.quarantine = ''
    AND (i.state IN ('received', 'prepared') OR i.held = 'rejected') AND (
        i.state <> 'prepared' OR NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.instance = i.id)
        OR EXISTS (SELECT 1 FROM delivery AS d WHERE d.instance = i.id AND d.state IN ('queued', 'sending', 'refused'))
    )
)

-- study_events_confirmed --
-- Of what is delivered, so that the rows come in their order: it is asked for after those were found.
SELECT s.StudyInstanceUID AS study FROM study_settling AS s
WHERE EXISTS (SELECT 1 FROM instance AS i WHERE i.StudyInstanceUID = s.StudyInstanceUID)
AND NOT EXISTS (
    SELECT 1 FROM instance AS i WHERE i.StudyInstanceUID = s.StudyInstanceUID AND i.quarantine = ''
    AND (i.state IN ('received', 'prepared') OR i.held = 'rejected')
)

-- study_events_of --
SELECT * FROM study_event WHERE StudyInstanceUID = :study ORDER BY seq

-- study_events_after --
SELECT * FROM study_event WHERE seq > :seq AND (:event IS NULL OR event = :event) ORDER BY seq LIMIT :limit

-- availability_begin --
INSERT INTO availability_cursor (target, seq)
VALUES (:target, (SELECT coalesce(max(seq), 0) FROM study_event)) ON CONFLICT (target) DO NOTHING

-- availability_cursor --
SELECT seq FROM availability_cursor WHERE target = :target

-- availability_move --
UPDATE availability_cursor SET seq = :seq WHERE target = :target

-- availability_images --
SELECT i.SeriesInstanceUID, i.SOPClassUID, i.SOPInstanceUID, d.destination
FROM instance AS i JOIN delivery AS d ON d.instance = i.id
WHERE i.StudyInstanceUID = :study AND d.state = 'confirmed' AND d.last_status NOT LIKE 'expected-%' ORDER BY i.seq

-- study_events_trim --
DELETE FROM study_event WHERE seq IN (SELECT seq FROM study_event WHERE at < :before ORDER BY at LIMIT :limit)

-- books_migrations --
SELECT name, applied_at FROM migration ORDER BY name

-- books_tables --
SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name

-- configuration_latest --
SELECT * FROM configuration ORDER BY version DESC LIMIT 1

-- configuration_insert --
INSERT INTO configuration (version, ring, digest, toml, phase, faults, changed_at)
VALUES (:version, :ring, :digest, :toml, :phase, :faults, :now)

-- configuration_forget --
DELETE FROM configuration WHERE version NOT IN (SELECT version FROM configuration ORDER BY version DESC LIMIT :kept)

-- configuration_move --
UPDATE configuration SET phase = :phase, changed_at = :now, told_at = NULL WHERE version = :version

-- configuration_told --
UPDATE configuration SET told_at = :now WHERE version = :version

-- release_latest --
SELECT * FROM release_wish ORDER BY sequence DESC LIMIT 1

-- release_wish --
INSERT INTO release_wish (sequence, version, ring, sha256, phase, fault, changed_at)
VALUES (:sequence, :version, :ring, :sha256, 'staged', '', :now)
ON CONFLICT (sequence) DO UPDATE SET
    version = excluded.version, ring = excluded.ring, sha256 = excluded.sha256, phase = 'staged', fault = '',
    changed_at = excluded.changed_at

-- release_move --
UPDATE release_wish SET phase = :phase, fault = :fault, changed_at = :now WHERE sequence = :sequence

-- command_known --
SELECT 1 FROM command WHERE nonce = :nonce

-- command_floor --
SELECT max(issued_at) AS issued_at FROM command WHERE state <> 'refused'

-- command_insert --
INSERT INTO command (
    nonce, name, arguments, signers, issued_at, expires_at, received_at, state, code, settled_at
) VALUES (:nonce, :name, :arguments, :signers, :issued_at, :expires_at, :now, :state, :code, :settled_at)

-- command_settle --
UPDATE command SET state = :state, code = :code, count = :count, settled_at = :now
WHERE nonce = :nonce AND state = 'accepted'

-- command_unfinished --
SELECT nonce FROM command WHERE state = 'accepted'

-- command_untold --
SELECT * FROM command WHERE told_at IS NULL AND settled_at IS NOT NULL ORDER BY settled_at LIMIT :limit

-- command_told --
UPDATE command SET told_at = :now WHERE nonce = :nonce

-- command_latest --
SELECT * FROM command ORDER BY received_at DESC LIMIT :limit

-- command_trim --
-- Never one that could be sent again, nor the one that tells how late it is at least.
DELETE FROM command WHERE nonce IN (
    SELECT nonce FROM command
    WHERE settled_at < :before AND expires_at < (SELECT max(issued_at) FROM command WHERE state <> 'refused')
    ORDER BY settled_at LIMIT :limit
)

-- command_turn_away --
INSERT INTO command_turned_away (reason, count, last_at) VALUES (:reason, 1, :now)
ON CONFLICT (reason) DO UPDATE SET count = count + 1, last_at = excluded.last_at

-- command_turned_away --
SELECT reason, count, last_at FROM command_turned_away ORDER BY reason

-- room_association --
SELECT 1 FROM open_association LIMIT 1

-- room_exam --
SELECT 1 FROM worklist_row
WHERE start_date BETWEEN substr(:first, 1, 8) AND substr(:last, 1, 8) AND start_time <> ''
    AND substr(start_date || start_time || '000000', 1, 14) BETWEEN :first AND :last
    AND upper(status) NOT IN (SELECT value FROM json_each(:over))
LIMIT 1

-- association_forget --
DELETE FROM open_association

-- association_set --
INSERT INTO open_association (calling_ae) SELECT value FROM json_each(:callers)

-- order_messages_of --
SELECT tells FROM relay WHERE procedure = :procedure AND target = :receiver

-- order_message_insert --
INSERT INTO relay (kind, target, procedure, tells, control_id, body, state, attempts, last_status, queued_at)
VALUES ('order-message', :receiver, :procedure, :event, :control_id, :body, :state, 0, :last_status, :now)
ON CONFLICT (procedure, target, tells) DO NOTHING RETURNING id

-- order_message_head --
-- Not behind a refused one of the same order.
SELECT m.* FROM relay AS m INDEXED BY relay_waiting
WHERE m.settled_at IS NULL AND m.kind = 'order-message' AND m.target = :receiver AND m.state = 'queued'
AND NOT EXISTS (
    SELECT 1 FROM relay AS e WHERE e.procedure = m.procedure AND e.target = m.target
    AND e.state = 'refused' AND e.id < m.id
)
ORDER BY m.id LIMIT 1

-- order_message_latest --
SELECT * FROM relay WHERE kind = 'order-message' AND :receiver IN ('', target) AND :state IN ('', state)
ORDER BY settled_at IS NOT NULL, CASE WHEN settled_at IS NULL THEN id ELSE -id END LIMIT :limit

-- order_message_bodies --
SELECT id, body FROM relay WHERE kind = 'order-message' AND settled_at IS NOT NULL

-- order_message_old --
SELECT id FROM relay WHERE kind = 'order-message' AND settled_at < :before ORDER BY settled_at LIMIT :limit

-- order_message_trim_journal --
DELETE FROM journal WHERE kind = 'order-message' AND subject = :subject

-- order_message_forget --
DELETE FROM relay WHERE id = :id

-- compression_bars --
SELECT destination, subject, why, since FROM compression_bar ORDER BY since, destination, subject

-- compression_bar --
INSERT INTO compression_bar (destination, subject, why, since) VALUES (:destination, :subject, :why, :now)
ON CONFLICT (destination, subject) DO NOTHING

-- compression_allow --
DELETE FROM compression_bar WHERE destination = :destination RETURNING subject

-- delivery_still_to_send --
SELECT DISTINCT instance FROM delivery
WHERE instance IN (SELECT value FROM json_each(:instances)) AND state IN ('queued', 'sending')

-- outbox_state --
SELECT * FROM outbox

-- outbox_begin --
UPDATE outbox SET starts = starts + 1

-- outbox_number --
UPDATE outbox SET last_seq = last_seq + 1 RETURNING last_seq

-- outbox_insert --
INSERT INTO outbox_event (seq, rank, at, body) VALUES (:seq, :rank, :at, :body)

-- outbox_after --
SELECT seq, body FROM outbox_event WHERE seq > :seq AND seq <= :upto ORDER BY seq LIMIT :limit

-- outbox_oldest --
SELECT at FROM outbox_event WHERE seq > (SELECT acked FROM outbox) ORDER BY seq LIMIT 1

-- outbox_acked --
UPDATE outbox SET acked = :upto

-- outbox_forget --
DELETE FROM outbox_event WHERE seq IN (
    SELECT seq FROM outbox_event WHERE seq <= (SELECT acked FROM outbox) ORDER BY seq LIMIT :limit
)

-- outbox_acknowledged --
SELECT 1 FROM outbox_event WHERE seq <= (SELECT acked FROM outbox) LIMIT 1

-- outbox_count --
SELECT count(*) AS n FROM outbox_event WHERE seq > (SELECT acked FROM outbox)

-- outbox_give_up --
DELETE FROM outbox_event WHERE seq IN (
    SELECT seq FROM outbox_event WHERE seq > (SELECT acked FROM outbox) ORDER BY rank, seq LIMIT :limit
) RETURNING seq

-- outbox_studies --
UPDATE outbox SET study_seq = :study_seq

-- outbox_alarms --
SELECT * FROM outbox_alarm ORDER BY seq

-- outbox_alarm_keep --
INSERT INTO outbox_alarm (code, inst, state, sev, since, changed_at, count, seq, eid)
VALUES (:code, :inst, :state, :sev, :since, :changed_at, :count, :seq, :eid)
ON CONFLICT (code, inst) DO UPDATE SET state = excluded.state, sev = excluded.sev, since = excluded.since,
    changed_at = excluded.changed_at, count = excluded.count, seq = excluded.seq, eid = excluded.eid

-- outbox_alarm_forget --
DELETE FROM outbox_alarm WHERE code = :code AND inst = :inst

-- health_probed --
INSERT INTO health_probe (hop, peer, at, last_good, latency_ms, code)
VALUES (:hop, :peer, :at, CASE WHEN :code = '' THEN :at END, :latency_ms, :code)
ON CONFLICT (hop, peer) DO UPDATE SET
    at = excluded.at, last_good = coalesce(excluded.last_good, last_good), latency_ms = excluded.latency_ms,
    code = excluded.code

-- health_probes --
SELECT hop, peer, at, last_good, latency_ms, code FROM health_probe ORDER BY peer, hop

-- health_probe_forget --
DELETE FROM health_probe WHERE hop = :hop AND peer = :peer

-- health_reading --
INSERT INTO health_reading (name, value, at) VALUES (:name, :value, :at)

-- health_readings --
SELECT name, value, at FROM health_reading

-- health_readings_forget --
DELETE FROM health_reading

-- heartbeat --
INSERT INTO heartbeat (part, at) VALUES (:part, :now)
ON CONFLICT (part) DO UPDATE SET at = excluded.at

-- heartbeats --
SELECT part, at FROM heartbeat

-- figures_waiting --
SELECT count(*) AS n, coalesce(sum(size), 0) AS size, min(received_at) AS oldest,
    (SELECT coalesce(max(seq), 0) FROM instance) AS received,
    (SELECT count(*) FROM open_association) AS connected, (SELECT count FROM refusal) AS refused
FROM instance WHERE state IN ('received', 'prepared') AND quarantine = '' AND held = ''

-- figures_newest --
SELECT coalesce(max(seq), 0) AS seq FROM journal

-- figures_went --
SELECT j.seq, j.at, j.to_state, i.received_at FROM journal AS j
LEFT JOIN delivery AS d ON d.id = CAST(j.subject AS INTEGER) LEFT JOIN instance AS i ON i.id = d.instance
WHERE j.seq > :seq AND j.seq <= :upto AND j.kind = 'delivery' AND j.from_state = 'sending'
    AND j.to_state IN ('sent', 'queued', 'refused')
ORDER BY j.seq LIMIT :limit

-- refusal_add --
UPDATE refusal SET count = count + :count
