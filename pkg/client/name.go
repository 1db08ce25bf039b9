package client

import (
	"crypto/rand"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (c *Client) parent() string { return "tenants/" + c.tenant }

// endpointName takes a name or an id.
func (c *Client) endpointName(name string) string { return c.name("endpoints", name) }

// subscriptionName takes a name or an id.
func (c *Client) subscriptionName(name string) string { return c.name("subscriptions", name) }

func (c *Client) name(collection, name string) string {
	// An empty name stays empty, so that the server names the field at fault.
	if name == "" || strings.Contains(name, "/") {
		return name
	}
	return c.parent() + "/" + collection + "/" + name
}

func idOf(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// requestID lets a call that makes something be repeated: the server returns
// its first answer.
func requestID(given string) string {
	if given != "" {
		return given
	}
	return rand.Text()
}

func toTimestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func fromTimestamp(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// toInt32 keeps a number that is too large too large, for the server to refuse.
func toInt32(n int) int32 { return int32(min(max(n, math.MinInt32), math.MaxInt32)) }

func toDuration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}
