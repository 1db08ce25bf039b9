// Package identity finds out who calls: by an API key, by a token of an OpenID
// Connect provider, or by the certificate of a TLS connection. What a caller may
// do is the business of auth and of rpc's table.
package identity
