package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ensureTenant makes a tenant on its first use.
func ensureTenant(ctx context.Context, tx pgx.Tx, id string) error {
	// Looked up first: the insert alone would write for every call.
	const query = `
		INSERT INTO tenant (id)
		SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM tenant WHERE id = $1)
		ON CONFLICT DO NOTHING`
	if _, err := tx.Exec(ctx, query, id); err != nil {
		return fmt.Errorf("make tenant %s: %w", id, err)
	}
	return nil
}
