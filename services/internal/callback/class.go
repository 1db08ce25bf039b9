package callback

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/posthaste/posthaste/services/internal/egress"
)

// The classes; the package's documentation explains them.
const (
	classURL               = "url"
	classNoKey             = "no_key"
	classEgressRefused     = "egress_refused"
	classDNSNotFound       = "dns_not_found"
	classDNSTimeout        = "dns_timeout"
	classDNS               = "dns"
	classConnectTimeout    = "connect_timeout"
	classConnectionRefused = "connection_refused"
	classUnreachable       = "unreachable"
	classConnect           = "connect"
	classTLSTimeout        = "tls_timeout"
	classTLSExpired        = "tls_expired"
	classTLSName           = "tls_name"
	classTLSUntrusted      = "tls_untrusted"
	classTLSCertificate    = "tls_certificate"
	classTLSVersion        = "tls_version"
	classTLSPlain          = "tls_plain"
	classTLS               = "tls"
	classTimeout           = "timeout"
	classHeadSlow          = "head_slow"
	classHeadTooLarge      = "head_too_large"
	classConnectionReset   = "connection_reset"
	classProtocol          = "protocol"
	classNetwork           = "network"
	classCancelled         = "cancelled"
	classRedirect          = "redirect"
	classBodySlow          = "body_slow"
	classBodyBroken        = "body_broken"
	classBodyTooLarge      = "body_too_large"
)

// words say the classes to an endpoint's owner. Errors of the network aren't
// quoted: they name our addresses, those of our name servers, and URLs.
var words = map[string]string{
	classURL:               "the endpoint's URL can't be used",
	classNoKey:             "the endpoint has no key to sign with",
	classEgressRefused:     "callbacks may not go to the endpoint's address, port or scheme",
	classDNSNotFound:       "the host's name doesn't exist or has no address",
	classDNSTimeout:        "the lookup of the host's name took too long",
	classDNS:               "the lookup of the host's name failed",
	classConnectTimeout:    "the endpoint took too long to connect to",
	classConnectionRefused: "the endpoint's host refused the connection",
	classUnreachable:       "the endpoint's host can't be reached",
	classConnect:           "the endpoint couldn't be connected to",
	classTLSTimeout:        "the TLS handshake took too long",
	classTLSExpired:        "the certificate is expired or not valid yet",
	classTLSName:           "the certificate is for other names",
	classTLSUntrusted:      "the certificate's issuer is unknown",
	classTLSCertificate:    "the certificate is not valid",
	classTLSVersion:        "the endpoint speaks no TLS of version 1.2 or later",
	classTLSPlain:          "the endpoint speaks no TLS at this port",
	classTLS:               "the TLS handshake failed",
	classTimeout:           "the endpoint didn't answer in time",
	classHeadSlow:          "the head of the answer didn't end in time",
	classHeadTooLarge:      "the head of the answer is too large",
	classConnectionReset:   "the connection ended before the answer did",
	classProtocol:          "the answer isn't HTTP",
	classNetwork:           "the exchange with the endpoint failed",
	classCancelled:         "the attempt was broken off from our side",
	classRedirect:          "the endpoint answered with a redirection, and they aren't followed",
	classBodySlow:          "acknowledged, but the body of the answer didn't end in time",
	classBodyBroken:        "acknowledged, but the body of the answer broke off",
	classBodyTooLarge:      "acknowledged, but the body of the answer is too large",
}

// classify names what kept an answer from coming.
func classify(err error, w *watcher) string {
	var dns *net.DNSError
	var op *net.OpError
	dialling := errors.As(err, &op) && op.Op == "dial"
	switch {
	case errors.Is(err, egress.ErrRefused):
		return classEgressRefused
	case errors.Is(err, context.Canceled):
		return classCancelled
	case errors.As(err, &dns):
		return classifyDNS(dns)
	case dialling && op.Timeout():
		return classConnectTimeout
	case strings.Contains(err.Error(), "TLS handshake timeout"):
		return classTLSTimeout
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return w.late()
	case errors.Is(err, syscall.ECONNREFUSED):
		return classConnectionRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return classUnreachable
	case dialling:
		return classConnect
	}
	if class := classifyTLS(err); class != "" {
		return class
	}
	return classifyAnswer(err, w)
}

func classifyDNS(err *net.DNSError) string {
	switch {
	case err.IsTimeout:
		return classDNSTimeout
	case err.IsNotFound:
		return classDNSNotFound
	default:
		return classDNS
	}
}

// classifyTLS returns nothing for what isn't TLS's matter.
func classifyTLS(err error) string {
	var (
		invalid      x509.CertificateInvalidError
		name         x509.HostnameError
		untrusted    x509.UnknownAuthorityError
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
	)
	alert := tlsAlert(err)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return classTLSExpired
	case errors.As(err, &name):
		return classTLSName
	case errors.As(err, &untrusted):
		return classTLSUntrusted
	case errors.As(err, &verification):
		return classTLSCertificate
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return classTLSPlain
	// The first is what a server says that refuses ours, the second what we say of
	// one that offers an old one alone.
	case alert == "tls: protocol version not supported", strings.Contains(err.Error(), "tls: server selected unsupported protocol version"):
		return classTLSVersion
	case alert != "", strings.Contains(err.Error(), "tls: "):
		return classTLS
	}
	return ""
}

// tlsAlert is the alert that the endpoint sent, empty for none. Its type isn't
// exported.
func tlsAlert(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" && op.Err != nil {
		return op.Err.Error()
	}
	return ""
}

// classifyAnswer is for what went wrong on a connection that was there. net/http
// has no types for most of it.
func classifyAnswer(err error, w *watcher) string {
	text := err.Error()
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case has("response headers exceeded"), has("header list larger"), has("header list too large"):
		return classHeadTooLarge
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		has("server closed idle connection"), has("GOAWAY"), has("client connection lost"), has("INTERNAL_ERROR"), has("REFUSED_STREAM"), has("stream ID") && has("CANCEL"):
		return classConnectionReset
	case has("malformed"), has("http2: "), has("stream error: "), has("connection error: "), w.firstByte.Load() > 0:
		return classProtocol
	}
	return classNetwork
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

const maxWords = 500

// describe says a class in words, and what the endpoint's TLS has to say.
func describe(class string, err error) string {
	detail := tlsAlert(err)
	if verification, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		detail = verification.Err.Error()
	}
	if detail == "" {
		return words[class]
	}
	return cut(clean(words[class]+": "+detail), maxWords)
}

// clean makes a text that PostgreSQL takes.
func clean(s string) string {
	if utf8.ValidString(s) && !strings.Contains(s, "\x00") {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// cut shortens a text to so many bytes, or less: never within a character.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
