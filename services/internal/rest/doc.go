// Package rest is the HTTP/JSON face of the gRPC services: which path each RPC
// has, errors as problem details, and the OpenAPI document, all from the same
// protos. What calls mean, and who may make them, is decided behind it: it calls
// the gRPC server of its own process, interceptors included.
package rest
