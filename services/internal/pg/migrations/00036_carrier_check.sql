-- +goose Up

-- Subscriptions whose carrier isn't proven: recognised from the number, or given
-- and to be checked. A row goes when the carrier has told something, another has
-- and the subscription is corrected, or the subscription has ended.
CREATE TABLE carrier_check (
    subscription_id text PRIMARY KEY REFERENCES subscription (id) ON DELETE CASCADE,
    carrier_code    text NOT NULL,
    waybill_number  text NOT NULL,
    -- The carriers it may be instead, the likeliest first.
    candidates      text[] NOT NULL,
    -- When to look next. The projection sets it to now for a number it first hears
    -- of; what is looked at in vain waits longer and longer.
    check_time      timestamptz NOT NULL DEFAULT now(),
    check_count     integer NOT NULL DEFAULT 0
) WITH (fillfactor = 80);
CREATE INDEX carrier_check_of_number ON carrier_check (waybill_number);
CREATE INDEX carrier_check_due ON carrier_check (check_time);

-- +goose Down
DROP TABLE carrier_check;
