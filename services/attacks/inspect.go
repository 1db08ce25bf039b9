package attacks

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"    //nolint:depguard // the attacker who got hold of the database
	"github.com/nats-io/nats.go" //nolint:depguard // and of the bus
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/services/internal/stream"
)

// database connects to the product's database.
func (p *product) database(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, p.at.Database.Reveal())
}

// dump is all that the database holds, in order: a text for each row. Bytes are in
// hexadecimal.
func (p *product) dump(ctx context.Context) (map[string][]string, error) {
	conn, err := p.database(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	out := make(map[string][]string, len(tables))
	for _, t := range tables {
		rows, err := conn.Query(ctx, `SELECT x::text FROM `+pgx.Identifier{t}.Sanitize()+` x`)
		if err != nil {
			return nil, err
		}
		if out[t], err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// inDatabase says in which tables one of some texts is, as text or as bytes.
func (p *product) inDatabase(ctx context.Context, texts ...string) ([]string, error) {
	all, err := p.dump(ctx)
	if err != nil {
		return nil, err
	}
	var found []string
	for table, rows := range all {
		for _, row := range rows {
			for _, text := range texts {
				if strings.Contains(row, text) || strings.Contains(row, hex.EncodeToString([]byte(text))) {
					found = append(found, fmt.Sprintf("table %s holds %q", table, text))
				}
			}
		}
	}
	return found, nil
}

// inStreams says which streams hold one of some texts, and how long each keeps what
// it has: RAW may, if it forgets.
func (p *product) inStreams(ctx context.Context, texts ...string) ([]string, error) {
	nc, err := nats.Connect("nats://" + p.at.NATS)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	var found []string
	for name := range eachStream(ctx, js) {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return nil, err
		}
		info := s.CachedInfo()
		if name == stream.Raw {
			if info.Config.MaxAge <= 0 {
				found = append(found, fmt.Sprintf("stream %s never forgets", name))
			}
			continue
		}
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
			m, err := s.GetMsg(ctx, seq)
			if err != nil {
				continue // it isn't there any more
			}
			for _, text := range texts {
				if strings.Contains(string(m.Data), text) {
					found = append(found, fmt.Sprintf("stream %s holds %q", name, text))
				}
			}
		}
	}
	return found, nil
}

func eachStream(ctx context.Context, js jetstream.JetStream) map[string]bool {
	names := map[string]bool{}
	for name := range js.StreamNames(ctx).Name() {
		names[name] = true
	}
	return names
}
