package rest

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// commentsJSON are the comments of the protos by full name, which programs don't
// hold otherwise. hack/generate writes it.
//
//go:embed comments.json
var commentsJSON []byte

type object = map[string]any

// Document is the OpenAPI 3.1 document of services, in JSON.
func Document(services []string) ([]byte, error) {
	d := document{schemas: object{"Problem": problemSchema()}}
	if err := json.Unmarshal(commentsJSON, &d.comments); err != nil {
		return nil, fmt.Errorf("read the protos' comments: %w", err)
	}
	paths := object{}
	methods := make([]string, 0, len(routes))
	for m := range routes {
		methods = append(methods, m)
	}
	slices.Sort(methods)
	var tags []any
	for _, m := range methods {
		service, name, _ := strings.Cut(m, "/")
		if !slices.Contains(services, service) {
			continue
		}
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + name))
		if err != nil {
			return nil, fmt.Errorf("describe %s: %w", m, err)
		}
		rpc, ok := found.(protoreflect.MethodDescriptor)
		if !ok {
			return nil, fmt.Errorf("describe %s: it is no RPC", m)
		}
		tag := object{"name": string(rpc.Parent().Name()), "description": d.comments[service]}
		if !slices.ContainsFunc(tags, func(t any) bool { return t.(object)["name"] == tag["name"] }) { //nolint:forcetypeassert,errcheck // made above
			tags = append(tags, tag)
		}
		for i, r := range routes[m] {
			d.operation(paths, rpc, r, i)
		}
	}
	return json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Posthaste", "version": "v1",
			"description": "Where a parcel is, the moment its carrier says so. The same calls as over gRPC; errors are problem details (RFC 9457).",
			"license":     object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers":  []any{object{"url": "/", "description": "the server that gave this document"}},
		"security": []any{object{"bearer": []any{}}, object{"key": []any{}}},
		"tags":     tags,
		"paths":    paths,
		"components": object{
			"schemas": d.schemas,
			"securitySchemes": object{
				"bearer": object{"type": "http", "scheme": "bearer", "description": "an API key, pk_…, or a JSON Web Token"},
				"key":    object{"type": "apiKey", "in": "header", "name": "x-api-key"},
			},
		},
	}, "", "  ")
}

type document struct {
	comments map[string]string
	schemas  object
}

var (
	variable = regexp.MustCompile(`\{([a-z_.]+)=([^}]+)\}`)
	// number of a star, to name the parts of a path.
	star = regexp.MustCompile(`([A-Za-z]+)/\*(/\*)?`)
)

// singular of the collections whose members are in paths.
func partName(collection string) string { return strings.TrimSuffix(collection, "s") }

