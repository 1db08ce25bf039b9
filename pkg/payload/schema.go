package payload

import (
	_ "embed" // the schema
	"slices"
)

//go:embed push.schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of a push's body. It allows
// fields that it doesn't name, since later versions add some.
func Schema() []byte { return slices.Clone(schema) }
