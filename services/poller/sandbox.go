package poller

import (
	"time"

	"github.com/posthaste/posthaste/services/internal/journey"
	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Sandbox plays reserved numbers, SIM-LOCKER-1, as if a carrier were asked: their
// journey begins when they are first subscribed, and goes faster than a real one. It
// needs no network. What it tells takes the same way as everything else.
func Sandbox(speed float64) Source {
	scale := func(d time.Duration) time.Duration { return time.Duration(float64(d) / speed) }
	return Source{Adapter: Adapter{
		Code: "sandbox", Kind: track.SourceCarrierPoll, Rate: 1000,
		Carriers: map[track.Carrier]string{recognize.Simulated: string(recognize.Simulated)},
		Play: func(q Question) ([]byte, time.Duration) {
			number := string(q.Waybill.Number)
			play := journey.Of(0, number)
			if _, ok := journey.Reserved(number); !ok {
				return nil, 0 // no number of ours; it is never known
			}
			elapsed := time.Duration(float64(q.Now.Sub(q.Since)) * speed)
			// Its events end now at the latest, however fast it goes.
			told := play.Told(q.Since.Add(-play.Length()), elapsed)
			var next time.Duration
			for _, at := range play.Changes() {
				if at > elapsed {
					const later = time.Millisecond
					next = scale(at-elapsed) + later
					break
				}
			}
			if len(told) == 0 {
				return nil, next
			}
			return journey.KdniaoPush("sandbox", q.Now, journey.Kdniao("sandbox", q.Code, number, told)), next
		},
	}}
}
