-- +goose Up

-- Control plane: owned by subscription ---------------------------------------

CREATE TABLE tenant (
    id          text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    create_time timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE endpoint (
    id            text PRIMARY KEY,
    tenant_id     text NOT NULL REFERENCES tenant (id),
    url           text NOT NULL,
    secret        text NOT NULL,
    format        smallint NOT NULL DEFAULT 1,
    include_trace boolean NOT NULL DEFAULT false,
    max_in_flight integer NOT NULL DEFAULT 16 CHECK (max_in_flight BETWEEN 1 AND 256),
    timeout       interval NOT NULL DEFAULT '15 s',
    retry_policy  jsonb,
    state         smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 3),
    display_name  text NOT NULL DEFAULT '',
    request_id    text,
    request_hash  bytea,
    create_time   timestamptz NOT NULL DEFAULT now(),
    update_time   timestamptz NOT NULL DEFAULT now(),
    -- A deleted endpoint is hidden and disabled, so that what it is still owed
    -- is parked, and ended subscriptions keep what they refer to.
    delete_time   timestamptz,
    CONSTRAINT endpoint_deleted_is_disabled CHECK (delete_time IS NULL OR state = 3),
    CONSTRAINT endpoint_request_once UNIQUE (tenant_id, request_id),
    CONSTRAINT endpoint_request_has_hash CHECK ((request_id IS NULL) = (request_hash IS NULL))
);
CREATE INDEX endpoint_of_tenant ON endpoint (tenant_id, id);

-- state: 1 active, 2 paused, 3 completed, 4 cancelled, 5 expired.
CREATE TABLE subscription (
    id              text PRIMARY KEY,
    tenant_id       text NOT NULL REFERENCES tenant (id),
    endpoint_id     text NOT NULL REFERENCES endpoint (id),
    carrier_code    text NOT NULL,
    waybill_number  text NOT NULL,
    -- The waybill's slot: which shard of matching the row belongs to.
    slot            smallint NOT NULL DEFAULT 0 CHECK (slot BETWEEN 0 AND 63),
    metadata        jsonb NOT NULL DEFAULT '{}',
    tail            interval NOT NULL DEFAULT '72 h',
    state           smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 5),
    -- The newest revision handed to delivery: what the matcher has done.
    pushed_revision bigint NOT NULL DEFAULT 0,
    -- The row is its own outbox: true until the matcher has looked at the
    -- waybill's present state for it.
    announce        boolean NOT NULL DEFAULT true,
    request_id      text,
    request_hash    bytea,
    create_time     timestamptz NOT NULL DEFAULT now(),
    update_time     timestamptz NOT NULL DEFAULT now(),
    expire_time     timestamptz NOT NULL,
    complete_time   timestamptz,
    CONSTRAINT subscription_request_once UNIQUE (tenant_id, request_id),
    CONSTRAINT subscription_request_has_hash CHECK ((request_id IS NULL) = (request_hash IS NULL))
) WITH (fillfactor = 80);
-- One live subscription to a waybill per endpoint; also what matching looks up.
CREATE UNIQUE INDEX subscription_live_once ON subscription (carrier_code, waybill_number, endpoint_id) WHERE state IN (1, 2);
CREATE INDEX subscription_of_tenant ON subscription (tenant_id, id);
CREATE INDEX subscription_of_number ON subscription (tenant_id, waybill_number, id);
CREATE INDEX subscription_of_endpoint ON subscription (endpoint_id, id);
CREATE INDEX subscription_to_announce ON subscription (id) WHERE announce AND state = 1;
CREATE INDEX subscription_to_complete ON subscription (complete_time) WHERE state IN (1, 2) AND complete_time IS NOT NULL;
CREATE INDEX subscription_cancelled ON subscription (update_time) WHERE state = 4;
CREATE INDEX subscription_to_expire ON subscription (expire_time) WHERE state IN (1, 2);

-- Delivery -------------------------------------------------------------------

-- The newest revision each subscription's endpoint acknowledged. Apart from
-- subscription, because it is written by delivery for every push.
CREATE TABLE acknowledged (
    subscription_id  text PRIMARY KEY,
    revision         bigint NOT NULL,
    acknowledge_time timestamptz NOT NULL
) WITH (fillfactor = 60);

