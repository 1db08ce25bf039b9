-- +goose Up

ALTER TABLE tenant
    ADD COLUMN display_name text NOT NULL DEFAULT '',
    -- 1 enabled, 2 disabled: its keys are refused.
    ADD COLUMN state        smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 2),
    ADD COLUMN update_time  timestamptz NOT NULL DEFAULT now(),
    -- Rises with every change.
    ADD COLUMN version      bigint NOT NULL DEFAULT 1,
    ADD COLUMN request_id   text UNIQUE,
    ADD COLUMN request_hash bytea,
    ADD CONSTRAINT tenant_request_has_hash CHECK ((request_id IS NULL) = (request_hash IS NULL));

-- A credential for programs. Of the secret there is only the SHA-256: it is 256
-- random bits, which need no slow hash. A key without a tenant is the platform's.
CREATE TABLE api_key (
    id                   text PRIMARY KEY,
    tenant_id            text REFERENCES tenant (id),
    display_name         text NOT NULL DEFAULT '',
    -- As tenant.v1.Role.
    roles                smallint[] NOT NULL CHECK (cardinality(roles) > 0),
    hash                 bytea NOT NULL,
    -- The secret before it was rotated is taken for a while.
    previous_hash        bytea,
    previous_expire_time timestamptz,
    create_time          timestamptz NOT NULL,
    expire_time          timestamptz,
    revoke_time          timestamptz,
    rotate_time          timestamptz,
    last_use_time        timestamptz,
    CONSTRAINT api_key_previous_ends CHECK ((previous_hash IS NULL) = (previous_expire_time IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX api_key_of_tenant ON api_key (tenant_id, id);

-- Who changed what, written in the transaction of the change.
CREATE TABLE audit_event (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_time     timestamptz NOT NULL DEFAULT now(),
    actor          text NOT NULL,
    action         text NOT NULL,
    resource       text NOT NULL,
    -- Empty for the platform.
    tenant_id      text NOT NULL,
    request_id     text NOT NULL,
    source_address text NOT NULL,
    details        jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_event_of_tenant ON audit_event (tenant_id, id);
CREATE INDEX audit_event_of_resource ON audit_event (resource, id);

-- +goose Down
DROP TABLE audit_event, api_key;
ALTER TABLE tenant DROP COLUMN display_name, DROP COLUMN state, DROP COLUMN update_time, DROP COLUMN version, DROP COLUMN request_id, DROP COLUMN request_hash;
