-- +goose Up

-- Pushes in a day; 0 means any number.
ALTER TABLE tenant ADD COLUMN daily_pushes bigint NOT NULL DEFAULT 0 CHECK (daily_pushes >= 0);
ALTER TABLE usage_day ALTER COLUMN calls SET DEFAULT 0, ADD COLUMN pushes bigint NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE usage_day DROP COLUMN pushes, ALTER COLUMN calls DROP DEFAULT;
ALTER TABLE tenant DROP COLUMN daily_pushes;
