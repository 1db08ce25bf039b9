package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Recognition is what was learned of waybill numbers.
type Recognition struct{ pool *pgxpool.Pool }

// NewRecognition uses a pool.
func NewRecognition(pool *pgxpool.Pool) *Recognition { return &Recognition{pool: pool} }

// Learned is a count to add.
type Learned struct {
	Shape   recognize.Shape
	Carrier track.Carrier
	Count   int64
}

// Answers reads what carriers answered for the shapes of numbers; shapes
// without answers are absent.
func (r *Recognition) Answers(ctx context.Context, numbers ...string) (map[recognize.Shape][]recognize.Answer, error) {
	var shapes []string
	for _, n := range numbers {
		for _, s := range recognize.Shapes(n) {
			shapes = append(shapes, string(s))
		}
	}
	if len(shapes) == 0 {
		return nil, nil
	}
	rows, err := r.pool.Query(ctx, `SELECT shape, carrier_code, count FROM carrier_answer WHERE shape = ANY($1) ORDER BY count DESC, carrier_code`, shapes)
	if err != nil {
		return nil, fmt.Errorf("read what carriers answered: %w", err)
	}
	found := make(map[recognize.Shape][]recognize.Answer)
	var shape recognize.Shape
	var a recognize.Answer
	_, err = pgx.ForEachRow(rows, []any{&shape, &a.Carrier, &a.Count}, func() error {
		found[shape] = append(found[shape], a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what carriers answered: %w", err)
	}
	return found, nil
}

// Learn adds counts, each shape and carrier at most once, in their order: those
// who learn the same at once then wait for each other and not in a circle.
func (r *Recognition) Learn(ctx context.Context, learned []Learned) error {
	shapes, carriers, counts := make([]string, len(learned)), make([]string, len(learned)), make([]int64, len(learned))
	for i, l := range learned {
		shapes[i], carriers[i], counts[i] = string(l.Shape), string(l.Carrier), l.Count
	}
	const query = `
		INSERT INTO carrier_answer AS a (shape, carrier_code, count)
		SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS n (shape, carrier_code, count) ORDER BY 1, 2
		ON CONFLICT (shape, carrier_code) DO UPDATE SET count = a.count + excluded.count, update_time = now()`
	if _, err := r.pool.Exec(ctx, query, shapes, carriers, counts); err != nil {
		return fmt.Errorf("learn %d answers of carriers: %w", len(learned), err)
	}
	return nil
}

// Forget drops what nothing was added to since a time, and the oldest beyond a
// number of rows.
func (r *Recognition) Forget(ctx context.Context, before time.Time, most int) error {
	const query = `
		DELETE FROM carrier_answer
		WHERE update_time < $1
			OR update_time < (SELECT update_time FROM carrier_answer ORDER BY update_time DESC OFFSET $2 LIMIT 1)`
	if _, err := r.pool.Exec(ctx, query, before, most); err != nil {
		return fmt.Errorf("forget old answers of carriers: %w", err)
	}
	return nil
}
