package testkit

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Answer answers one request, well or badly. It must return when ended is
// closed or the request's context is done.
type Answer func(w http.ResponseWriter, r *http.Request, ended <-chan struct{})

// Status answers with a status and headers given as "Name: value".
func Status(code int, headers ...string) Answer {
	return StatusBody(code, "", headers...)
}

// StatusBody is [Status] with a body.
func StatusBody(code int, body string, headers ...string) Answer {
	return func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ":")
			w.Header().Add(name, strings.TrimSpace(value))
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

// Redirect answers with 302 to another URL.
func Redirect(url string) Answer { return Status(http.StatusFound, "Location: "+url) }

// Held is an answer that waits until it is released. Releasing twice is allowed.
func Held(then Answer) (answer Answer, release func()) {
	released := make(chan struct{})
	var once sync.Once
	answer = func(w http.ResponseWriter, r *http.Request, ended <-chan struct{}) {
		select {
		case <-released:
			then(w, r, ended)
		case <-r.Context().Done():
		case <-ended:
		}
	}
	return answer, func() { once.Do(func() { close(released) }) }
}

// Hang never answers: it ends when the client goes.
func Hang() Answer {
	return func(_ http.ResponseWriter, r *http.Request, ended <-chan struct{}) {
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}
}

// Reset breaks the connection off without an answer, with a TCP reset.
func Reset() Answer {
	return func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		if conn := hijack(w); conn != nil {
			reset(conn)
		}
	}
}

// ResetInBody answers 200 and breaks off within the body.
func ResetInBody() Answer {
	return func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		if conn := hijack(w); conn != nil {
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
			reset(conn)
		}
	}
}

// WrongLength answers 200 with a body shorter than it says, and closes in order.
func WrongLength() Answer {
	return func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		if conn := hijack(w); conn != nil {
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
			_ = conn.Close()
		}
	}
}

// Garbage answers with something that isn't HTTP.
func Garbage() Answer {
	return func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
		if conn := hijack(w); conn != nil {
			_, _ = conn.Write([]byte("220 mail.example ESMTP\r\n"))
			_ = conn.Close()
		}
	}
}

// DripHeader sends an endless header, a byte at each tick: the client sees a
// living connection and never an answer.
func DripHeader(every time.Duration) Answer {
	return drip(every, "HTTP/1.1 200 OK\r\nX-Slow: ", "z")
}

// DripBody answers 200 at once and sends an endless body, a byte at each tick.
func DripBody(every time.Duration) Answer {
	return drip(every, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nz\r\n")
}

func drip(every time.Duration, begin, more string) Answer {
	return func(w http.ResponseWriter, _ *http.Request, ended <-chan struct{}) {
		conn := hijack(w)
		if conn == nil {
			return
		}
		defer func() { _ = conn.Close() }()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for _, err := conn.Write([]byte(begin)); err == nil; _, err = conn.Write([]byte(more)) {
			select {
			case <-tick.C:
			case <-ended:
				return
			}
		}
	}
}

// Endless answers with a body that never ends, as fast as the client reads.
func Endless(code int) Answer {
	return func(w http.ResponseWriter, _ *http.Request, ended <-chan struct{}) {
		conn := hijack(w)
		if conn == nil {
			return
		}
		defer func() { _ = conn.Close() }()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-ended:
				_ = conn.Close() // ends a write that nobody reads
			case <-stop:
			}
		}()
		begin := fmt.Sprintf("HTTP/1.1 %d %s\r\nTransfer-Encoding: chunked\r\n\r\n", code, http.StatusText(code))
		const size = 16 << 10
		chunk := strconv.FormatInt(size, 16) + "\r\n" + strings.Repeat("z", size) + "\r\n"
		for _, err := conn.Write([]byte(begin)); err == nil; _, err = conn.Write([]byte(chunk)) {
			select {
			case <-ended:
				return
			default:
			}
		}
	}
}

// hijack takes the connection from the HTTP server, nil when it is gone.
func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	return conn
}

func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
