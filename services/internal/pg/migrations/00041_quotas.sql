-- +goose Up

ALTER TABLE tenant
    -- 0 means any number.
    ADD COLUMN daily_calls          bigint NOT NULL DEFAULT 0 CHECK (daily_calls >= 0),
    ADD COLUMN active_subscriptions bigint NOT NULL DEFAULT 0 CHECK (active_subscriptions >= 0),
    ADD COLUMN calls_per_second     integer NOT NULL DEFAULT 0 CHECK (calls_per_second >= 0),
    -- At least the number of subscriptions that haven't ended, kept where there is
    -- a quota: those that end aren't taken off, it is counted anew when it is full.
    ADD COLUMN counted_subscriptions bigint NOT NULL DEFAULT 0;
CREATE INDEX subscription_live_of_tenant ON subscription (tenant_id) WHERE state IN (1, 2);

CREATE TABLE usage_day (
    tenant_id text NOT NULL REFERENCES tenant (id),
    day       date NOT NULL,
    calls     bigint NOT NULL,
    PRIMARY KEY (tenant_id, day)
) WITH (fillfactor = 60);

-- +goose Down
DROP TABLE usage_day;
DROP INDEX subscription_live_of_tenant;
ALTER TABLE tenant DROP COLUMN daily_calls, DROP COLUMN active_subscriptions, DROP COLUMN calls_per_second, DROP COLUMN counted_subscriptions;
