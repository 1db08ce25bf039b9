package carrier

import (
	"embed"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
)

// tables has a file for each source: what its codes mean. A row is a code's
// space, the code, the source's own words, our status, a kind when it isn't an
// event (info, estimate), and how sure we are of it, of 100. Wrong rows are
// corrected there, and [MappingVersion] goes up.
//
// Codes of carriers were taken in part from OLTS, the Open Logistics Tracking
// Schema (CC BY 4.0), and changed; docs/sources.md says so to users.
//
//go:embed tables/*.csv
var tables embed.FS

// coded is a code as a source gives it, and the space it stands in: one source
// can use the same code for different things.
type coded struct{ space, code string }

func (c coded) String() string { return c.space + "/" + c.code }

// meaning is what a code says.
type meaning struct {
	rule

	kind track.Kind
	sure int
}

// meanings are the tables by source.
var meanings = sync.OnceValue(func() map[string]map[coded]meaning {
	all := map[string]map[coded]meaning{}
	files, err := tables.ReadDir("tables")
	if err != nil {
		panic(err) // they are in the program
	}
	for _, f := range files {
		table, err := readTable("tables/" + f.Name())
		if err != nil {
			panic(err) // a test reads them first
		}
		all[strings.TrimSuffix(f.Name(), ".csv")] = table
	}
	return all
})

func readTable(name string) (map[coded]meaning, error) {
	f, err := tables.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read table: %w", err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", name, err)
	}
	table := make(map[coded]meaning, len(rows))
	for i, row := range rows[1:] {
		c := coded{row[0], row[1]}
		m, err := readMeaning(row[3], row[4], row[5])
		if err != nil {
			return nil, fmt.Errorf("table %s, row %d: %w", name, i+2, err)
		}
		if _, twice := table[c]; twice {
			return nil, fmt.Errorf("table %s, row %d: %s is there already", name, i+2, c)
		}
		table[c] = m
	}
	return table, nil
}

func readMeaning(sub, kind, sure string) (meaning, error) {
	m := meaning{kind: track.KindEvent}
	var err error
	if m.sub, err = status.ParseSub(sub); err != nil {
		return m, err
	}
	m.status = m.sub.Status()
	switch kind {
	case "":
	case "info":
		m.kind = track.KindInfo
	case "estimate":
		m.kind = track.KindEstimate
	default:
		return m, fmt.Errorf("kind %q is none", kind)
	}
	if m.sure, err = strconv.Atoi(sure); err != nil || m.sure < 1 || m.sure > 100 {
		return m, fmt.Errorf("sure is %q and must be 1 to 100", sure)
	}
	return m, nil
}
