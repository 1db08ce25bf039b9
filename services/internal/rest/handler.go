package rest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/vanguard"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxBody is the largest request, as over gRPC.
const maxBody = 4 << 20

// Config is what the face is of.
type Config struct {
	// GRPC is the server that answers.
	GRPC http.Handler
	// Services are the full names of the services it has.
	Services []string
	// Locked says that callers must say who they are.
	Locked bool
}

// New makes the handler of all paths below /v1/ and of /openapi.json.
func New(cfg Config) (http.Handler, error) {
	var services []*vanguard.Service
	var rules []*annotations.HttpRule
	for _, name := range cfg.Services {
		if !strings.HasPrefix(name, "posthaste.") {
			continue
		}
		services = append(services, vanguard.NewService(name, cfg.GRPC,
			vanguard.WithTargetProtocols(vanguard.ProtocolGRPC), vanguard.WithTargetCodecs(vanguard.CodecProto), vanguard.WithMaxMessageBufferBytes(maxBody)))
	}
	for method, list := range routes {
		service, _, _ := strings.Cut(method, "/")
		if slices.Contains(cfg.Services, service) {
			rules = append(rules, rule(strings.ReplaceAll(method, "/", "."), list))
		}
	}
	transcoder, err := vanguard.NewTranscoder(services, vanguard.WithRules(rules...), vanguard.WithCodec(newCodec))
	if err != nil {
		return nil, fmt.Errorf("make the HTTP/JSON face: %w", err)
	}
	document, err := Document(cfg.Services)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(document)
	})
	mux.Handle("/v1/", problems(guard(cfg.Locked, transcoder)))
	lines(cfg, mux)
	return mux, nil
}

// newCodec is strict with what comes, and says only what is set.
func newCodec(res vanguard.TypeResolver) vanguard.Codec {
	return &vanguard.JSONCodec{
		MarshalOptions:   protojson.MarshalOptions{Resolver: res},
		UnmarshalOptions: protojson.UnmarshalOptions{Resolver: res},
	}
}

func rule(selector string, list []route) *annotations.HttpRule {
	var out *annotations.HttpRule
	for _, r := range list {
		one := &annotations.HttpRule{Selector: selector, Body: r.body}
		switch r.method {
		case http.MethodGet:
			one.Pattern = &annotations.HttpRule_Get{Get: r.path}
		case http.MethodPost:
			one.Pattern = &annotations.HttpRule_Post{Post: r.path}
		case http.MethodPatch:
			one.Pattern = &annotations.HttpRule_Patch{Patch: r.path}
		case http.MethodDelete:
			one.Pattern = &annotations.HttpRule_Delete{Delete: r.path}
		}
		if out == nil {
			out = one
			continue
		}
		one.Selector = ""
		out.AdditionalBindings = append(out.AdditionalBindings, one)
	}
	return out
}

// guard refuses early what the gRPC server would refuse anyway, so that nobody
// without a key learns what a path takes.
func guard(lock bool, next http.Handler) http.Handler {
	return locked(lock, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	}))
}

func locked(lock bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown := len(r.Header.Values("Authorization")) + len(r.Header.Values("X-Api-Key"))
		certified := r.TLS != nil && len(r.TLS.VerifiedChains) > 0
		if lock && shown == 0 && !certified {
			w.Header().Set("WWW-Authenticate", "Bearer")
			write(w, problem{
				Status: http.StatusUnauthorized, Reason: "UNAUTHENTICATED",
				Detail: `an API key is required: send it as "authorization: Bearer pk_…" or "x-api-key: pk_…"; in a URL it isn't looked at`,
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}
