-- +goose Up

-- When the newest revision was handed to delivery: what is older than everything
-- on its way, and neither acknowledged nor owed, got lost.
ALTER TABLE subscription ADD COLUMN push_time timestamptz;

-- +goose Down
ALTER TABLE subscription DROP COLUMN push_time;
