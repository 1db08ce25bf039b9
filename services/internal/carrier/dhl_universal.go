package carrier

import "github.com/posthaste/posthaste/services/internal/track"

// dhlUniversal is DHL's unified answer under the name that pollers know it by;
// the source dhl reads the same.
func dhlUniversal() Source {
	s := define(spec{
		code: "dhl_universal", kind: track.SourceCarrierPoll, newestFirst: true, cut: cutDHL, read: readDHL, codes: dhlCodes, words: true,
	}, Facts{
		Name: "DHL (unified)", Reports: "answers of Shipment Tracking – Unified", Times: "with an offset or without, in one document; without one it is unknown",
		Notes: []string{"The same as the source dhl, which takes pushes too."},
	})
	return s
}
