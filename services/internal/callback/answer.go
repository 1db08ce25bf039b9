package callback

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/posthaste/posthaste/services/internal/push"
)

var excerpts = sync.Pool{New: func() any { return new([maxExcerpt]byte) }}

// readBody reads the beginning of an answer's body for the excerpt, and a little
// further, so that the connection can be used again. It returns the class of
// what is wrong with the body, empty for nothing. ctx is the caller's; w's
// context is below it and ends by cancel.
func (c *Client) readBody(ctx context.Context, cancel context.CancelFunc, w *watcher, resp *http.Response) (text, class string) {
	// Without a body there is nothing to wait for. After 101, which counts as having
	// none, the body is the connection itself, which no context ends: a read could
	// hang for ever.
	if resp.StatusCode < 200 || resp.ContentLength == 0 {
		return "", ""
	}
	// A body that drips must not hold its slot for what is left of the time-out.
	timer := time.AfterFunc(c.options.bodyTime, cancel)
	defer timer.Stop()
	buf, _ := excerpts.Get().(*[maxExcerpt]byte)
	defer excerpts.Put(buf)
	n, err := fill(resp.Body, buf[:])
	text = excerpt(buf[:n])
	switch {
	case err != nil:
	case resp.ContentLength > maxAnswer:
		return text, classBodyTooLarge
	default:
		// One byte more than may be there: to see whether there is one.
		if _, err = io.CopyN(io.Discard, resp.Body, maxAnswer-maxExcerpt+1); err == nil {
			return text, classBodyTooLarge
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		return text, ""
	case errors.Is(ctx.Err(), context.Canceled):
		return text, classCancelled
	case w.Err() != nil:
		return text, classBodySlow
	default:
		return text, classBodyBroken
	}
}

// fill reads until the buffer is full, then without an error, or until one.
// Unlike [io.ReadFull] it tells a body that ended from one that broke off.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	if n == len(buf) && !errors.Is(err, io.EOF) {
		err = nil // if it is no passing one, it comes again
	}
	return n, err
}

func excerpt(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return cut(clean(string(b)), maxExcerpt) // what replaces bytes may be longer
}

// retryAfter reads seconds or a date; 0 for nothing that makes sense, or more
// than is honoured.
func retryAfter(value string, now time.Time) time.Duration {
	var after time.Duration
	if at, err := http.ParseTime(value); err == nil {
		after = at.Sub(now)
	} else if seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31); err == nil {
		after = time.Duration(seconds) * time.Second
	}
	if after < 0 || after > push.MaxRetryAfter {
		return 0
	}
	return after
}
