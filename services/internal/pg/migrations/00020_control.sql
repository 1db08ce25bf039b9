-- +goose Up

-- The signing key before the last rotation, while it is live; and when something
-- at the endpoint was last made due by its owner, so that delivery looks.
ALTER TABLE endpoint
    ADD COLUMN old_secret             text,
    ADD COLUMN old_secret_expire_time timestamptz,
    ADD COLUMN rotate_request_id      text,
    ADD COLUMN rotate_request_hash    bytea,
    ADD COLUMN resend_time            timestamptz,
    ADD CONSTRAINT endpoint_old_secret_expires CHECK ((old_secret IS NULL) = (old_secret_expire_time IS NULL)),
    ADD CONSTRAINT endpoint_rotate_request_has_hash CHECK ((rotate_request_id IS NULL) = (rotate_request_hash IS NULL));
CREATE INDEX endpoint_resent ON endpoint (resend_time) WHERE resend_time IS NOT NULL;
CREATE INDEX endpoint_old_secret ON endpoint (old_secret_expire_time) WHERE old_secret_expire_time IS NOT NULL;

-- How long the parts of an attempt took, in microseconds.
ALTER TABLE attempt
    ADD COLUMN dns_us        integer NOT NULL DEFAULT 0,
    ADD COLUMN connect_us    integer NOT NULL DEFAULT 0,
    ADD COLUMN tls_us        integer NOT NULL DEFAULT 0,
    ADD COLUMN first_byte_us integer NOT NULL DEFAULT 0,
    ADD COLUMN reused        boolean NOT NULL DEFAULT false;
-- A waybill's attempts are found by its subscriptions; an endpoint's come in the
-- order of time, so this index is filled at one place for each endpoint.
DROP INDEX attempt_of_waybill;
CREATE INDEX attempt_of_endpoint ON attempt (endpoint_id, attempt_time);
-- Failures are few, and what is searched for.
CREATE INDEX attempt_failed ON attempt (endpoint_id, attempt_time) WHERE outcome <> 1;

-- What is parked, by tenant, the longest parked first.
CREATE INDEX owed_push_parked ON owed_push (tenant_id, park_time, subscription_id) WHERE park_time IS NOT NULL;

-- Jobs that put pushes on their way again, and the record of who asked for them.
-- kind: 1 resend, 2 replay. state: 1 running, 2 done, 3 cancelled.
CREATE TABLE push_job (
    id              text PRIMARY KEY,
    tenant_id       text NOT NULL,
    kind            smallint NOT NULL CHECK (kind BETWEEN 1 AND 2),
    state           smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 3),
    -- What it is about; empty ones, 0 and NULL don't restrict.
    subscription_id text NOT NULL DEFAULT '',
    covers_revision bigint NOT NULL DEFAULT 0,
    endpoint_id     text NOT NULL DEFAULT '',
    carrier_code    text NOT NULL DEFAULT '',
    waybill_number  text NOT NULL DEFAULT '',
    reasons         text[] NOT NULL DEFAULT '{}',
    parked_from     timestamptz,
    parked_until    timestamptz,
    after_revision  bigint NOT NULL DEFAULT 0,
    -- The last subscription that a replay has looked at.
    cursor          text NOT NULL DEFAULT '',
    matched         bigint NOT NULL DEFAULT 0,
    sent            bigint NOT NULL DEFAULT 0,
    skipped         bigint NOT NULL DEFAULT 0,
    caller          text NOT NULL DEFAULT '',
    request_id      text,
    request_hash    bytea,
    create_time     timestamptz NOT NULL,
    work_time       timestamptz NOT NULL,
    end_time        timestamptz,
    CONSTRAINT push_job_request_once UNIQUE (tenant_id, request_id),
    CONSTRAINT push_job_request_has_hash CHECK ((request_id IS NULL) = (request_hash IS NULL)),
    CONSTRAINT push_job_ended CHECK ((state = 1) = (end_time IS NULL))
);
CREATE INDEX push_job_of_tenant ON push_job (tenant_id, id);
CREATE INDEX push_job_running ON push_job (work_time) WHERE state = 1;

-- +goose Down
DROP TABLE push_job;
DROP INDEX owed_push_parked, attempt_failed, attempt_of_endpoint;
CREATE INDEX attempt_of_waybill ON attempt (carrier_code, waybill_number, attempt_time);
ALTER TABLE attempt DROP COLUMN dns_us, DROP COLUMN connect_us, DROP COLUMN tls_us, DROP COLUMN first_byte_us, DROP COLUMN reused;
DROP INDEX endpoint_resent, endpoint_old_secret;
ALTER TABLE endpoint DROP COLUMN old_secret, DROP COLUMN old_secret_expire_time, DROP COLUMN rotate_request_id, DROP COLUMN rotate_request_hash, DROP COLUMN resend_time;
