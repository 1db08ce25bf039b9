package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"google.golang.org/protobuf/encoding/protojson"

	recognitionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/recognition/v1"
	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/query"
)

// recognizeCmd tells which carriers numbers may belong to: by their forms and
// check digits alone, or with what a running Posthaste has learned.
type recognizeCmd struct {
	reachFlags `embed:""`

	Usual   []string `env:"-" placeholder:"CARRIER" help:"Carriers that are usually shipped with, separated by commas; they are likelier."`
	Server  string   `env:"-" placeholder:"HOST:PORT" help:"Ask the gRPC server of a running Posthaste, which has learned from what carriers answered."`
	Numbers []string `arg:"" name:"number" help:"A waybill number as typed. One with blanks needs quotes."`
}

// Run is called by kong.
func (c *recognizeCmd) Run() error {
	recognitions, err := c.recognize()
	if err != nil {
		return err
	}
	if c.inJSON() {
		return printJSON(os.Stdout, recognitions)
	}
	unknown := 0
	for i, r := range recognitions {
		if i > 0 {
			fmt.Println()
		}
		if err := printRecognition(os.Stdout, r); err != nil {
			return err
		}
		if len(r.GetCandidates()) == 0 {
			unknown++
		}
	}
	if unknown > 0 {
		return fmt.Errorf("%d of %d numbers are of no known form", unknown, len(recognitions))
	}
	return nil
}

func (c *recognizeCmd) recognize() ([]*recognitionv1.Recognition, error) {
	if c.Server != "" {
		return c.ask()
	}
	var hints recognize.Hints
	for _, code := range c.Usual {
		carrier, err := track.NormalCarrier(code)
		if err != nil {
			return nil, fmt.Errorf("--usual: %s: %w", code, err)
		}
		hints.Usual = append(hints.Usual, carrier)
	}
	var all []*recognitionv1.Recognition
	for _, n := range c.Numbers {
		all = append(all, query.Recognition(n, hints))
	}
	return all, nil
}

func (c *recognizeCmd) ask() (all []*recognitionv1.Recognition, err error) {
	err = c.callAt(c.Server, func(ctx context.Context, cl *client.Client) error {
		resp, err := recognitionv1.NewRecognitionServiceClient(cl.Conn()).Recognize(ctx, &recognitionv1.RecognizeRequest{Numbers: c.Numbers, UsualCarrierCodes: c.Usual})
		all = resp.GetRecognitions()
		return err
	})
	return all, err
}

func printJSON(w io.Writer, recognitions []*recognitionv1.Recognition) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	for _, r := range recognitions {
		text, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(r)
		if err != nil {
			return fmt.Errorf("write a recognition: %w", err)
		}
		if err := out.Encode(json.RawMessage(text)); err != nil { // compact, whatever protojson does
			return fmt.Errorf("write a recognition: %w", err)
		}
	}
	return nil
}

func printRecognition(w io.Writer, r *recognitionv1.Recognition) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, r.GetNumber())
	for _, c := range r.GetCandidates() {
		why := strings.Join(c.GetReasons(), "; ")
		if len(c.GetNeeds()) > 0 {
			why += " (the carrier asks for: " + strings.Join(c.GetNeeds(), ", ") + ")"
		}
		_, _ = fmt.Fprintf(t, "  %s\t%d %%\t%s\n", c.GetCarrierCode(), c.GetConfidence(), why)
	}
	for _, no := range r.GetRejections() {
		_, _ = fmt.Fprintf(t, "  not %s\t\t%s\n", no.GetCarrierCode(), no.GetReason())
	}
	if len(r.GetCandidates()) == 0 {
		_, _ = fmt.Fprintln(t, "  no form is known that fits")
	}
	return t.Flush()
}
