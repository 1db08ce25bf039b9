// Package pg is the adapter to PostgreSQL: connecting, migrating, and one file
// of queries for each aggregate. SQL is written nowhere else. It holds what is
// asked for in other ways than by waybill; the state of waybills itself is in
// the TRACE stream.
package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Open connects a pool to url. maxConns of 0 takes the driver's default.
func Open(ctx context.Context, url string, maxConns int32) (*pgxpool.Pool, error) {
	pool, err := OpenLazily(url, maxConns) //nolint:contextcheck // what it starts or ends outlives the caller
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to PostgreSQL at %s: %w", pool.Config().ConnConfig.Host, err)
	}
	return pool, nil
}

// OpenLazily makes a pool to url that connects when it is used first.
func OpenLazily(url string, maxConns int32) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The driver's error can hold the URL and with it a password.
		return nil, errors.New("parse the PostgreSQL URL: it is not a valid connection string")
	}
	if maxConns > 0 {
		cfg.MaxConns = maxConns
	}
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	// Times are read and written in UTC whatever the server's zone.
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	// An instance that froze in a transaction keeps no lock from its successor.
	cfg.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "5s"
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "posthaste"
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL at %s: %w", cfg.ConnConfig.Host, err)
	}
	return pool, nil
}

// CheckDurable refuses a server that may lose what it has committed.
func CheckDurable(ctx context.Context, pool *pgxpool.Pool) error {
	for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		var value string
		if err := pool.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
			return fmt.Errorf("read PostgreSQL setting %s: %w", name, err)
		}
		if value == "off" || value == "local" {
			return fmt.Errorf("PostgreSQL setting %s is %s and must be on: a power cut would lose pushes", name, value)
		}
	}
	return nil
}

// InTx runs f in a transaction: committed when f returns nil, rolled back
// otherwise. It is the only place that opens one.
func InTx(ctx context.Context, pool *pgxpool.Pool, f func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, pool, f)
}

// IsUnique reports whether err is a violation of the named unique constraint or
// index.
func IsUnique(err error, constraint string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "23505" && pgErr.ConstraintName == constraint
}

// IsTransient reports whether the same statement may succeed when it is tried
// again: a lost connection, a restart, a deadlock, too many connections.
func IsTransient(err error) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return err != nil && !errors.Is(err, pgx.ErrNoRows)
	}
	switch pgErr.Code[:2] {
	case "08", "53", "57", "58", "40", "25", "55":
		return true
	}
	return false
}
