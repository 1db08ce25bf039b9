-- +goose Up

-- The streams that were made, and when by NATS's own account. One that is here and
-- not in NATS was lost.
CREATE TABLE bus_stream (
    name      text PRIMARY KEY,
    made_time timestamptz NOT NULL
);

-- +goose Down
DROP TABLE bus_stream;
