// Package subject builds and parses the NATS subjects of Posthaste. It is the
// only place where they are spelled.
//
//	posthaste.v1.raw.<slot>.<source>
//	posthaste.v1.trace.<slot>.<carrier>.<waybill>
//	posthaste.v1.push.<slot>.<endpoint>
//	posthaste.v1.rejected.<source>
//	posthaste.v1.ops.<tenant>.<kind>
//	posthaste.v1.feed.<endpoint>.<carrier>.<waybill>
//
// The last is in the account of each team, see docs/nats.md.
//
// A slot is two decimal digits, 00 to 63: the hash of the waybill (raw, trace)
// or of the endpoint (push). It never changes, so that streams and consumers
// can be divided by slot without moving a waybill. To follow every waybill of
// a carrier, put a wildcard in its place: posthaste.v1.trace.*.sf.>
//
// Several raw traces or pushes for one reader may be stored as one message, on
// posthaste.v1.raw.<slot>.bundle and posthaste.v1.push.<slot>.bundle.
//
// A token that comes from outside keeps a–z, A–Z, 0–9, '-' and '_'; every other
// byte is written as '=' and two upper-case hexadecimal digits.
package subject

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Slots is how many slots there are. It is part of the wire format.
const Slots = 64

// Prefix begins every subject.
const Prefix = "posthaste.v1"

// Slot is the place of a waybill or an endpoint in the division of streams.
type Slot uint8

func (s Slot) token() string {
	return string([]byte{'0' + byte(s)/10, '0' + byte(s)%10})
}

// WaybillSlot is the slot of a waybill.
func WaybillSlot(carrier, waybill string) Slot { return slot(carrier + "/" + waybill) }

// EndpointSlot is the slot of an endpoint.
func EndpointSlot(endpoint string) Slot { return slot(endpoint) }

func slot(key string) Slot {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return Slot(h.Sum32() % Slots)
}

// Raw is where a raw trace of a waybill goes.
func Raw(source, carrier, waybill string) string {
	return Prefix + ".raw." + WaybillSlot(carrier, waybill).token() + "." + Escape(source)
}

// Trace is where a waybill's trace updates go.
func Trace(carrier, waybill string) string {
	return Prefix + ".trace." + WaybillSlot(carrier, waybill).token() + "." + Escape(carrier) + "." + Escape(waybill)
}

// Push is where pushes to an endpoint go.
func Push(endpoint string) string {
	return Prefix + ".push." + EndpointSlot(endpoint).token() + "." + Escape(endpoint)
}

// Rejected is where reports of a source that could not be used go.
func Rejected(source string) string { return Prefix + ".rejected." + Escape(source) }

// Ops is where operational events of a tenant go. The kind is that of the event
// in small letters, such as "breaker_opened".
func Ops(tenant, kind string) string { return Prefix + ".ops." + Escape(tenant) + "." + Escape(kind) }

// TenantOps matches all operational events of a tenant.
func TenantOps(tenant string) string { return Prefix + ".ops." + Escape(tenant) + ".>" }

// Feed is where pushes to an endpoint that is its team's feed go, in the team's
// own account.
func Feed(endpoint, carrier, waybill string) string {
	return Prefix + ".feed." + Escape(endpoint) + "." + Escape(carrier) + "." + Escape(waybill)
}

// EndpointFeed matches all pushes to an endpoint that is its team's feed.
func EndpointFeed(endpoint string) string { return Prefix + ".feed." + Escape(endpoint) + ".>" }

// AllFeed matches every push to a team's feed, in the team's own account.
const AllFeed = Prefix + ".feed.>"

// AllRaw, AllTrace, AllPush, AllRejected and AllOps match every subject of a kind.
const (
	AllRaw      = Prefix + ".raw.>"
	AllTrace    = Prefix + ".trace.>"
	AllPush     = Prefix + ".push.>"
	AllRejected = Prefix + ".rejected.>"
	AllOps      = Prefix + ".ops.>"
)

// CarrierTraces matches the trace updates of one carrier.
func CarrierTraces(carrier string) string { return Prefix + ".trace.*." + Escape(carrier) + ".*" }

// SlotsOf returns the filters that match the given slots of a kind: "raw",
// "trace" or "push".
func SlotsOf(kind string, slots []Slot) []string {
	filters := make([]string, len(slots))
	for i, s := range slots {
		filters[i] = Prefix + "." + kind + "." + s.token() + ".>"
	}
	return filters
}

// ShardSlots are the slots of a shard: those that leave its number when divided
// by the count of shards.
func ShardSlots(shard, shards int) []Slot {
	var slots []Slot
	for s := shard; s < Slots; s += shards {
		slots = append(slots, Slot(s))
	}
	return slots
}

// Bundle is where messages go together that are for the same shard.
func Bundle(subject string, shards int) string {
	rest, ok := strings.CutPrefix(subject, Prefix+".")
	kind, rest, more := strings.Cut(rest, ".")
	slot, _, full := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(slot, 10, 8)
	if !ok || !more || !full || err != nil || shards < 1 {
		return subject
	}
	return Prefix + "." + kind + "." + Slot(n%uint64(shards)).token() + ".bundle"
}

// ParseTrace reads a subject made by [Trace].
func ParseTrace(subject string) (carrier, waybill string, err error) {
	rest, ok := strings.CutPrefix(subject, Prefix+".trace.")
	tokens := strings.Split(rest, ".")
	if !ok || len(tokens) != 3 {
		return "", "", fmt.Errorf("subject %q is not a trace subject", subject)
	}
	if carrier, err = Unescape(tokens[1]); err != nil {
		return "", "", fmt.Errorf("subject %q: carrier: %w", subject, err)
	}
	if waybill, err = Unescape(tokens[2]); err != nil {
		return "", "", fmt.Errorf("subject %q: waybill: %w", subject, err)
	}
	return carrier, waybill, nil
}

// Escape makes s one token.
func Escape(s string) string {
	plain := s != ""
	for i := 0; i < len(s) && plain; i++ {
		plain = isPlain(s[i])
	}
	if plain {
		return s
	}
	if s == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isPlain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// Unescape reads a token made by [Escape].
func Unescape(token string) (string, error) {
	if token == "=" {
		return "", nil
	}
	if !strings.Contains(token, "=") {
		return token, nil
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		if i+3 > len(token) {
			return "", fmt.Errorf("token %q ends inside an escape", token)
		}
		c, err := strconv.ParseUint(token[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("token %q: escape at %d is not hexadecimal", token, i)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), nil
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
