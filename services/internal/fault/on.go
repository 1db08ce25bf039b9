//go:build faults

package fault

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Both variables are taken out of the environment: the program refuses those it
// doesn't know.
var (
	chosen     = take("POSTHASTE_FAULT")
	point, hit = crash(take("POSTHASTE_CRASH"))
	hits       atomic.Int64
	calls      atomic.Int64
)

// The planted faults; see [Planted].
var (
	AckBeforePublish    = is("ack-before-publish")
	NoFsync             = is("no-fsync")
	DroppedPark         = is("dropped-park")
	SkippedRevision     = is("skipped-revision")
	RetryID             = is("retry-id")
	LostProjection      = is("lost-projection")
	MatchBeforeCommit   = is("match-before-commit")
	NormalizerAcksFirst = is("normalizer-acks-first")
	CancelUnchecked     = is("cancel-unchecked")
	BodyRerendered      = is("body-rerendered")
	OutOfOrder          = is("out-of-order")
	StaleSignature      = is("stale-signature")
	GoneIgnored         = is("gone-ignored")
	SignatureUnchecked  = is("signature-unchecked")
	RepeatsAcknowledged = is("repeats-acknowledged")
	WrongTenant         = is("wrong-tenant")
)

func take(name string) string {
	value := os.Getenv(name)
	_ = os.Unsetenv(name)
	return value
}

func is(name string) bool {
	if _, ok := Planted[name]; !ok {
		panic("fault: " + name + " isn't in the list")
	}
	return chosen == name
}

func crash(value string) (string, int64) {
	if value == "" {
		return "", 0
	}
	name, count, _ := strings.Cut(value, "@")
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || !slices.Contains(Points, name) {
		panic("fault: POSTHASTE_CRASH is " + value + " and must be a point and a count, such as deliver.committed@1")
	}
	return name, n
}

// Crash kills the program by SIGKILL when it is the chosen point, at the chosen
// hit.
func Crash(name string) {
	if name != point || hits.Add(1) != hit {
		return
	}
	fmt.Fprintln(os.Stderr, "fault: killed at", name)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until it is there
}

// Now is true one time in twenty.
func Now() bool { return calls.Add(1)%20 == 0 }

// Delay makes the window of a planted fault wider.
func Delay() { time.Sleep(300 * time.Millisecond) }
