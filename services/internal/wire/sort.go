package wire

import (
	"slices"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Sort puts events in the order of a trace.
func Sort(events []*trackingv1.TraceEvent) error {
	domain := make(map[*trackingv1.TraceEvent]track.Event, len(events))
	for _, m := range events {
		e, err := TrackEvent(m)
		if err != nil {
			return err
		}
		domain[m] = e
	}
	slices.SortFunc(events, func(a, b *trackingv1.TraceEvent) int {
		x, y := domain[a], domain[b]
		return track.Compare(&x, &y)
	})
	return nil
}
