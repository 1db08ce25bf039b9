package carrier

import "github.com/posthaste/posthaste/services/internal/track"

// AskedBy are the carriers that a platform, "kdniao" or "kuaidi100", can be asked
// about, with its code of each. Nil for another source.
func AskedBy(source string) map[track.Carrier]string { return ownCodes()[source] }
