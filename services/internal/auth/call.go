package auth

import (
	"context"
)

// Call is one call of the control plane, as far as it concerns who makes it.
type Call struct {
	// Principal is who calls.
	Principal Principal
	// Method is the name of the RPC, such as "CreateKey".
	Method string
	// RequestID names the call in logs, answers and the audit log.
	RequestID string
	// Source is the caller's IP address, empty if it isn't known.
	Source string
}

type callKey struct{}

// WithCall hands a call down.
func WithCall(ctx context.Context, c Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// CallOf is the call that is being worked on. Work that nobody called for, and
// calls where nobody is asked who they are, are the [Anonymous] principal's.
func CallOf(ctx context.Context) Call {
	if c, ok := ctx.Value(callKey{}).(Call); ok {
		return c
	}
	return Call{Principal: Anonymous()}
}
