package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
)

type subscriptionImportCmd struct {
	remote `embed:""`

	File     string `arg:"" help:"A file of rows, or - for standard input. A row is a line of JSON: {\"subscription\": {\"endpoint\": …, \"carrierCode\": …, \"waybillNumber\": …}}."`
	ImportID string `name:"import-id" env:"-" help:"Names the import: a repeat under the same name makes nothing twice. Required unless FILE has a name to take it from."`
	FirstRow int64  `name:"first-row" env:"-" default:"1" help:"Begin with this row, to go on with an import that broke off."`
}

// rowsAtOnce are sent in one message, and unanswered at most four of them.
const (
	rowsAtOnce  = 1000
	bytesAtOnce = 1 << 20
	maxRowBytes = 64 << 10
)

// Run is called by kong.
func (c *subscriptionImportCmd) Run() error {
	var in io.Reader = os.Stdin
	size := int64(-1)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("read the rows: %w", err)
		}
		defer func() { _ = f.Close() }()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		in = f
		if c.ImportID == "" {
			c.ImportID = importName(c.File)
		}
	}
	if c.ImportID == "" {
		return errors.New("--import-id is required for rows from standard input: without it a repeat would subscribe anew")
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		bar := progressbar.NewOptions64(size, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionShowBytes(size >= 0), progressbar.OptionSetDescription("rows read"),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetVisibility(terminal(os.Stderr)))
		defer func() { _ = bar.Finish() }()
		return c.run(ctx, conn, io.TeeReader(in, bar))
	})
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// importName is a file's name as the name of an import.
func importName(file string) string {
	const most = 40
	name := []rune(file[strings.LastIndexByte(file, os.PathSeparator)+1:])
	return string(name[:min(len(name), most)])
}

func (c *subscriptionImportCmd) run(ctx context.Context, conn *connection, in io.Reader) error {
	group, ctx := errgroup.WithContext(ctx)
	stream, err := conn.subscriptions.ImportSubscriptions(ctx)
	if err != nil {
		return err
	}
	var bad int64 // rows that are no JSON
	group.Go(func() error {
		err := c.send(stream.Send, in, func(row int64, err error) error {
			bad++
			return c.refuse(conn.out, row, err.Error())
		})
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return stream.CloseSend() // when it is io.EOF, receiving tells why
	})
	var last *subscriptionv1.ImportSubscriptionsResponse
	next := c.FirstRow
	group.Go(func() error {
		for {
			resp, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			last = resp
			for _, r := range resp.GetResults() {
				next = r.GetRow() + 1
				if err := c.result(conn.out, r); err != nil {
					return err
				}
			}
		}
	})
	err = group.Wait()
	fmt.Fprintf(os.Stderr, "%d rows: %d subscribed, %d refused\n", last.GetRowCount()+bad, last.GetSubscribedCount(), last.GetRefusedCount()+bad)
	if err != nil {
		fmt.Fprintf(os.Stderr, "It broke off. Go on with --import-id %q --first-row %d on the same file.\n", c.ImportID, next)
		return err
	}
	if n := last.GetRefusedCount() + bad; n > 0 {
		return fmt.Errorf("%d rows were refused", n)
	}
	return nil
}

// result prints what became of a row: all as JSON, else what was refused.
func (c *subscriptionImportCmd) result(out io.Writer, r *subscriptionv1.ImportSubscriptionsResponse_Result) error {
	switch {
	case c.JSON:
		return printMessage(out, r)
	case r.GetError() != nil:
		message := r.GetError().GetMessage()
		if f := r.GetError().GetField(); f != "" {
			message = f + ": " + message
		}
		_, err := fmt.Fprintf(out, "row %d: %s\n", r.GetRow(), message)
		return err
	}
	return nil
}

func (c *subscriptionImportCmd) refuse(out io.Writer, row int64, message string) error {
	return c.result(out, &subscriptionv1.ImportSubscriptionsResponse_Result{Row: row, Error: &subscriptionv1.BatchCreateSubscriptionsResponse_Error{Reason: "INVALID_ROW", Message: message}})
}

// send reads rows and sends them. Numbers are those of lines.
func (c *subscriptionImportCmd) send(send func(*subscriptionv1.ImportSubscriptionsRequest) error, in io.Reader, refuse func(int64, error) error) error {
	batch := &subscriptionv1.ImportSubscriptionsRequest{Parent: c.parent(), ImportId: c.ImportID}
	size := 0
	flush := func() error {
		if len(batch.GetRows()) == 0 && batch.GetParent() == "" {
			return nil
		}
		err := send(batch)
		batch, size = &subscriptionv1.ImportSubscriptionsRequest{}, 0
		return err
	}
	rows := bufio.NewScanner(in)
	rows.Buffer(nil, maxRowBytes)
	for number := int64(1); rows.Scan(); number++ {
		line := bytes.TrimSpace(rows.Bytes())
		if number < c.FirstRow {
			continue
		}
		row := &subscriptionv1.CreateSubscriptionRequest{}
		err := protojson.Unmarshal(line, row)
		if len(line) == 0 || err != nil {
			if err := flush(); err != nil {
				return err
			}
			if len(line) > 0 {
				if err := refuse(number, err); err != nil {
					return err
				}
			}
			continue
		}
		if s := row.GetSubscription(); s != nil {
			s.Endpoint = c.endpoint(s.GetEndpoint())
		}
		if len(batch.GetRows()) == 0 {
			batch.FirstRow = number
		}
		batch.Rows = append(batch.Rows, row)
		if size += len(line); len(batch.GetRows()) == rowsAtOnce || size > bytesAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the rows, which have at most %d bytes: %w", maxRowBytes, err)
	}
	return flush()
}

type subscriptionExportCmd struct {
	remote `embed:""`

	Endpoint string `env:"-" help:"Only those of this endpoint."`
	State    string `env:"-" enum:",active,paused,completed,cancelled,expired" default:"" help:"Only those in this state: active, paused, completed, cancelled or expired."`
	After    string `env:"-" help:"Only those that come after this one: to go on with an export that broke off."`
}

// Run is called by kong. It prints a line of JSON for each, whatever --json says.
func (c *subscriptionExportCmd) Run() error {
	req := &subscriptionv1.ExportSubscriptionsRequest{Parent: c.parent(), Endpoint: c.endpoint(c.Endpoint), After: c.subscription(c.After)}
	if c.State != "" {
		req.States = []subscriptionv1.SubscriptionState{subscriptionv1.SubscriptionState(subscriptionv1.SubscriptionState_value["SUBSCRIPTION_STATE_"+strings.ToUpper(c.State)])}
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		stream, err := conn.subscriptions.ExportSubscriptions(ctx, req)
		if err != nil {
			return err
		}
		bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("subscriptions"),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetVisibility(terminal(os.Stderr) && !terminal(os.Stdout)))
		defer func() { _ = bar.Finish() }()
		out := bufio.NewWriter(conn.out)
		for {
			resp, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return out.Flush()
			}
			if err != nil {
				return errors.Join(out.Flush(), err)
			}
			for _, s := range resp.GetSubscriptions() {
				if err := printMessage(out, s); err != nil {
					return err
				}
			}
			_ = bar.Add(len(resp.GetSubscriptions()))
		}
	})
}
