package attacks

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
)

func reportOf(carrier, number, text string) *ingestv1.ReportEventsRequest {
	return &ingestv1.ReportEventsRequest{Events: []*ingestv1.ReportedEvent{{
		CarrierCode: carrier, WaybillNumber: number, EventTime: time.Now().Format(time.RFC3339), Status: trackingv1.Status_STATUS_IN_TRANSIT, Text: text,
	}}}
}

// runGRPC makes calls that are too large, too vague, or whose caller isn't known.
func runGRPC(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	o := &Outcome{}
	in := &c.Input
	if in.Has("call") {
		return o, o.caller(ctx, w, in.Text("call"))
	}
	p, err := w.product(ctx, "lab")
	if err != nil {
		return nil, err
	}
	switch {
	case in.Has("message_bytes"):
		n, err := in.Number("message_bytes")
		if err != nil {
			return nil, err
		}
		_, err = p.reports.ReportEvents(ctx, reportOf("ups", "LARGE1", strings.Repeat("a", n)), grpc.MaxCallSendMsgSize(n+1<<20))
		o.answered(err)
	case in.Has("gzip_bomb"):
		_ = in.Text("gzip_bomb")
		o.answered(p.grpcBomb(ctx))
	case in.Has("request"):
		return o, o.vague(ctx, p, in.Text("request"))
	case in.Has("deadline"):
		_ = in.Text("deadline")
		return o, o.deadlines(ctx, w, p)
	case in.Has("reflection"):
		_ = in.Text("reflection")
		s, err := reflectionpb.NewServerReflectionClient(p.conn).ServerReflectionInfo(ctx)
		if err != nil {
			return nil, err
		}
		_ = s.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
		_, err = s.Recv()
		o.answered2(err)
	default:
		return nil, fmt.Errorf("the runner doesn't know such a case: %w", in.rest())
	}
	return o, nil
}

// answered2 notes an answer for which UNIMPLEMENTED is no fault.
func (o *Outcome) answered2(err error) {
	o.saw("http:%d", httpStatus(err))
	o.saw("grpc:%s", codeName(err))
	o.Detail += fmt.Sprintf("answered %v; ", err)
}

// grpcBomb sends a message that is small on the wire.
func (p *product) grpcBomb(ctx context.Context) error {
	const size = 16 << 20
	_, err := p.reports.ReportEvents(ctx, reportOf("ups", "BOMB1", strings.Repeat("0", size)), grpc.MaxCallSendMsgSize(size+1<<20), grpc.UseCompressor(gzip.Name))
	return err
}

// vague sends every method a message that says nothing, or nonsense.
func (o *Outcome) vague(ctx context.Context, p *product, words string) error { //nolint:unparam // alike with its neighbours
	nonsense := says(words, "unknown", "nil", "9999", "nonsense")
	n := 0
	var odd []string
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "posthaste.") {
			return true
		}
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				if m.IsStreamingClient() || m.IsStreamingServer() && m.Name() != "WatchWaybill" {
					continue
				}
				req := dynamicpb.NewMessage(m.Input())
				if nonsense {
					fillNonsense(req, 0)
				}
				err := p.callAny(ctx, m, req)
				n++
				switch status.Code(err) {
				case codes.InvalidArgument, codes.Unimplemented:
				case codes.OK, codes.NotFound, codes.PermissionDenied:
					if !harmlessEmpty(m) {
						odd = append(odd, fmt.Sprintf("%s: %v", m.FullName(), err))
					}
				default:
					odd = append(odd, fmt.Sprintf("%s: %v", m.FullName(), err))
				}
			}
		}
		return true
	})
	o.Detail = fmt.Sprintf("%d methods were called", n)
	if len(odd) > 0 {
		o.problem("%s", strings.Join(odd, "; "))
	}
	if n > 0 {
		o.saw("grpc:INVALID_ARGUMENT")
	}
	return nil
}

// harmlessEmpty says whether a method needs nothing to be said: lists of the whole
// platform.
func harmlessEmpty(m protoreflect.MethodDescriptor) bool {
	name := string(m.Name())
	return (strings.HasPrefix(name, "List") || strings.HasPrefix(name, "Get")) && m.Input().Fields().ByName("parent") == nil && m.Input().Fields().ByName("name") == nil
}

