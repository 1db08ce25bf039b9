// Package rpc is the adapter to gRPC: it builds the server that every service
// uses, turns errors into statuses that say what to do, spells resource names,
// and makes page tokens. What the calls mean is the services' business.
//
// # Errors
//
// A handler returns one of this package's errors, made by [NotFound], [Invalid]
// and their like, wrapped or not. The caller gets a canonical code and details:
// always google.rpc.ErrorInfo with a reason from [Reasons] and the domain
// "posthaste.dev". Any other error is answered as INTERNAL without its text,
// which may hold what callers must not see, and is logged.
package rpc
