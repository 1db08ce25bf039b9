package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/services/internal/app"
)

// connectFlags say how commands reach a running Posthaste, and how they answer.
type connectFlags struct {
	reachFlags `embed:""`

	Server string `default:"127.0.0.1:9090" placeholder:"HOST:PORT" help:"Address of the gRPC server. This machine is called in the clear unless --ca or --tls is given, others by TLS."`
}

// reachFlags are those but for the address.
type reachFlags struct {
	APIKey      app.Secret    `name:"api-key" help:"API key. Better in the variable or in a file: others see command lines."`
	APIKeyFile  string        `name:"api-key-file" type:"path" help:"File that holds the API key, such as .data/admin.key."`
	CA          string        `name:"ca" type:"path" help:"File of the authorities to trust, in PEM. Empty trusts the system's."`
	TLS         bool          `name:"tls" env:"POSTHASTE_SERVER_TLS" help:"Call this machine by TLS too."`
	Plaintext   bool          `help:"Call another machine in the clear, with the key: for a mesh that encrypts by itself."`
	CallTimeout time.Duration `default:"30s" help:"Longest wait for an answer."`
	Output      string        `short:"o" enum:"table,json" default:"table" help:"Form of the answer: table, or json, a line for each thing with the API's field names."`
	JSON        bool          `name:"json" env:"-" help:"Short for --output=json."`
}

// inJSON says in which form to answer.
func (f *reachFlags) inJSON() bool { return f.JSON || f.Output == "json" }

// dial makes a client of a server. Close it.
func (f *reachFlags) dial(server string, opts ...client.Option) (*client.Client, error) {
	here := f.CA == "" && !f.TLS && onThisMachine(server)
	switch {
	case here, f.Plaintext:
		opts = append(opts, client.WithoutTLS())
	case f.CA != "":
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("read --ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca %s holds no certificate", f.CA)
		}
		opts = append(opts, client.WithTLS(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}))
	}
	if f.Plaintext {
		opts = append(opts, client.WithKeyInTheClear())
	}
	switch {
	case f.APIKey != "":
		opts = append(opts, client.WithKey(f.APIKey.Reveal()))
	case f.APIKeyFile != "":
		opts = append(opts, client.WithKeyFile(f.APIKeyFile))
	}
	opts = append(opts, client.WithCallTimeout(f.CallTimeout))
	return client.Dial("dns:///"+server, opts...)
}

func onThisMachine(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "localhost" {
		return host == "localhost"
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// call dials, calls until that is done or a signal comes, hangs up, and says what
// went wrong in the server's words.
func (f *connectFlags) call(do func(ctx context.Context, c *client.Client) error) (err error) {
	return f.callAt(f.Server, do)
}

func (f *reachFlags) callAt(server string, do func(ctx context.Context, c *client.Client) error) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := f.dial(server)
	if err != nil {
		return fmt.Errorf("--server %s: %w", server, err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	err = do(ctx, c)
	if st, ok := status.FromError(err); ok && err != nil {
		return fmt.Errorf("%s: %s (%s)", server, st.Message(), st.Code())
	}
	return err
}

// table is rows below a heading.
type table struct {
	heading []string
	rows    [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes an answer in the form that is wanted.
func (f *connectFlags) print(answer proto.Message, t table) error {
	if f.inJSON() {
		return printMessage(os.Stdout, answer)
	}
	return t.write(os.Stdout)
}

func (t *table) write(out io.Writer) error {
	const gap = 2
	w := tabwriter.NewWriter(out, 0, 0, gap, ' ', 0)
	for _, row := range append([][]string{t.heading}, t.rows...) {
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}
