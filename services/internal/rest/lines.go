package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
)

// Import and export are streams: over HTTP they are NDJSON, a JSON value a line.
// They are calls of the gRPC server like all others, so that who may make them, and
// what is in the audit log, is its business.

const (
	serviceName  = "/posthaste.subscription.v1.SubscriptionService/"
	ndjson       = "application/x-ndjson"
	maxLine      = 64 << 10
	maxRows      = 500     // of one message
	maxRowsBytes = 1 << 20 // as JSON
	// lineTimeout is how long a client may be silent, or not read.
	lineTimeout = 30 * time.Second
)

// lines handles the import and the export; cfg.GRPC answers.
func lines(cfg Config, mux *http.ServeMux) {
	handle := func(path string, h func(http.ResponseWriter, *http.Request)) {
		mux.Handle(path, problems(locked(cfg.Locked, http.HandlerFunc(h))))
	}
	handle("POST /v1/tenants/{tenant}/subscriptions:import", func(w http.ResponseWriter, r *http.Request) { importLines(cfg.GRPC, w, r) })
	handle("GET /v1/tenants/{tenant}/subscriptions:export", func(w http.ResponseWriter, r *http.Request) { exportLines(cfg.GRPC, w, r) })
}

func importLines(grpc http.Handler, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	first := int64(1)
	if text := q.Get("firstRow"); text != "" {
		var err error
		if first, err = strconv.ParseInt(text, 10, 64); err != nil || first < 1 {
			write(w, problem{Status: http.StatusBadRequest, Code: "INVALID_ARGUMENT", Reason: "INVALID_ARGUMENT", Detail: "firstRow: must be a number from 1"})
			return
		}
	}
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // HTTP/2 has it anyway
	out := &lineWriter{w: w, control: control}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	requests, send := io.Pipe()
	in := &importer{row: first, out: out, send: send, start: make(chan struct{})}
	var reading sync.WaitGroup
	reading.Go(func() {
		start := &subscriptionv1.ImportSubscriptionsRequest{Parent: "tenants/" + r.PathValue("tenant"), ImportId: q.Get("importId"), FirstRow: first}
		_ = send.CloseWithError(in.run(start, r.Body, control))
	})
	began := false
	err := call(ctx, grpc, r, serviceName+"ImportSubscriptions", requests, func(data []byte) error {
		var m subscriptionv1.ImportSubscriptionsResponse
		if err := proto.Unmarshal(data, &m); err != nil {
			return err
		}
		if !began {
			began = true
			out.begin()
			close(in.start)
			return nil
		}
		in.answered(&m)
		return out.messages(m.GetResults())
	})
	_ = requests.CloseWithError(io.ErrClosedPipe)
	if !began {
		// Nothing was read. The server passes over a short rest, so that the client
		// reads the answer.
		in.dead.Store(true)
		close(in.start)
		reading.Wait()
		refuse(w, err)
		return
	}
	if err != nil {
		in.dead.Store(true)
		_ = control.SetReadDeadline(time.Now())
	}
	reading.Wait()
	if err == nil {
		err = in.failed
	}
	out.end(in, err)
}

// importer reads rows, and says what became of them.
type importer struct {
	row  int64
	out  *lineWriter
	send io.Writer

	start chan struct{} // closed when rows may be read, or dead
	dead  atomic.Bool   // nobody takes rows any more
	mu    sync.Mutex
	sum   totals
	// failed is why reading ended before the end of the input.
	failed error
}

type totals struct {
	Rows       int64 `json:"rowCount"`
	Subscribed int64 `json:"subscribedCount"`
	Refused    int64 `json:"refusedCount"`
	// NextRow is where to go on after an error.
	NextRow int64 `json:"nextRow"`
}

func (in *importer) answered(m *subscriptionv1.ImportSubscriptionsResponse) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, r := range m.GetResults() {
		in.sum.Rows++
		if r.GetError() != nil {
			in.sum.Refused++
		} else {
			in.sum.Subscribed++
		}
		in.sum.NextRow = r.GetRow() + 1
	}
}

