package feed

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
)

func TestUpdate_SinceFindsWhatWasMissed(t *testing.T) {
	t.Parallel()
	data, err := proto.Marshal(&trackingv1.TraceUpdate{
		Waybill: &trackingv1.Waybill{CarrierCode: "sf", WaybillNumber: "SF100", Revision: 4},
		Events:  []*trackingv1.TraceEvent{{Id: "a", Revision: 1}, {Id: "b", Revision: 4}, {Id: "c", Revision: 3}},
	})
	if err != nil {
		t.Fatal(err)
	}
	u, err := decodeData(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Since(0); len(got) != 3 {
		t.Errorf("since 0 are %v", got)
	}
	if got := u.Since(1); len(got) != 2 || got[0].ID != "b" || got[1].ID != "c" {
		t.Errorf("since 1 are %v", got)
	}
	if got := u.Since(4); got != nil {
		t.Errorf("since 4 are %v", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("\x0a\x04\x12\x02sf"))
	f.Add([]byte("\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if u, err := decodeData(data); err == nil && u.Waybill.Revision == 0 {
			t.Fatalf("%q is taken as %+v", data, u)
		}
	})
}

func TestDecode_RefusesWhatHasNoRevision(t *testing.T) {
	t.Parallel()
	if _, err := decodeData(nil); !errors.Is(err, errNoRevision) {
		t.Errorf("error is %v, want %v", err, errNoRevision)
	}
}

func TestDelay_DoublesToItsBound(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first      time.Duration
		deliveries uint64
		want       time.Duration
	}{
		{time.Second, 1, time.Second},
		{time.Second, 2, 2 * time.Second},
		{time.Second, 4, 8 * time.Second},
		{time.Second, 7, time.Minute},
		{time.Second, 1 << 60, time.Minute},
		{time.Hour, 5, time.Hour},
	} {
		f := newFollower(Options{RetryDelay: tt.first}, 0, nil)
		if got := f.delay(tt.deliveries); got != tt.want {
			t.Errorf("delivery %d of first %v waits %v, want %v", tt.deliveries, tt.first, got, tt.want)
		}
	}
}
