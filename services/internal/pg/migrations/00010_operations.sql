-- +goose Up

ALTER TABLE endpoint
    -- Failures in a row that open the breaker.
    ADD COLUMN failure_threshold integer NOT NULL DEFAULT 3 CHECK (failure_threshold BETWEEN 1 AND 100),
    -- Whether the tenant's operational events are posted to it.
    ADD COLUMN operations boolean NOT NULL DEFAULT false;
CREATE INDEX endpoint_for_operations ON endpoint (tenant_id) WHERE operations AND state = 1;

-- Since when the row waits to be delivered: since it was made, or since it was
-- last taken up again from being parked, whoever does that.
ALTER TABLE owed_push ADD COLUMN owed_since timestamptz NOT NULL DEFAULT now();
-- +goose StatementBegin
CREATE FUNCTION owed_push_begins_anew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.owed_since := now();
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER owed_push_begins_anew BEFORE UPDATE OF park_time ON owed_push
    FOR EACH ROW WHEN (OLD.park_time IS NOT NULL AND NEW.park_time IS NULL) EXECUTE FUNCTION owed_push_begins_anew();

-- How an endpoint does. There is a row once something was wrong with it; written
-- when that changes and not for each push.
CREATE TABLE endpoint_health (
    endpoint_id  text PRIMARY KEY,
    tenant_id    text NOT NULL,
    slot         smallint NOT NULL,
    -- The breaker is open since; null when it is closed.
    open_time    timestamptz,
    -- Probes that failed since then, and when the next may go.
    probe_count  integer NOT NULL DEFAULT 0,
    probe_time   timestamptz,
    error_class  text NOT NULL DEFAULT '',
    http_status  integer NOT NULL DEFAULT 0,
    -- Pushes that were parked and that no event has told of yet.
    parked_count  bigint NOT NULL DEFAULT 0,
    parked_reason text NOT NULL DEFAULT '',
    parked_told   timestamptz
);
CREATE INDEX endpoint_health_to_tell ON endpoint_health (slot) WHERE parked_count > 0;

-- Operational events on their way to the stream: written with what they tell of,
-- deleted when they are stored there.
CREATE TABLE ops_event (
    id          text PRIMARY KEY,
    slot        smallint NOT NULL,
    tenant_id   text NOT NULL,
    kind        text NOT NULL,
    body        bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ops_event_of_slot ON ops_event (slot, create_time);

-- Outcomes that PostgreSQL refuses, so that one of them stops no others: any row
-- is a fault, and an event has told of it.
CREATE TABLE refused_outcome (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id text NOT NULL,
    endpoint_id     text NOT NULL,
    tenant_id       text NOT NULL,
    push_id         text NOT NULL,
    reason          text NOT NULL,
    -- What was to be written, for people.
    detail          text NOT NULL,
    create_time     timestamptz NOT NULL DEFAULT now()
);

-- Delivery reads an endpoint again when its owner changed it, and stops pushing
-- for a subscription when it is cancelled. The payload is the id.
-- +goose StatementBegin
CREATE FUNCTION tell_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('posthaste_delivery', TG_ARGV[0] || NEW.id);
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER endpoint_changed AFTER UPDATE ON endpoint
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION tell_delivery('e:');
-- Of state alone: matching writes other columns for every push.
CREATE TRIGGER subscription_cancelled AFTER UPDATE OF state ON subscription
    FOR EACH ROW WHEN (NEW.state = 4 AND OLD.state <> 4) EXECUTE FUNCTION tell_delivery('s:');

-- +goose Down
DROP TRIGGER subscription_cancelled ON subscription;
DROP TRIGGER endpoint_changed ON endpoint;
DROP FUNCTION tell_delivery;
DROP TABLE refused_outcome, ops_event, endpoint_health;
DROP TRIGGER owed_push_begins_anew ON owed_push;
DROP FUNCTION owed_push_begins_anew;
ALTER TABLE owed_push DROP COLUMN owed_since;
DROP INDEX endpoint_for_operations;
ALTER TABLE endpoint DROP COLUMN operations, DROP COLUMN failure_threshold;