// run sends the rows of a body. A line that can't be read is answered here, and the
// others go on.
func (in *importer) run(start *subscriptionv1.ImportSubscriptionsRequest, body io.Reader, control *http.ResponseController) error {
	in.sum.NextRow = in.row
	if err := writeFrame(in.send, start); err != nil {
		return err
	}
	<-in.start
	from := bufio.NewReaderSize(body, maxLine)
	batch := &subscriptionv1.ImportSubscriptionsRequest{}
	size := 0
	flush := func() error {
		if len(batch.GetRows()) > 0 {
			if err := writeFrame(in.send, batch); err != nil {
				return err
			}
		}
		batch, size = &subscriptionv1.ImportSubscriptionsRequest{}, 0
		return nil
	}
	if in.dead.Load() {
		return nil
	}
	for {
		_ = control.SetReadDeadline(time.Now().Add(lineTimeout))
		if in.dead.Load() {
			return nil
		}
		line, err := readLine(from)
		end := errors.Is(err, io.EOF)
		if err != nil && !end && !errors.Is(err, errLong) {
			in.failed = fmt.Errorf("row %d can't be read: the connection ended or was silent for %s", in.row, lineTimeout)
			return flush()
		}
		number, blank := in.row, err == nil && len(bytes.TrimSpace(line)) == 0
		row := &subscriptionv1.CreateSubscriptionRequest{}
		switch {
		case end && len(bytes.TrimSpace(line)) == 0:
			return flush()
		case blank, errors.Is(err, errLong):
		default:
			err = protojson.Unmarshal(line, row)
		}
		in.row++
		switch {
		case blank || err != nil:
			// It has a number, and no place among the others.
			if failed := flush(); failed != nil {
				return failed
			}
			if !blank {
				in.refuse(number, err)
			}
		default:
			if len(batch.GetRows()) == 0 {
				batch.FirstRow = number
			}
			batch.Rows = append(batch.Rows, row)
			size += len(line)
		}
		if end {
			return flush()
		}
		// What is there is sent: a client may wait for the answer to a row.
		if len(batch.GetRows()) >= maxRows || size >= maxRowsBytes || from.Buffered() == 0 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

func (in *importer) refuse(row int64, err error) {
	in.mu.Lock()
	in.sum.Rows++
	in.sum.Refused++
	in.mu.Unlock()
	_ = in.out.messages([]*subscriptionv1.ImportSubscriptionsResponse_Result{{Row: row, Error: &subscriptionv1.BatchCreateSubscriptionsResponse_Error{
		Code: int32(codes.InvalidArgument), Reason: "INVALID_ROW", Message: err.Error(),
	}}})
}

var errLong = fmt.Errorf("the line is longer than %d bytes", maxLine)

// readLine reads a line without its end. One that is too long is passed over.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		if err == nil || errors.Is(err, io.EOF) {
			err = errLong
		}
		return nil, err
	}
	return line, err
}

func exportLines(grpc http.Handler, w http.ResponseWriter, r *http.Request) {
	req := &subscriptionv1.ExportSubscriptionsRequest{Parent: "tenants/" + r.PathValue("tenant")}
	if err := exportQuery(req, r.URL.Query()); err != nil {
		write(w, problem{Status: http.StatusBadRequest, Code: "INVALID_ARGUMENT", Reason: "INVALID_ARGUMENT", Detail: err.Error()})
		return
	}
	var body bytes.Buffer
	if err := writeFrame(&body, req); err != nil {
		refuse(w, err)
		return
	}
	out := &lineWriter{w: w, control: http.NewResponseController(w)}
	began := false
	err := call(r.Context(), grpc, r, serviceName+"ExportSubscriptions", &body, func(data []byte) error {
		var m subscriptionv1.ExportSubscriptionsResponse
		if err := proto.Unmarshal(data, &m); err != nil {
			return err
		}
		if !began {
			began = true
			out.begin()
		}
		rows := make([]proto.Message, len(m.GetSubscriptions()))
		for i, s := range m.GetSubscriptions() {
			rows[i] = s
		}
		return writeLines(out, rows)
	})
	switch {
	case err != nil && !began:
		refuse(w, err)
	case err != nil:
		out.end(nil, err) // without it an export that breaks off would look whole
	}
}

