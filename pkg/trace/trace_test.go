package trace

import (
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
)

func TestName_SurvivesWhateverANumberHolds(t *testing.T) {
	t.Parallel()
	for _, number := range []string{"SF1234567890123", "A/B", "A%2FB", "A B?C#D", "单号一二三四", "..", "A+B&C=D"} {
		id := ID{CarrierCode: "sf", WaybillNumber: number}
		got, err := ParseName(id.Name())
		if err != nil || got != id {
			t.Errorf("%q is named %q, which reads as %v, %v", number, id.Name(), got, err)
		}
	}
	for _, name := range []string{"", "waybills/", "waybills/sf", "waybills/sf/", "waybills//x", "waybills/sf/a/b", "waybills/sf/%zz", "tenants/sf/x"} {
		if id, err := ParseName(name); err == nil {
			t.Errorf("%q reads as %v, want an error", name, id)
		}
	}
}

// TestFromEvents_LeavesNothingOut fills every field of the message, so that one
// added later isn't forgotten here.
func TestFromEvents_LeavesNothingOut(t *testing.T) {
	t.Parallel()
	m := &trackingv1.TraceEvent{}
	fill(m.ProtoReflect())
	e := FromEvents([]*trackingv1.TraceEvent{m})[0]
	checkFilled(t, "event", reflect.ValueOf(e))
	// A field of the message that nothing here shows would be seen as a number of
	// fields that doesn't agree: leg has two in the message and one here.
	fields := m.ProtoReflect().Descriptor().Fields().Len()
	if got := reflect.TypeFor[Event]().NumField(); got != fields-1 {
		t.Errorf("an event has %d fields and its message %d", got, fields)
	}

	w := &trackingv1.Waybill{}
	fill(w.ProtoReflect())
	checkFilled(t, "waybill", reflect.ValueOf(FromWaybill(w)))
	// The message has a name beside the two parts of the ID.
	if got, fields := reflect.TypeFor[Waybill]().NumField(), w.ProtoReflect().Descriptor().Fields().Len(); got != fields-2 {
		t.Errorf("a waybill has %d fields and its message %d", got, fields)
	}
}

func TestFromProto_TakesWhatIsAbsent(t *testing.T) {
	t.Parallel()
	if got := FromWaybill(nil); !reflect.DeepEqual(got, Waybill{}) {
		t.Errorf("no message gives %+v", got)
	}
	e := FromEvents([]*trackingv1.TraceEvent{{}})[0]
	if !e.Time.IsZero() || e.Location != (Location{}) || !e.ReceiveTime.IsZero() {
		t.Errorf("an empty message gives %+v", e)
	}
	if FromEvents(nil) != nil {
		t.Error("no messages give some events")
	}
}

func TestFromEvents_ShowsTheClockAtThePlace(t *testing.T) {
	t.Parallel()
	instant := time.Date(2025, 3, 1, 2, 2, 11, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		offset *int32
		want   string
	}{
		{"east", proto.Int32(8 * 3600), "2025-03-01T10:02:11+08:00"},
		{"west", proto.Int32(-3.5 * 3600), "2025-02-28T22:32:11-03:30"},
		{"zero", proto.Int32(0), "2025-03-01T02:02:11Z"},
		{"unknown", nil, "2025-03-01T02:02:11Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := fromTime(&trackingv1.EventTime{Instant: timestamppb.New(instant), UtcOffsetSeconds: tt.offset})
			if s := got.Instant.Format(time.RFC3339); s != tt.want {
				t.Errorf("the time is %s, want %s", s, tt.want)
			}
		})
	}
}

func TestFromProto_KeepsEveryValue(t *testing.T) {
	t.Parallel()
	for _, s := range status.All() {
		if got := fromStatus(trackingv1.Status(s)); got != s {
			t.Errorf("status %d becomes %d", s, got)
		}
	}
	if fromStatus(-1) != status.Unknown || fromStatus(1000) != status.Unknown || fromSubStatus(-1) != 0 || fromSubStatus(1<<20) != 0 {
		t.Error("a number that can't be one becomes another")
	}
	if got := fromSubStatus(499); got != 499 || got.Status() != status.InTransit {
		t.Errorf("a sub-status of a later version becomes %d", got)
	}
	all := func(name string, d protoreflect.EnumDescriptor, known func(protoreflect.EnumNumber) bool) {
		for i := range d.Values().Len() {
			v := d.Values().Get(i)
			if v.Number() != 0 && !known(v.Number()) {
				t.Errorf("%s %s has no name here", name, v.Name())
			}
		}
	}
	all("kind", trackingv1.EventKind(0).Descriptor(), func(n protoreflect.EnumNumber) bool { return kinds[trackingv1.EventKind(n)] != "" })
	all("offset source", trackingv1.OffsetSource(0).Descriptor(), func(n protoreflect.EnumNumber) bool { return offsetSources[trackingv1.OffsetSource(n)] != "" })
	all("precision", trackingv1.TimePrecision(0).Descriptor(), func(n protoreflect.EnumNumber) bool { return precisions[trackingv1.TimePrecision(n)] != "" })
	all("source kind", trackingv1.SourceKind(0).Descriptor(), func(n protoreflect.EnumNumber) bool { return sources[trackingv1.SourceKind(n)] != "" })
	all("role", trackingv1.LinkRole(0).Descriptor(), func(n protoreflect.EnumNumber) bool { return roles[trackingv1.LinkRole(n)] != "" })
}

func TestAfter_PicksWhatChanged(t *testing.T) {
	t.Parallel()
	events := []Event{{ID: "a", Revision: 1}, {ID: "b", Revision: 3}, {ID: "c", Revision: 2}}
	got := After(events, 1)
	if len(got) != 2 || got[0].ID != "b" || got[1].ID != "c" {
		t.Errorf("after 1 are %v", got)
	}
	if After(events, 3) != nil {
		t.Error("something is after the last revision")
	}
}

// fill sets every field of a message to something that isn't its default.
func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsMap():
			m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString("v"))
		case f.IsList() && f.Message() != nil:
			fill(m.Mutable(f).List().AppendMutable().Message())
		case f.IsList():
			m.Mutable(f).List().Append(scalar(f))
		case f.Message() != nil:
			fill(m.Mutable(f).Message())
		default:
			m.Set(f, scalar(f))
		}
	}
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x")
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(1).Number())
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(60)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(60)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(60)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(60)
	default:
		panic("a field of kind " + f.Kind().String())
	}
}

func checkFilled(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	if v.IsZero() {
		t.Errorf("%s is left out", path)
		return
	}
	switch {
	case v.Kind() == reflect.Pointer:
		checkFilled(t, path, v.Elem())
	case v.Kind() == reflect.Slice:
		checkFilled(t, path+"[0]", v.Index(0))
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for f, field := range v.Fields() {
			checkFilled(t, path+"."+f.Name, field)
		}
	}
}
