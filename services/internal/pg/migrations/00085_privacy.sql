-- +goose Up

-- Waybills whose personal data is being erased, or was. state: 1 running, 2 done.
CREATE TABLE erasure (
    carrier_code   text NOT NULL,
    waybill_number text NOT NULL,
    state          smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 2),
    request_time   timestamptz NOT NULL,
    -- When its trace was last asked to be erased, and when that was seen here.
    ask_time       timestamptz,
    trace_time     timestamptz,
    -- Until when what was under way may bring a body of before back.
    clean_time     timestamptz,
    done_time      timestamptz,
    PRIMARY KEY (carrier_code, waybill_number),
    CONSTRAINT erasure_done CHECK ((state = 2) = (done_time IS NOT NULL))
);
CREATE INDEX erasure_running ON erasure (request_time) WHERE state = 1;

-- Set once a trace's texts are gone. There is no index on it or on update_time, so
-- that projecting updates none: retention walks along the primary key.
ALTER TABLE waybill ADD COLUMN erase_time timestamptz;

-- The audit log is added to, and nothing else: what is in it stays as it is, and
-- stays for 30 days at least, whatever the retention says and whoever asks.
-- +goose StatementBegin
CREATE FUNCTION audit_event_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.event_time < now() - interval '30 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_event_is_kept BEFORE UPDATE OR DELETE ON audit_event FOR EACH ROW EXECUTE FUNCTION audit_event_is_kept();
CREATE TRIGGER audit_event_is_not_emptied BEFORE TRUNCATE ON audit_event FOR EACH STATEMENT EXECUTE FUNCTION audit_event_is_kept();

-- +goose Down
DROP TRIGGER audit_event_is_not_emptied ON audit_event;
DROP TRIGGER audit_event_is_kept ON audit_event;
DROP FUNCTION audit_event_is_kept;
ALTER TABLE waybill DROP COLUMN erase_time;
DROP TABLE erasure;
