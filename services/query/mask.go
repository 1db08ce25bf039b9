package query

import (
	"context"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/privacy"
)

// shown is a trace as the caller may see it: for tenants that may not have it,
// personal data is hidden as it is in their pushes. It changes u, which is nobody
// else's.
func (w *Waybills) shown(ctx context.Context, u *trackingv1.TraceUpdate) *trackingv1.TraceUpdate {
	if u == nil || w.cfg.Mask == nil || !w.cfg.Mask(auth.CallOf(ctx).Principal.Tenant) {
		return u
	}
	number := u.GetWaybill().GetWaybillNumber()
	if wb := u.GetWaybill(); wb.GetSigner() != "" {
		wb.Signer = privacy.Name(wb.GetSigner())
	}
	for _, e := range u.GetEvents() {
		e.Text, e.Signer, e.ProofUrls = privacy.Mask(e.GetText(), number), privacy.Name(e.GetSigner()), nil
		if c := e.GetCourier(); c != nil {
			c.Name, c.Phone = privacy.Name(c.GetName()), privacy.Phone(c.GetPhone())
		}
		for _, l := range []*trackingv1.Location{e.GetLocation(), e.GetNextLocation()} {
			if l != nil {
				l.Text = privacy.Mask(l.GetText(), number)
			}
		}
		for k, v := range e.GetAttributes() {
			e.Attributes[k] = privacy.Mask(v, number)
		}
	}
	return u
}
