package carrier

import (
	"encoding/json"
	"fmt"

	"github.com/posthaste/posthaste/services/internal/track"
)

// polled makes a source of a carrier that is only asked.
func polled(s spec, name, reports, times string, notes ...string) Source {
	s.kind = track.SourceCarrierPoll
	return define(s, Facts{
		Name: name, Reports: reports, Times: times, Notes: notes,
		Unverified: []string{"codes beyond those that recorded answers show: others keep the status, raise the metric and can be mapped later"},
	})
}

// list cuts a document that is a JSON array, or an object with one, into the
// bodies of waybills. pick finds the array.
func list(doc []byte, path string, pick func(doc []byte) ([]json.RawMessage, *FieldError), number func(body []byte) (text, *FieldError), c track.Carrier) ([]Part, error) {
	bodies, wrong := pick(doc)
	if wrong != nil {
		return nil, wrong
	}
	parts := make([]Part, 0, len(bodies))
	for i, body := range bodies {
		field := fmt.Sprintf("%s[%d]", path, i)
		n, wrong := number(body)
		if wrong != nil {
			parts = append(parts, Part{Body: body, Err: &FieldError{field, wrong.Error()}})
			continue
		}
		parts = append(parts, partOf(c, field, n.String(), body))
	}
	return parts, nil
}

// array picks the elements of a document that is an array, or the document
// alone.
func array(doc []byte) ([]json.RawMessage, *FieldError) {
	if len(doc) > 0 && doc[0] == '[' {
		var bodies []json.RawMessage
		wrong := unmarshal("document", doc, &bodies)
		return bodies, wrong
	}
	return []json.RawMessage{doc}, nil
}

// whole cuts nothing: the document is one waybill's.
func whole(c track.Carrier, field string, number func(doc []byte) (text, *FieldError)) func(doc []byte) ([]Part, error) {
	return func(doc []byte) ([]Part, error) {
		n, wrong := number(doc)
		if wrong != nil {
			return nil, wrong
		}
		return []Part{partOf(c, field, n.String(), doc)}, nil
	}
}