// operation adds a route to the paths.
func (d *document) operation(paths object, rpc protoreflect.MethodDescriptor, r route, i int) {
	var params []any
	bound := ""
	path := variable.ReplaceAllStringFunc(r.path, func(v string) string {
		m := variable.FindStringSubmatch(v)
		bound = m[1]
		return star.ReplaceAllStringFunc(m[2], func(s string) string {
			p := star.FindStringSubmatch(s)
			names := []string{partName(p[1])}
			if p[2] != "" {
				names = []string{"carrierCode", "waybillNumber"}
			}
			out := p[1]
			var outSb106 strings.Builder
			for _, n := range names {
				params = append(params, object{"name": n, "in": "path", "required": true, "schema": object{"type": "string"}})
				outSb106.WriteString("/{" + n + "}")
			}
			out += outSb106.String()
			return out
		})
	})
	in := rpc.Input()
	op := object{
		"operationId": operationID(rpc, i), "tags": []any{string(rpc.Parent().Name())},
		"summary": firstSentence(d.comments[string(rpc.FullName())]), "description": d.comments[string(rpc.FullName())],
		"responses": object{
			"200":     object{"description": "done", "content": object{"application/json": object{"schema": d.ref(rpc.Output())}}},
			"4XX":     problemAnswer("the request can't be carried out; the reason says why"),
			"default": problemAnswer("a fault of the server, or a part of it is away"),
		},
	}
	switch {
	case r.body == "*":
		op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": d.ref(in)}}}
	case r.body != "":
		op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": d.field(in.Fields().ByName(protoreflect.Name(r.body)))}}}
	}
	if r.body != "*" {
		params = append(params, d.query(in, r.body, bound)...)
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	item, ok := paths[path].(object)
	if !ok {
		item = object{}
		paths[path] = item
	}
	item[strings.ToLower(r.method)] = op
}

func operationID(rpc protoreflect.MethodDescriptor, i int) string {
	id := string(rpc.Name())
	if i > 0 {
		id += fmt.Sprint("_", i+1)
	}
	return id
}

// query are the fields that are in neither path nor body.
func (d *document) query(in protoreflect.MessageDescriptor, body, bound string) []any {
	var out []any
	for i := range in.Fields().Len() {
		f := in.Fields().Get(i)
		name := string(f.Name())
		switch {
		case name == body, name == bound:
		case f.Message() != nil && !f.IsList() && !wellKnown(f.Message()):
			// A message's fields, with dots.
			for j := range f.Message().Fields().Len() {
				sub := f.Message().Fields().Get(j)
				out = append(out, d.parameter(f.JSONName()+"."+sub.JSONName(), sub))
			}
		default:
			out = append(out, d.parameter(f.JSONName(), f))
		}
	}
	return out
}

func (d *document) parameter(name string, f protoreflect.FieldDescriptor) object {
	return object{"name": name, "in": "query", "description": d.comments[string(f.FullName())], "schema": d.field(f)}
}

func wellKnown(m protoreflect.MessageDescriptor) bool {
	return strings.HasPrefix(string(m.FullName()), "google.protobuf.")
}

// ref is a reference to a message's schema, which it makes sure of.
func (d *document) ref(m protoreflect.MessageDescriptor) object {
	name := strings.TrimPrefix(string(m.FullName()), "posthaste.")
	if _, ok := d.schemas[name]; !ok {
		properties := object{}
		d.schemas[name] = object{"type": "object", "description": d.comments[string(m.FullName())], "properties": properties, "additionalProperties": false}
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			s := d.field(f)
			if c := d.comments[string(f.FullName())]; c != "" {
				s["description"] = c
			}
			properties[f.JSONName()] = s
		}
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// field is a field's schema, in the JSON form of protocol buffers.
func (d *document) field(f protoreflect.FieldDescriptor) object {
	switch {
	case f.IsMap():
		return object{"type": "object", "additionalProperties": d.value(f.MapValue())}
	case f.IsList():
		return object{"type": "array", "items": d.value(f)}
	}
	return d.value(f)
}

func (d *document) value(f protoreflect.FieldDescriptor) object {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return object{"type": "integer", "format": "int32"}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return object{"type": "string", "format": "int64"}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return object{"type": "number"}
	case protoreflect.BytesKind:
		return object{"type": "string", "contentEncoding": "base64"}
	case protoreflect.EnumKind:
		var names []any
		for i := range f.Enum().Values().Len() {
			names = append(names, string(f.Enum().Values().Get(i).Name()))
		}
		return object{"type": "string", "enum": names}
	case protoreflect.MessageKind, protoreflect.GroupKind:
		switch f.Message().FullName() {
		case "google.protobuf.Timestamp":
			return object{"type": "string", "format": "date-time"}
		case "google.protobuf.Duration":
			return object{"type": "string", "pattern": `^-?[0-9]+(\.[0-9]+)?s$`, "examples": []any{"15s"}}
		case "google.protobuf.FieldMask":
			return object{"type": "string", "examples": []any{"displayName,state"}}
		}
		// Beside a reference, a description may stand since 3.1.
		return d.ref(f.Message())
	default:
		return object{"type": "string"}
	}
}

func firstSentence(text string) string {
	text, _, _ = strings.Cut(text, "\n\n")
	text = strings.Join(strings.Fields(text), " ")
	if i := strings.Index(text, ". "); i > 0 {
		return text[:i]
	}
	return strings.TrimSuffix(text, ".")
}

func problemAnswer(text string) object {
	return object{"description": text, "content": object{"application/problem+json": object{"schema": object{"$ref": "#/components/schemas/Problem"}}}}
}

func problemSchema() object {
	text := func(description string) object { return object{"type": "string", "description": description} }
	return object{
		"type": "object", "description": "Why a call failed: problem details of RFC 9457.", "required": []any{"type", "title", "status", "detail"},
		"properties": object{
			"type": text("about:blank"), "title": text("The HTTP status in words."), "status": object{"type": "integer"},
			"detail": text("What is wrong."), "code": text("The gRPC code, such as NOT_FOUND."), "reason": text("For programs; never reused."),
			"resource": text("The name of the resource it is about."), "requestId": text("Names the call in the server's log and the audit log."),
			"retryAfter": object{"type": "number", "description": "Seconds until it makes sense to try again."},
			"metadata":   object{"type": "object", "additionalProperties": object{"type": "string"}},
			"violations": object{"type": "array", "description": "What is wrong with which field, or which limit is reached.", "items": object{
				"type": "object", "properties": object{"field": text("The path of the field, or the limit."), "description": text("What is wrong with it.")},
			}},
		},
	}
}
