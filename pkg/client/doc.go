// Package client is Posthaste over gRPC, with plain Go types and errors that
// can be told apart.
//
//	c, err := client.Dial("dns:///posthaste:9090", client.WithTenant("shop"))
//
// # Keys
//
// [WithKey] and [WithKeyFile] say who calls. A key is never sent in the clear to
// another machine unless [WithKeyInTheClear] says so.
//
// # Names
//
// Endpoints and subscriptions belong to the client's tenant. Wherever a method
// takes the name of one, its id ("sub_…") will do.
//
// # Errors
//
// Every error of a call is an [*Error] and matches one of the sentinels with
// errors.Is: [ErrNotFound], [ErrInvalid], [ErrUnavailable] and so on, or
// context.Canceled and context.DeadlineExceeded.
//
// # Retries
//
// A call that finds no server is tried again, up to four times in about two
// seconds, before it returns [ErrUnavailable]. That is safe: calls that make
// something carry a request id, which the client makes up unless told, and
// events that are reported twice change nothing. A call without a deadline
// gets one of ten seconds; watches and reporters last as long as their context.
//
// A client may be used by several goroutines.
package client
