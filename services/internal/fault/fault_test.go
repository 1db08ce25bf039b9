package fault

import (
	"slices"
	"testing"
)

// Without the tag nothing is planted, and a point costs nothing.
func TestFaults_AreNotInAnOrdinaryBuild(t *testing.T) {
	t.Parallel()
	for _, planted := range []bool{
		AckBeforePublish, NoFsync, DroppedPark, SkippedRevision, RetryID, LostProjection, MatchBeforeCommit, NormalizerAcksFirst,
		CancelUnchecked, BodyRerendered, OutOfOrder, StaleSignature, GoneIgnored, SignatureUnchecked, RepeatsAcknowledged, WrongTenant,
	} {
		if planted {
			t.Error("a fault is planted")
		}
	}
	Crash("deliver.committed")
	if Now() {
		t.Error("now and then has come")
	}
}

func TestPoints_AreNamedOnce(t *testing.T) {
	t.Parallel()
	sorted := slices.Sorted(slices.Values(Points))
	if len(slices.Compact(sorted)) != len(Points) {
		t.Errorf("a point is named twice: %v", Points)
	}
}
