-- +goose Up

-- What carriers answered, by the shape of numbers: how many waybills of numbers
-- that begin alike turned out to be a carrier's. Small: rows that nothing was
-- added to for long are dropped, and so are the oldest beyond a limit.
CREATE TABLE carrier_answer (
    shape        text NOT NULL,
    carrier_code text NOT NULL,
    count        bigint NOT NULL,
    update_time  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shape, carrier_code)
) WITH (fillfactor = 70);
CREATE INDEX carrier_answer_by_age ON carrier_answer (update_time);

-- +goose Down
DROP TABLE carrier_answer;