// fillNonsense sets enums to what no enum has, and numbers and texts to extremes.
func fillNonsense(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.IsList() || f.IsMap() || depth > 2 {
			continue
		}
		switch f.Kind() {
		case protoreflect.EnumKind:
			m.Set(f, protoreflect.ValueOfEnum(9999))
		case protoreflect.Int32Kind:
			m.Set(f, protoreflect.ValueOfInt32(-1))
		case protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString("\x01nonsense"))
		case protoreflect.MessageKind:
			if depth < 2 {
				fillNonsense(m.Mutable(f).Message(), depth+1)
			}
		default:
		}
	}
}

func (p *product) callAny(ctx context.Context, m protoreflect.MethodDescriptor, req proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	name := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	if !m.IsStreamingServer() {
		return p.conn.Invoke(ctx, name, req, dynamicpb.NewMessage(m.Output()))
	}
	s, err := p.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, name)
	if err != nil {
		return err
	}
	if err := s.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	_ = s.CloseSend()
	return s.RecvMsg(dynamicpb.NewMessage(m.Output()))
}

// deadlines calls without a deadline, and with one that is over.
func (o *Outcome) deadlines(ctx context.Context, _ *World, p *product) error { //nolint:unparam // alike with its neighbours
	before := runtime.NumGoroutine()
	for range 100 {
		short, cancel := context.WithTimeout(ctx, time.Nanosecond)
		_, err := p.endpoints.ListEndpoints(short, &subscriptionv1.ListEndpointsRequest{Parent: tenant})
		cancel()
		if status.Code(err) != codes.DeadlineExceeded {
			o.problem("1 ns is answered %v", err)
		}
	}
	err := await(ctx, "goroutines to end", func() (bool, error) { return runtime.NumGoroutine() < before+50, nil })
	o.check("1 ns|no leak|leak", err)
	// The product's upper limit is its configuration: a call that asks for an hour gets
	// no more. What it does with it is tested beside the interceptor.
	_, err = p.endpoints.ListEndpoints(context.WithoutCancel(ctx), &subscriptionv1.ListEndpointsRequest{Parent: tenant, PageSize: 1})
	o.check("upper limit|own", err)
	return nil
}

// caller calls as nobody, or as a service that may do something else.
func (o *Outcome) caller(ctx context.Context, w *World, words string) error {
	if says(words, "without", "no ", "anonymous") && !says(words, "another service") {
		l, err := w.locked(ctx)
		if err != nil {
			return err
		}
		o.answered(l.list(ctx))
		return nil
	}
	return o.certified(ctx, w, words)
}

// certified calls with client certificates, to a product that takes them.
func (o *Outcome) certified(ctx context.Context, w *World, words string) error {
	name := "mtls"
	server, err := issue(w.receiver.ca, w.receiver.key, leaf("127.0.0.1"))
	if err != nil {
		return err
	}
	certFile, keyFile := filepath.Join(w.dir, "server.pem"), filepath.Join(w.dir, "server.key")
	if err := writePair(server, certFile, keyFile); err != nil {
		return err
	}
	p, ok := w.products[name]
	if !ok {
		p, err = w.start(ctx, name, "--egress-policy=lab", "--auth=required", "--tls-cert="+certFile, "--tls-key="+keyFile, "--tls-client-ca="+filepath.Join(w.dir, "ca.pem"),
			"--auth-certificates=delivery.posthaste=reporter;subscription.posthaste=admin")
		if err != nil {
			return err
		}
		w.closing = append(w.closing, p)
	}
	client := leaf("delivery.posthaste")
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	ca, key := w.receiver.ca, w.receiver.key
	if says(words, "unknown", "self-signed", "another authority") {
		ca, key = nil, nil
	}
	cert, err := issue(ca, key, client)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(w.receiver.ca)
	conn, err := grpc.NewClient("passthrough:///"+p.at.GRPC, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: "127.0.0.1", Certificates: []tls.Certificate{*cert},
	})))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = subscriptionv1.NewEndpointServiceClient(conn).CreateEndpoint(ctx, &subscriptionv1.CreateEndpointRequest{Parent: tenant, Endpoint: &subscriptionv1.Endpoint{Url: "http://127.0.0.1:9/"}})
	o.answered2(err)
	return nil
}

func writePair(c *tls.Certificate, certFile, keyFile string) error {
	key, ok := c.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return errors.New("the key is of another kind")
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600),
	)
}
