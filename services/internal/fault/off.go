//go:build !faults

package fault

// The planted faults; see [Planted].
const (
	AckBeforePublish    = false
	NoFsync             = false
	DroppedPark         = false
	SkippedRevision     = false
	RetryID             = false
	LostProjection      = false
	MatchBeforeCommit   = false
	NormalizerAcksFirst = false
	CancelUnchecked     = false
	BodyRerendered      = false
	OutOfOrder          = false
	StaleSignature      = false
	GoneIgnored         = false
	SignatureUnchecked  = false
	RepeatsAcknowledged = false
	WrongTenant         = false
)

// Crash is a point at which a program can be made to kill itself.
func Crash(string) {}

// Now and then; never here.
func Now() bool { return false }

// Delay makes the window of a planted fault wider.
func Delay() {}