func exportQuery(req *subscriptionv1.ExportSubscriptionsRequest, q url.Values) error {
	for name, values := range q {
		switch name {
		case "endpoint":
			req.Endpoint = values[0]
		case "after":
			req.After = values[0]
		case "states":
			for _, text := range values {
				state, ok := subscriptionv1.SubscriptionState_value[text]
				if !ok {
					return fmt.Errorf("states: %q is not a known state", text)
				}
				req.States = append(req.States, subscriptionv1.SubscriptionState(state))
			}
		default:
			return fmt.Errorf("%s is not a parameter: there are states, endpoint and after", name)
		}
	}
	return nil
}

// lineWriter writes lines from several goroutines.
type lineWriter struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
}

func (l *lineWriter) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.Header().Set("Content-Type", ndjson)
	l.w.Header().Set("X-Accel-Buffering", "no") // proxies shouldn't gather it
	l.w.WriteHeader(http.StatusOK)
	_ = l.control.Flush()
}

func (l *lineWriter) messages(list []*subscriptionv1.ImportSubscriptionsResponse_Result) error {
	rows := make([]proto.Message, len(list))
	for i, m := range list {
		rows[i] = m
	}
	return writeLines(l, rows)
}

func writeLines(l *lineWriter, rows []proto.Message) error {
	var b bytes.Buffer
	for _, m := range rows {
		line, err := protojson.Marshal(m)
		if err != nil {
			return err
		}
		// protojson adds blanks at random.
		if err := json.Compact(&b, line); err != nil {
			return err
		}
		b.WriteByte('\n')
	}
	return l.write(b.Bytes())
}

func (l *lineWriter) write(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.control.SetWriteDeadline(time.Now().Add(lineTimeout))
	if _, err := l.w.Write(b); err != nil {
		return err
	}
	return l.control.Flush()
}

// end writes the last line: the totals of an import, and what went wrong.
func (l *lineWriter) end(in *importer, err error) {
	last := struct {
		Done bool `json:"done"`
		*totals
		Error *problem `json:"error,omitempty"`
	}{Done: err == nil}
	if in != nil {
		last.totals = &in.sum
	}
	if err != nil {
		p := problemOf(err)
		p.Type, p.Title = "about:blank", http.StatusText(p.Status)
		last.Error = &p
	}
	b, merr := json.Marshal(last)
	if merr == nil {
		_ = l.write(append(b, '\n'))
	}
}

// callError is what a call ended with.
type callError struct{ status *statuspb.Status }

// Error is the message.
func (e *callError) Error() string { return e.status.GetMessage() }

func problemOf(err error) problem {
	p := problem{Status: http.StatusInternalServerError, Detail: "the call ended early", Code: "INTERNAL"}
	if e, ok := errors.AsType[*callError](err); ok {
		p.read(e.status)
		p.Status = httpStatus(codes.Code(e.status.GetCode()))
	} else if err != nil {
		p.Detail = err.Error()
	}
	return p
}

func refuse(w http.ResponseWriter, err error) { write(w, problemOf(err)) }

// httpStatus is as google.rpc.Code says.
func httpStatus(c codes.Code) int {
	if s, ok := statuses[c]; ok {
		return s
	}
	return http.StatusInternalServerError
}

