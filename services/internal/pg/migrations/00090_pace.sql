-- +goose Up

-- How often a subscription is pushed to: 1 every change, 2 milestones, 3 a digest.
ALTER TABLE endpoint
    ADD COLUMN tier            smallint NOT NULL DEFAULT 1 CHECK (tier BETWEEN 1 AND 3),
    ADD COLUMN digest_interval interval,
    ADD CONSTRAINT endpoint_digest_has_interval CHECK ((tier = 3) = (digest_interval IS NOT NULL));

ALTER TABLE subscription
    -- 0: as the endpoint says.
    ADD COLUMN tier            smallint NOT NULL DEFAULT 0 CHECK (tier BETWEEN 0 AND 3),
    ADD COLUMN digest_interval interval,
    -- Only these: sub-statuses, or statuses times 100; NULL for all.
    ADD COLUMN filter          smallint[],
    -- Where the parcel stood at pushed_revision: a sub-status, or a status times
    -- 100; -1 when that isn't known any more.
    ADD COLUMN pushed_status   smallint NOT NULL DEFAULT 0,
    -- The newest revision that was looked at and held back. When it is above
    -- pushed_revision, (pushed_revision, held_revision] is owed with the next push.
    ADD COLUMN held_revision   bigint NOT NULL DEFAULT 0,
    -- When what is held back is looked at again; NULL for with the next change.
    ADD COLUMN due_time        timestamptz,
    ADD CONSTRAINT subscription_digest_has_interval CHECK ((tier = 3) = (digest_interval IS NOT NULL));
-- How a rule is written for several rows at once.
CREATE TYPE paced AS (tier smallint, digest_interval interval, filter smallint[]);
CREATE INDEX subscription_due ON subscription (due_time) WHERE state = 1 AND due_time IS NOT NULL;

-- +goose Down
DROP INDEX subscription_due;
DROP TYPE paced;
ALTER TABLE subscription DROP COLUMN tier, DROP COLUMN digest_interval, DROP COLUMN filter, DROP COLUMN pushed_status, DROP COLUMN held_revision, DROP COLUMN due_time;
ALTER TABLE endpoint DROP COLUMN tier, DROP COLUMN digest_interval;
