-- How far each subscription has got.
CREATE TABLE IF NOT EXISTS posthaste_inbox_chain (
    subscription_id text PRIMARY KEY,
    revision        bigint NOT NULL DEFAULT 0,
    push_id         text NOT NULL DEFAULT '', -- the last that moved it
    update_time     timestamptz NOT NULL DEFAULT now()
);
-- Pushes without revisions, by id.
CREATE TABLE IF NOT EXISTS posthaste_inbox_push (
    push_id   text PRIMARY KEY,
    take_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS posthaste_inbox_push_take_time ON posthaste_inbox_push (take_time);
