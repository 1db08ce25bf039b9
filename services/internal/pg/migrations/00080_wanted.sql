-- +goose Up

-- Somebody asked where the waybill is, without subscribing to it: it is polled
-- until then. Null when only subscriptions want it.
ALTER TABLE poll ADD COLUMN wanted_until timestamptz;

-- +goose Down
ALTER TABLE poll DROP COLUMN wanted_until;
