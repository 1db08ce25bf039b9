package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/posthaste/posthaste/services/internal/auth"
)

// interceptor is what happens around every call: the deadline's cap, recovery,
// the error's conversion, and the log line.
type interceptor struct {
	log         *slog.Logger
	maxDeadline time.Duration
	watches     context.Context // done when watches must end
}

func (i *interceptor) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(begin(ctx, info.FullMethod), i.maxDeadline)
	defer cancel()
	err = i.guard(func() error {
		var err error
		resp, err = handler(ctx, req)
		return err
	})
	if err = i.finish(ctx, info.FullMethod, began, err); err != nil {
		return nil, err
	}
	return resp, nil
}

func (i *interceptor) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	began := time.Now()
	ctx, cancel := context.WithCancel(begin(ss.Context(), info.FullMethod))
	defer cancel()
	watch := info.IsServerStream && !info.IsClientStream
	if watch {
		defer context.AfterFunc(i.watches, cancel)()
	}
	ss = callStream{ServerStream: ss, ctx: ctx}
	err := i.guard(func() error { return handler(srv, ss) })
	if watch && i.watches.Err() != nil {
		err = Unavailable(time.Second)
	}
	return i.finish(ss.Context(), info.FullMethod, began, err)
}

// callStream is a stream whose context knows the call; a watch's ends when the
// server stops.
type callStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context is done when the caller or the server ends the stream.
func (s callStream) Context() context.Context { return s.ctx }

// guard turns a panic into an error: one bad call must not end the others.
func (i *interceptor) guard(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = Internal(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return call()
}

func (i *interceptor) finish(ctx context.Context, method string, began time.Time, err error) error {
	answer, fault := toStatus(err)
	id := auth.CallOf(ctx).RequestID
	if fault {
		i.log.ErrorContext(ctx, "a call failed", "method", method, "request_id", id, "error", err)
	}
	i.log.DebugContext(ctx, "call", "method", method, "request_id", id, "code", status.Code(answer).String(), "took", time.Since(began))
	return answer
}
