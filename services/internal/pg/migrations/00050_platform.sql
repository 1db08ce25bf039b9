-- +goose Up

-- The accounts of tenants at the platforms whose clients Posthaste answers.
-- platform is the format of its pushes: 2 Kdniao, 3 Kuaidi100. An account is of
-- one tenant: it is how a client of the platform says who it is.
CREATE TABLE platform_account (
    platform        smallint NOT NULL CHECK (platform IN (2, 3)),
    account_id      text NOT NULL CHECK (account_id <> ''),
    tenant_id       text NOT NULL REFERENCES tenant (id),
    -- Secrets in the clear, like those of endpoints: both platforms' signatures
    -- need them so.
    key             text NOT NULL CHECK (key <> ''),
    salt            text NOT NULL DEFAULT '',
    -- Where pushes go whose subscription names no callback; null for nowhere.
    endpoint_id     text REFERENCES endpoint (id),
    json_body       boolean NOT NULL DEFAULT false,
    lower_case_sign boolean NOT NULL DEFAULT false,
    create_time     timestamptz NOT NULL DEFAULT now(),
    update_time     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (platform, account_id)
);
CREATE INDEX platform_account_of_tenant ON platform_account (tenant_id, platform, account_id);
-- A subscription at Kuaidi100 says who it is by the key alone.
CREATE UNIQUE INDEX platform_account_kuaidi100_key ON platform_account (key) WHERE platform = 3;

-- The platform account that an endpoint of a platform's format belongs to.
ALTER TABLE endpoint ADD COLUMN account_id text;
CREATE INDEX endpoint_of_account ON endpoint (format, account_id, url) WHERE account_id IS NOT NULL AND delete_time IS NULL;

-- What a platform's subscriber asked for: push.KdniaoTerms or Kuaidi100Terms.
ALTER TABLE subscription ADD COLUMN terms jsonb;

-- +goose Down
ALTER TABLE subscription DROP COLUMN terms;
ALTER TABLE endpoint DROP COLUMN account_id;
DROP TABLE platform_account;