-- What is owed and can't be delivered now: one row for each subscription, which
-- names the range owed, (after_revision, revision], and is no copy of it. It waits
-- for its next attempt, or is parked. While a push of it is repeated,
-- attempt_revision says up to where that push goes and body what it says, so that
-- a repeat is byte for byte the same; otherwise the body is rendered from the
-- newest trace when its time comes.
CREATE TABLE owed_push (
    subscription_id    text PRIMARY KEY,
    endpoint_id        text NOT NULL,
    slot               smallint NOT NULL,
    tenant_id          text NOT NULL,
    carrier_code       text NOT NULL,
    waybill_number     text NOT NULL,
    after_revision     bigint NOT NULL,
    revision           bigint NOT NULL,
    attempt_count      integer NOT NULL DEFAULT 0,
    attempt_revision   bigint NOT NULL DEFAULT 0,
    body               bytea,
    receive_time       timestamptz NOT NULL,
    first_attempt_time timestamptz,
    last_attempt_time  timestamptz,
    next_attempt_time  timestamptz,
    park_time          timestamptz,
    park_reason        text NOT NULL DEFAULT '',
    create_time        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT owed_push_is_a_range CHECK (after_revision < revision),
    CONSTRAINT owed_push_pending_or_parked CHECK ((park_time IS NULL) <> (next_attempt_time IS NULL)),
    CONSTRAINT owed_push_attempted_keeps_body CHECK ((attempt_count > 0) = (attempt_revision > 0) AND (attempt_count = 0 OR body IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX owed_push_due ON owed_push (endpoint_id, next_attempt_time) WHERE park_time IS NULL;
CREATE INDEX owed_push_of_endpoint ON owed_push (endpoint_id, park_time);
CREATE INDEX owed_push_of_slot ON owed_push (slot, endpoint_id);

-- outcome: 1 acknowledged, 2 retry, 3 parked. Partitions are made a few days
-- ahead and dropped when they are old.
CREATE TABLE attempt (
    id                text NOT NULL,
    push_id           text NOT NULL,
    subscription_id   text NOT NULL,
    endpoint_id       text NOT NULL,
    tenant_id         text NOT NULL,
    carrier_code      text NOT NULL,
    waybill_number    text NOT NULL,
    after_revision    bigint NOT NULL,
    revision          bigint NOT NULL,
    number            integer NOT NULL,
    attempt_time      timestamptz NOT NULL,
    duration          interval NOT NULL,
    outcome           smallint NOT NULL CHECK (outcome BETWEEN 1 AND 3),
    http_status       integer NOT NULL,
    error_class       text NOT NULL,
    error             text NOT NULL,
    response_excerpt  text NOT NULL,
    next_attempt_time timestamptz
) PARTITION BY RANGE (attempt_time);
CREATE INDEX attempt_of_subscription ON attempt (subscription_id, attempt_time);
CREATE INDEX attempt_of_waybill ON attempt (carrier_code, waybill_number, attempt_time);
CREATE INDEX attempt_by_time ON attempt USING brin (attempt_time);
-- Takes what comes outside the partitions made ahead, so that no attempt is
-- ever refused; maintenance keeps it empty.
CREATE TABLE attempt_default PARTITION OF attempt DEFAULT;

-- Projections of TRACE: owned by query ----------------------------------------

CREATE TABLE waybill (
    carrier_code   text NOT NULL,
    waybill_number text NOT NULL,
    revision       bigint NOT NULL,
    status         smallint NOT NULL,
    sub_status     smallint NOT NULL,
    terminal       boolean NOT NULL,
    event_count    integer NOT NULL,
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    -- tracking.v1.Waybill, encoded: the whole state.
    state          bytea NOT NULL,
    PRIMARY KEY (carrier_code, waybill_number)
) WITH (fillfactor = 70);

CREATE TABLE trace_event (
    carrier_code   text NOT NULL,
    waybill_number text NOT NULL,
    event_id       text NOT NULL,
    revision       bigint NOT NULL,
    -- tracking.v1.TraceEvent, encoded: the whole event.
    body           bytea NOT NULL,
    PRIMARY KEY (carrier_code, waybill_number, event_id)
);

-- Ownership -------------------------------------------------------------------

-- Who works on a shard. The epoch rises with every change of owner, and is
-- checked in the transaction that commits the work: a former owner that wakes
-- up late can't write.
CREATE TABLE lease (
    name        text PRIMARY KEY,
    owner       text NOT NULL,
    epoch       bigint NOT NULL,
    expire_time timestamptz NOT NULL
);

-- +goose Down
DROP TABLE lease, trace_event, waybill, attempt, owed_push, acknowledged, subscription, endpoint, tenant;
