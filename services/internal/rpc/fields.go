package rpc

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// Violations gathers what is wrong with a request, so that its sender learns all
// of it at once.
type Violations struct{ err *Error }

// Add notes what is wrong with a field.
func (v *Violations) Add(field, description string) {
	if v.err == nil {
		v.err = Invalid(field, description)
		return
	}
	_ = v.err.And(field, description)
}

// Result is nil when nothing is wrong.
func (v *Violations) Result() error {
	if v.err == nil {
		return nil
	}
	return v.err
}

// CheckText refuses what PostgreSQL can't keep and what has more than most
// characters.
func (v *Violations) CheckText(field, text string, most int) {
	switch {
	case !utf8.ValidString(text) || strings.Contains(text, "\x00"):
		v.Add(field, "must be valid UTF-8 without NUL")
	case utf8.RuneCountInString(text) > most:
		v.Add(field, fmt.Sprintf("must have at most %d characters", most))
	}
}

// MaxRequestID is the longest request id, in characters.
const MaxRequestID = 64

// RequestHash is what a repeat of a call has in common with it: id and content.
// It is nil without an id.
func RequestHash(id string, content proto.Message) ([]byte, error) {
	if id == "" {
		return nil, nil
	}
	var v Violations
	v.CheckText("request_id", id, MaxRequestID)
	if err := v.Result(); err != nil {
		return nil, err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode a request: %w", err)
	}
	sum := sha256.Sum256(b)
	return sum[:], nil
}

// MaskPaths are the fields to change. An empty mask means those that are set,
// "*" all of the known ones; any other is refused.
func MaskPaths(mask *fieldmaskpb.FieldMask, known []string, isSet func(string) bool) ([]string, error) {
	paths := mask.GetPaths()
	switch {
	case len(paths) == 0:
		return slices.DeleteFunc(slices.Clone(known), func(f string) bool { return !isSet(f) }), nil
	case slices.Equal(paths, []string{"*"}):
		return known, nil
	}
	var v Violations
	for _, p := range paths {
		if !slices.Contains(known, p) {
			v.Add("update_mask", fmt.Sprintf("%q can't be changed; what can: %s", p, strings.Join(known, ", ")))
		}
	}
	return paths, v.Result()
}
