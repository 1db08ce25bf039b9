package rpc

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"net/netip"
	"path"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/posthaste/posthaste/services/internal/auth"
)

// Credentials are what a caller shows.
type Credentials struct {
	// Token is an API key or a token, empty if there is none.
	Token string
	// Certificate is the verified client certificate, nil if there is none.
	Certificate *x509.Certificate
}

// Identifier finds out who calls. Its errors are for the caller.
type Identifier interface {
	Identify(ctx context.Context, c Credentials) (auth.Principal, error)
}

// RequestIDHeader is in the header of every answer.
const RequestIDHeader = "x-request-id"

// callers is what happens to every call before its service sees it: it gets an
// id, and it is asked who calls and whether they may.
type callers struct {
	// who is nil where nobody is asked.
	who Identifier
	// quotas is nil where nobody counts.
	quotas Quotas
}

// Quotas count the calls of tenants and refuse those that are too many. Their
// errors are for the caller.
type Quotas interface {
	Admit(ctx context.Context, tenant string) error
}

// begin gives a call its id. Nobody is known to make it yet.
func begin(ctx context.Context, method string) context.Context {
	call := auth.Call{Method: path.Base(method), RequestID: rand.Text(), Source: source(ctx)}
	_ = grpc.SetHeader(ctx, metadata.Pairs(RequestIDHeader, call.RequestID)) // fails only outside a call
	return auth.WithCall(ctx, call)
}

// enter lets a call in, or says why not.
func (c *callers) enter(ctx context.Context, method string) (context.Context, *Access, error) {
	call := auth.CallOf(ctx)
	call.Principal = auth.Anonymous()
	if c.who == nil || open(method) {
		return auth.WithCall(ctx, call), &Access{}, nil
	}
	access, ok := AccessOf(method)
	if !ok && !strings.HasPrefix(method, "/grpc.reflection.") {
		return nil, nil, Forbidden("nobody may make this call")
	}
	creds, err := credentialsOf(ctx)
	if err != nil {
		return nil, nil, err
	}
	if call.Principal, err = c.who.Identify(ctx, creds); err != nil {
		return nil, nil, err
	}
	if ok {
		if err := access.admit(&call.Principal); err != nil {
			return nil, nil, err
		}
	}
	if t := call.Principal.Tenant; t != "" && c.quotas != nil {
		if err := c.quotas.Admit(ctx, t); err != nil {
			return nil, nil, err
		}
	}
	return auth.WithCall(ctx, call), &access, nil
}

// credentialsOf reads what a caller shows. Two that differ are refused: which of
// them counts, others might see differently.
func credentialsOf(ctx context.Context) (Credentials, error) {
	var c Credentials
	md, _ := metadata.FromIncomingContext(ctx)
	bearer, keys := md.Get("authorization"), md.Get("x-api-key")
	switch {
	case len(bearer)+len(keys) > 1:
		return c, Unauthenticated("there are several credentials: send one authorization or x-api-key")
	case len(keys) == 1:
		c.Token = keys[0]
	case len(bearer) == 1:
		scheme, token, _ := strings.Cut(bearer[0], " ")
		if !strings.EqualFold(scheme, "bearer") || token == "" {
			return c, Unauthenticated("authorization must be of the form \"Bearer pk_…\"")
		}
		c.Token = token
	}
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
			c.Certificate = info.State.VerifiedChains[0][0]
		}
	}
	return c, nil
}

// source is the caller's address, without the port.
func source(ctx context.Context) string {
	if from, ok := ctx.Value(sourceKey{}).(string); ok {
		return from
	}
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return ""
	}
	if at, err := netip.ParseAddrPort(p.Addr.String()); err == nil {
		return at.Addr().Unmap().String()
	}
	return ""
}

type sourceKey struct{}

// unary is around a call of one request.
func (c *callers) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, access, err := c.enter(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	p := auth.CallOf(ctx).Principal
	if err := access.check(&p, req); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// stream is around a call of a stream: every message that comes is checked.
func (c *callers) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, access, err := c.enter(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return handler(srv, &checkedStream{ServerStream: ss, ctx: ctx, access: access, principal: auth.CallOf(ctx).Principal})
}

type checkedStream struct {
	grpc.ServerStream

	ctx       context.Context
	access    *Access
	principal auth.Principal
}

// Context knows who calls.
func (s *checkedStream) Context() context.Context { return s.ctx }

// RecvMsg receives a message that the caller may send.
func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.access.check(&s.principal, m)
}
