package main

import (
	"context"
	"errors"
	"time"

	privacyv1 "github.com/posthaste/posthaste/pkg/api/posthaste/privacy/v1"
	"github.com/posthaste/posthaste/services/internal/pause"
)

type waybillEraseCmd struct {
	remote `embed:""`

	Waybill string        `arg:"" help:"CARRIER/NUMBER, such as sf-express/SF1234567890123."`
	Wait    time.Duration `env:"-" default:"0s" help:"Wait until it is done, at most so long. Without it the erasing goes on in the background."`
}

// Help is shown by kong.
func (*waybillEraseCmd) Help() string {
	return "Texts of the trace, names, phone numbers, pictures, answers of endpoints and bodies of pushes are erased; where the parcel was and when stays. " +
		"Subscriptions get a push of the revision that erased, so that receivers can do the same. Raw traces leave their stream by age, at the time that is shown."
}

// Run is called by kong.
func (c *waybillEraseCmd) Run() error {
	name, err := waybillName(c.Waybill)
	if err != nil {
		return err
	}
	if name == "" {
		return errors.New("name a waybill: CARRIER/NUMBER")
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.erasures.EraseWaybill(ctx, &privacyv1.EraseWaybillRequest{Name: name})
		if err != nil {
			return err
		}
		e := resp.GetErasure()
		for until := time.Now().Add(c.Wait); e.GetState() == privacyv1.ErasureState_ERASURE_STATE_RUNNING && time.Now().Before(until); {
			if err := pause.For(ctx, time.Second); err != nil {
				return err
			}
			resp, err := conn.erasures.GetErasure(ctx, &privacyv1.GetErasureRequest{Name: e.GetName()})
			if err != nil {
				return err
			}
			e = resp.GetErasure()
		}
		return conn.show(e, "erasure", c.Waybill, "state", word(e.GetState().String(), "ERASURE_STATE_"), "asked", when(e.GetRequestTime()),
			"done", when(e.GetDoneTime()), "raw gone by", when(e.GetRawGoneTime()))
	})
}
