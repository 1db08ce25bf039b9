-- +goose Up

-- From which source a carrier's waybills are asked for: what the poller's
-- configuration says. Without a row a carrier isn't polled.
CREATE TABLE poll_source (
    carrier_code text PRIMARY KEY,
    source       text NOT NULL,
    -- Whether the subscriptions that were there before have been taken in.
    filled       boolean NOT NULL DEFAULT false
);

-- The monitoring queue: one row for each waybill that is asked for, however many
-- subscribe to it. Rows come with subscriptions and go when nobody waits any more,
-- which is seen when their time comes.
CREATE TABLE poll (
    carrier_code   text NOT NULL,
    waybill_number text NOT NULL,
    source         text NOT NULL,
    -- 1 economy, 2 normal, 3 fast: the highest of all who subscribe.
    tier           smallint NOT NULL DEFAULT 2 CHECK (tier BETWEEN 1 AND 3),
    -- The last digits of a phone number, for carriers that ask for it.
    phone          text NOT NULL DEFAULT '',
    -- When it is asked for next; null when its journey has ended, or it is given up.
    -- While an instance asks, the time at which another may.
    due_time       timestamptz,
    -- Asked in vain in a row, without an answer or without news.
    failure_count  integer NOT NULL DEFAULT 0,
    silent_count   integer NOT NULL DEFAULT 0,
    poll_time      timestamptz,
    change_time    timestamptz,
    -- What the last answer said, as a hash: a repeat isn't taken in.
    fingerprint    bytea,
    create_time    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (carrier_code, waybill_number)
) WITH (fillfactor = 80);
-- The queue itself: what is due is at its beginning, and nothing else is read.
CREATE INDEX poll_due ON poll (source, due_time) WHERE due_time IS NOT NULL;
CREATE INDEX poll_ended ON poll (poll_time) WHERE due_time IS NULL;

-- +goose Down
DROP TABLE poll, poll_source;
