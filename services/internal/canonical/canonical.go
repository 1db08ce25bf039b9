// Package canonical is the adapter between events that teams report over gRPC and the domain.
package canonical

import (
	"time"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Source is the code of this source.
const Source = "canonical"

// Event checks an event and makes it canonical.
func Event(e *ingestv1.ReportedEvent, receive time.Time) (track.Waybill, track.Event, *carrier.FieldError) {
	panic("not built")
}

// Map makes a report of a RawTrace body: an encoded ReportEventsRequest with the events of one waybill.
func Map(raw carrier.Raw) (track.Report, error) { panic("not built") }
