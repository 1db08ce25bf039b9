// Package callback is the adapter to endpoints: one signed POST, and what came
// of it. Whether that is an acknowledgement, and when to try again, is decided
// in package push.
//
// Whatever an endpoint does is bounded. In time: all of an attempt by the
// request's time-out; within it to connect, name lookup included, by 5 s, the
// TLS handshake by 5 s, and the answer's body by 5 s after its head. In size: the
// head, with the interim answers (1xx) before it, by 64 KiB; the body by 64 KiB,
// of which the first 4 KiB are kept. Redirections are never followed, proxies
// and cookies not used, and a protocol is never switched.
//
// A status in the 200s whose head came in time acknowledges, whatever becomes of
// its body. What went wrong has a class, a short code that stays the same from
// version to version; it stands in the attempt log, metrics and spans:
//
//	url                 the endpoint's URL can't be used
//	no_key              there is no key to sign with
//	egress_refused      the address is not public and not allowed, or the port or scheme isn't
//	dns_not_found       the host's name doesn't exist, or has no address
//	dns_timeout         the name servers didn't answer in time
//	dns                 the name servers failed otherwise
//	connect_timeout     no connection in time
//	connection_refused  nothing listens there
//	unreachable         there is no way to the host
//	connect             no connection for another reason
//	tls_timeout         the TLS handshake didn't end in time
//	tls_expired         the certificate is expired, or not valid yet
//	tls_name            the certificate is for other names
//	tls_untrusted       the certificate's issuer is unknown, as when it is self-signed
//	tls_certificate     the certificate is wrong in another way
//	tls_version         the endpoint speaks TLS older than 1.2 only
//	tls_plain           the endpoint doesn't speak TLS at this port
//	tls                 the TLS handshake failed otherwise
//	timeout             no answer began in time
//	head_slow           an answer began, and its head didn't end in time
//	head_too_large      the answer's head, or interim answers without end, were too large
//	connection_reset    the connection ended before the answer's head did
//	protocol            the answer isn't HTTP
//	network             the exchange failed in a way that has no class
//	cancelled           we broke off
//	redirect            the answer has a status in the 300s
//	http_NNN            the answer has another status outside the 200s
//	body_slow           acknowledged; the body didn't end in time
//	body_broken         acknowledged; the body broke off or wasn't as its head said
//	body_too_large      acknowledged; the body was longer than is read
//
// The words that come with a class are ours. They hold no address, since that
// could be one of our own, and nothing of the URL. What they quote of
// certificates is the endpoint's own.
package callback
