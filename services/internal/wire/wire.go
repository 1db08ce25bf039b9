// Package wire converts between the domain and the messages of the public API.
package wire

import (
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/track"
)

// TraceUpdate is a trace as a message.
func TraceUpdate(t *track.Trace) *trackingv1.TraceUpdate { panic("not built") }

// Waybill is a trace's state as a message.
func Waybill(t *track.Trace) *trackingv1.Waybill { panic("not built") }

// Event is an event as a message.
func Event(e *track.Event) *trackingv1.TraceEvent { panic("not built") }

// Trace reads a message made by TraceUpdate.
func Trace(u *trackingv1.TraceUpdate) (*track.Trace, error) { panic("not built") }

// TrackEvent reads a message made by Event.
func TrackEvent(e *trackingv1.TraceEvent) (track.Event, error) { panic("not built") }
