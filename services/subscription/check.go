package subscription

import (
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/posthaste/posthaste/services/internal/rpc"
)

// violations gathers what is wrong with a request, so that its sender learns all
// of it at once.
type violations struct{ err *rpc.Error }

func (v *violations) add(field, description string) {
	if v.err == nil {
		v.err = rpc.Invalid(field, description)
		return
	}
	_ = v.err.And(field, description)
}

// result is nil when nothing is wrong.
func (v *violations) result() error {
	if v.err == nil {
		return nil
	}
	return v.err
}

// checkText refuses what PostgreSQL can't keep and what is too long.
func (v *violations) checkText(field, text string, most int, tooLong string) {
	switch {
	case !utf8.ValidString(text) || strings.Contains(text, "\x00"):
		v.add(field, "must be valid UTF-8 without NUL")
	case utf8.RuneCountInString(text) > most:
		v.add(field, tooLong)
	}
}

// fields are the names of the fields to change. An empty mask means those that
// are set, "*" all that can be.
func fields(mask *fieldmaskpb.FieldMask, known []string, isSet func(string) bool, refuse func(string) string) ([]string, error) {
	paths := mask.GetPaths()
	switch {
	case len(paths) == 0:
		var set []string
		for _, f := range known {
			if isSet(f) {
				set = append(set, f)
			}
		}
		return set, nil
	case slices.Equal(paths, []string{"*"}):
		return known, nil
	}
	var v violations
	for _, p := range paths {
		if !slices.Contains(known, p) {
			v.add("update_mask", refuse(p))
		}
	}
	return paths, v.result()
}
