package wire

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Split is an encoded [TraceUpdate], taken apart without decoding its events.
// Every change carries the whole trace, and who reads it mostly wants what is
// new: the rest would be decoded for nothing. It shares the memory of the
// message.
type Split struct {
	Waybill *trackingv1.Waybill
	State   []byte // Waybill as it came
	Events  []EncodedEvent
}

// EncodedEvent is a trace event that isn't decoded.
type EncodedEvent struct {
	ID       string
	Revision track.Revision
	Data     []byte // a [trackingv1.TraceEvent]
}

// Numbers of the fields that Split looks at.
const (
	fieldWaybill = 1 // of TraceUpdate
	fieldEvents  = 2
)

var (
	fieldEventID       = number("id")
	fieldEventRevision = number("revision")
)

func number(name protoreflect.Name) protowire.Number {
	return (&trackingv1.TraceEvent{}).ProtoReflect().Descriptor().Fields().ByName(name).Number()
}

// SplitUpdate takes a message made of a [TraceUpdate] apart.
func SplitUpdate(data []byte) (*Split, error) {
	s := &Split{}
	err := eachField(data, func(n protowire.Number, v []byte, _ uint64) error {
		if n == fieldWaybill {
			s.State = v
		}
		if n != fieldEvents {
			return nil
		}
		s.Events = append(s.Events, EncodedEvent{Data: v})
		return peek(&s.Events[len(s.Events)-1])
	})
	if err != nil {
		return nil, fmt.Errorf("take a trace apart: %w", err)
	}
	s.Waybill = &trackingv1.Waybill{}
	if err := proto.Unmarshal(s.State, s.Waybill); err != nil {
		return nil, fmt.Errorf("take a trace apart: waybill: %w", err)
	}
	if s.Waybill.GetCarrierCode() == "" || s.Waybill.GetWaybillNumber() == "" || s.Waybill.GetRevision() == 0 {
		return nil, errNoTrace
	}
	return s, nil
}

// peek reads of an event what it can be told apart by.
func peek(e *EncodedEvent) error {
	return eachField(e.Data, func(n protowire.Number, v []byte, i uint64) error {
		if n == fieldEventID {
			e.ID = string(v)
		}
		if n == fieldEventRevision {
			e.Revision = track.Revision(i)
		}
		return nil
	})
}

var errBroken = errors.New("it isn't a protobuf message")

// eachField calls f with each field: its bytes, or its number for a varint.
func eachField(data []byte, f func(n protowire.Number, v []byte, i uint64) error) error {
	for len(data) > 0 {
		n, kind, size := protowire.ConsumeTag(data)
		if size < 0 {
			return errBroken
		}
		data = data[size:]
		var v []byte
		var i uint64
		switch kind {
		case protowire.BytesType:
			v, size = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			i, size = protowire.ConsumeVarint(data)
		default:
			size = protowire.ConsumeFieldValue(n, kind, data)
		}
		if size < 0 {
			return errBroken
		}
		data = data[size:]
		if err := f(n, v, i); err != nil {
			return err
		}
	}
	return nil
}

// Decode reads an encoded trace: see [Split.Since].
func Decode(data []byte, after track.Revision) (*track.Trace, error) {
	s, err := SplitUpdate(data)
	if err != nil {
		return nil, err
	}
	return s.Since(after)
}

// Since is the trace with only those events in full that are later than a
// revision; the others have nothing but their id and revision. 0 gives the
// whole trace.
func (s *Split) Since(after track.Revision) (*track.Trace, error) {
	t, err := state(s.Waybill)
	if err != nil {
		return nil, err
	}
	if len(s.Events) == 0 {
		return t, nil
	}
	t.Events = make([]track.Event, len(s.Events))
	for i := range s.Events {
		e := &s.Events[i]
		if after > 0 && e.Revision <= after {
			t.Events[i] = track.Event{ID: track.EventID(e.ID), Revision: e.Revision}
			continue
		}
		var m trackingv1.TraceEvent
		if err := proto.Unmarshal(e.Data, &m); err != nil {
			return nil, fmt.Errorf("read a trace: event %s: %w", e.ID, err)
		}
		if t.Events[i], err = TrackEvent(&m); err != nil {
			return nil, fmt.Errorf("read a trace: %w", err)
		}
	}
	return t, nil
}
