package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/track"
)

// sample is a real push: its document, signed anew when it is replayed.
type sample struct {
	file, source string
	doc          []byte
	ids          []trace.ID
}

// maxSample bounds the files that are read.
const maxSample = 8 << 20

// samples are the pushes in a folder, in order of their path. Other files are
// left out.
func samples(dir string) ([]sample, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read samples: %w", err)
	}
	defer func() { _ = root.Close() }()
	var all []sample
	err = fs.WalkDir(root.FS(), ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() > maxSample {
			return err
		}
		body, err := fs.ReadFile(root.FS(), file)
		if err != nil {
			return err
		}
		s, ok := readSample(file, body)
		same := func(other sample) bool { return other.source == s.source && bytes.Equal(other.doc, s.doc) }
		if ok && !slices.ContainsFunc(all, same) {
			all = append(all, s)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read samples: %w", err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("read samples: %s has nothing that a source pushed", dir)
	}
	return all, nil
}

// SampleAccounts are the Kdniao accounts that a folder's pushes name: they must
// be known to Posthaste, with the demo's key, for the pushes to be taken in.
func SampleAccounts(dir string) ([]string, error) {
	all, err := samples(dir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, one := range all {
		var head struct{ EBusinessID string }
		if one.source == kdniaoSource && json.Unmarshal(one.doc, &head) == nil && head.EBusinessID != "" {
			ids = append(ids, head.EBusinessID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// readSample reads a file that is a push about waybills: of the source that one of
// its folders is called by, or else of Kdniao or Kuaidi100 in their form. Answers to
// queries, which their names tell, are none.
func readSample(file string, body []byte) (sample, bool) {
	folders := strings.Split(path.Dir(file), "/")
	if strings.Contains(path.Base(file), "query") {
		return sample{}, false
	}
	for _, source := range pushing() {
		doc := source.Document(body)
		isForm := len(doc) != len(body) && (source.Code == kdniaoSource || source.Code == kuaidi100Source)
		if !isForm && !slices.Contains(folders, source.Code) {
			continue
		}
		if ids, err := waybillsOf(source.Code, doc); err == nil {
			return sample{file: file, source: source.Code, doc: doc, ids: ids}, true
		}
	}
	return sample{}, false
}

// replay subscribes the waybills of the samples, pushes these in order, and
// waits until the callbacks have told of every event.
func (s *show) replay(ctx context.Context) error {
	all, err := samples(s.Samples)
	if err != nil {
		return err
	}
	want, err := expect(all, s.Now())
	if err != nil {
		return err
	}
	s.say("\nReal payloads: %d pushes about %d waybills, signed anew.", len(all), len(want))
	if err := s.subscribe(ctx, sortedIDs(want)...); err != nil {
		return err
	}
	var refused []error
	for _, one := range all {
		s.say("  → %s of %s", one.file, one.source)
		if err := s.send(ctx, one.source, one.doc); err != nil {
			refused = append(refused, fmt.Errorf("%s: %w", one.file, err))
		}
	}
	if err := errors.Join(refused...); err != nil {
		return err
	}
	for _, id := range sortedIDs(want) {
		events := want[id]
		if _, err := s.await(ctx, id, func(_ webhook.Chain, p payload.Push) bool { return p.Waybill.EventCount >= events }); err != nil {
			return err
		}
	}
	return nil
}

// expect is how many events each waybill has in its last push when every sample is
// taken in.
func expect(all []sample, now time.Time) (map[trace.ID]int, error) {
	traces, want := map[trace.ID]*track.Trace{}, map[trace.ID]int{}
	for _, one := range all {
		source, _ := carrier.Lookup(one.source)
		parts, err := source.Split(one.doc)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.file, err)
		}
		for _, p := range parts {
			if p.Err != nil {
				continue
			}
			report, err := source.Map(carrier.Raw{
				Waybill: track.Waybill{Carrier: p.Carrier, Number: p.Number}, Kind: source.Kind, Body: p.Body, Context: p.Context, ReceiveTime: now,
			})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", one.file, err)
			}
			id := trace.ID{CarrierCode: string(p.Carrier), WaybillNumber: string(p.Number)}
			var changed bool
			// What another source has told already is kept, and isn't pushed.
			if traces[id], changed = track.Merge(traces[id], report, now); changed {
				want[id] = len(traces[id].Events)
			}
		}
	}
	return want, nil
}

func sortedIDs(want map[trace.ID]int) []trace.ID {
	ids := make([]trace.ID, 0, len(want))
	for id := range want {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b trace.ID) int { return strings.Compare(a.String(), b.String()) })
	return ids
}
