-- +goose Up

-- Who may read a tenant's feed on NATS. Of credentials only the public key is
-- kept.
CREATE TABLE feed_user (
    id           text PRIMARY KEY,
    tenant_id    text NOT NULL REFERENCES tenant (id),
    display_name text NOT NULL,
    public_key   text NOT NULL UNIQUE,
    create_time  timestamptz NOT NULL,
    expire_time  timestamptz,
    rotate_time  timestamptz NOT NULL,
    revoke_time  timestamptz
);
CREATE INDEX feed_user_of_tenant ON feed_user (tenant_id, id DESC);

-- Keys that aren't taken any more, until they had ceased anyway.
CREATE TABLE feed_revoked_key (
    public_key  text PRIMARY KEY,
    tenant_id   text NOT NULL REFERENCES tenant (id),
    revoke_time timestamptz NOT NULL,
    expire_time timestamptz
);
CREATE INDEX feed_revoked_key_of_tenant ON feed_revoked_key (tenant_id);

-- Endpoints that are their tenant's feed.
CREATE INDEX endpoint_feed ON endpoint (tenant_id) WHERE url = 'feed:' AND delete_time IS NULL;

-- +goose Down
DROP INDEX endpoint_feed;
DROP TABLE feed_revoked_key;
DROP TABLE feed_user;