//nolint:gochecknoglobals // a table
var statuses = map[codes.Code]int{
	codes.InvalidArgument: http.StatusBadRequest, codes.FailedPrecondition: http.StatusBadRequest, codes.OutOfRange: http.StatusBadRequest,
	codes.Unauthenticated: http.StatusUnauthorized, codes.PermissionDenied: http.StatusForbidden, codes.NotFound: http.StatusNotFound,
	codes.Aborted: http.StatusConflict, codes.AlreadyExists: http.StatusConflict, codes.ResourceExhausted: http.StatusTooManyRequests,
	codes.Unimplemented: http.StatusNotImplemented, codes.Unavailable: http.StatusServiceUnavailable, codes.DeadlineExceeded: http.StatusGatewayTimeout,
}

const frameHead = 5 // a byte for compression, four for the length

func writeFrame(w io.Writer, m proto.Message) error {
	data, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	frame := make([]byte, frameHead, frameHead+len(data))
	binary.BigEndian.PutUint32(frame[1:], uint32(len(data)))
	_, err = w.Write(append(frame, data...))
	return err
}

// call makes a call of the gRPC server, as if it had come from whoever made the
// HTTP request. Each message of the answer goes to receive; an error of it ends the
// call.
func call(ctx context.Context, grpc http.Handler, from *http.Request, method string, body io.Reader, receive func([]byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, method, body)
	if err != nil {
		return err
	}
	req.Proto, req.ProtoMajor, req.ProtoMinor = "HTTP/2.0", 2, 0 //nolint:mnd // gRPC asks for it
	req.Host, req.RemoteAddr, req.TLS = from.Host, from.RemoteAddr, from.TLS
	for _, name := range []string{"Authorization", "X-Api-Key", "X-Request-Id", "Traceparent", "Tracestate", "User-Agent"} {
		if v := from.Header.Values(name); len(v) > 0 {
			req.Header[name] = v
		}
	}
	req.Header.Set("Content-Type", "application/grpc+proto")
	req.Header.Set("Te", "trailers")
	out := &frameReader{header: http.Header{}, receive: receive, fail: cancel}
	grpc.ServeHTTP(out, req)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return out.result()
}

// frameReader is the answer of a gRPC call, message by message.
type frameReader struct {
	header  http.Header
	rest    []byte
	receive func([]byte) error
	fail    context.CancelCauseFunc
}

// Header is of the answer, its trailers included.
func (f *frameReader) Header() http.Header { return f.header }

// WriteHeader has nothing to do: the status is in a trailer.
func (f *frameReader) WriteHeader(int) {}

// Flush has nothing to do.
func (f *frameReader) Flush() {}

// Write takes a part of the answer.
func (f *frameReader) Write(p []byte) (int, error) {
	f.rest = append(f.rest, p...)
	for len(f.rest) >= frameHead {
		end := frameHead + int(binary.BigEndian.Uint32(f.rest[1:frameHead]))
		if len(f.rest) < end {
			break
		}
		if err := f.receive(f.rest[frameHead:end]); err != nil {
			f.fail(err)
			return 0, err
		}
		f.rest = append(f.rest[:0], f.rest[end:]...)
	}
	return len(p), nil
}

func (f *frameReader) trailer(name string) string {
	if v := f.header.Get(http.TrailerPrefix + name); v != "" {
		return v
	}
	return f.header.Get(name)
}

func (f *frameReader) result() error {
	code, err := strconv.Atoi(f.trailer("Grpc-Status"))
	if err != nil {
		return errors.New("the call ended without a status")
	}
	if code == int(codes.OK) {
		return nil
	}
	st := &statuspb.Status{}
	if details, err := base64.RawStdEncoding.DecodeString(f.trailer("Grpc-Status-Details-Bin")); err == nil {
		_ = proto.Unmarshal(details, st)
	}
	st.Code = int32(code) //nolint:gosec // a gRPC code
	if st.GetMessage() == "" {
		st.Message, _ = url.PathUnescape(f.trailer("Grpc-Message"))
	}
	return &callError{st}
}
