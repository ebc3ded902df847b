-- Where the server has TimescaleDB the events are kept in pieces by time; all else stays as it is.
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable('event', 'at', migrate_data => TRUE);
    END IF;
END $$;
