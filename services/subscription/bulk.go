package subscription

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

const (
	maxImportID = 40
	exportPage  = 1000
)

// ImportSubscriptions subscribes waybills message by message: each is stored, in
// one transaction, before it is answered and before the next is read. So memory is
// bounded, and who sends too fast is slowed.
func (s *Subscriptions) ImportSubscriptions(stream grpc.BidiStreamingServer[subscriptionv1.ImportSubscriptionsRequest, subscriptionv1.ImportSubscriptionsResponse]) error {
	ctx := stream.Context()
	var in subscriptionImport
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		first := in.tenant == ""
		if err := in.take(req); err != nil {
			return err
		}
		if first {
			if err := stream.Send(&subscriptionv1.ImportSubscriptionsResponse{}); err != nil {
				return err
			}
		}
		if len(req.GetRows()) == 0 {
			continue
		}
		resp, err := s.importRows(ctx, &in, req.GetRows())
		if err != nil {
			return err
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

// subscriptionImport is how far one call has come.
type subscriptionImport struct {
	tenant, parent, id         string
	row                        int64 // of the next
	count, subscribed, refused int64
}

// take checks what a message says of the import.
func (in *subscriptionImport) take(req *subscriptionv1.ImportSubscriptionsRequest) (err error) {
	var v violations
	if in.tenant == "" {
		if in.tenant, err = parentTenant(req.GetParent()); err != nil {
			return err
		}
		in.parent, in.id, in.row = req.GetParent(), req.GetImportId(), 1
		if n := utf8.RuneCountInString(in.id); n == 0 || n > maxImportID {
			v.add("import_id", fmt.Sprintf("must have 1 to %d characters", maxImportID))
		}
		v.checkText("import_id", in.id, maxImportID, "")
	}
	if p := req.GetParent(); p != "" && p != in.parent {
		v.add("parent", "must be the first message's or empty")
	}
	if id := req.GetImportId(); id != "" && id != in.id {
		v.add("import_id", "must be the first message's or empty")
	}
	if n := len(req.GetRows()); n > maxCreate {
		v.add("rows", fmt.Sprintf("must be at most %d, and there are %d", maxCreate, n))
	}
	switch first := req.GetFirstRow(); {
	case first < 0:
		v.add("first_row", "must be 1 or more, or 0 for those that follow")
	case first > 0:
		in.row = first
	}
	return v.result()
}

func (s *Subscriptions) importRows(ctx context.Context, in *subscriptionImport, rows []*subscriptionv1.CreateSubscriptionRequest) (*subscriptionv1.ImportSubscriptionsResponse, error) {
	for i, r := range rows {
		if r.GetRequestId() == "" {
			r, _ = proto.Clone(r).(*subscriptionv1.CreateSubscriptionRequest)
			r.RequestId = in.id + "/" + strconv.FormatInt(in.row+int64(i), 10)
			rows[i] = r
		}
	}
	results, err := s.createAll(ctx, in.tenant, in.parent, rows)
	if err != nil {
		return nil, err
	}
	resp := &subscriptionv1.ImportSubscriptionsResponse{Results: make([]*subscriptionv1.ImportSubscriptionsResponse_Result, len(rows))}
	for i, r := range results {
		one := &subscriptionv1.ImportSubscriptionsResponse_Result{Row: in.row + int64(i)}
		if r.err != nil {
			one.Error = refused(r.err).GetError()
			in.refused++
		} else {
			in.subscribed++
		}
		if r.sub.ID != "" {
			one.Name = rpc.SubscriptionName(in.tenant, r.sub.ID)
		}
		resp.Results[i] = one
	}
	in.row += int64(len(rows))
	in.count += int64(len(rows))
	resp.RowCount, resp.SubscribedCount, resp.RefusedCount = in.count, in.subscribed, in.refused
	return resp, nil
}

// creationResult is what became of one request: a subscription, an error, or, for
// one that stands in its way, both.
type creationResult struct {
	sub pg.Subscription
	err error
}

// createAll carries requests out that are of one call, each with a result of its
// own; an error means that none was.
func (s *Subscriptions) createAll(ctx context.Context, tenant, parent string, requests []*subscriptionv1.CreateSubscriptionRequest) ([]creationResult, error) {
	recognized, err := s.cfg.recognize(ctx, requests...)
	if err != nil {
		return nil, err
	}
	now := s.cfg.now()
	results := make([]creationResult, len(requests))
	news := make([]pg.NewSubscription, 0, len(requests))
	places := make([]int, 0, len(requests))
	for i, r := range requests {
		if p := r.GetParent(); p != "" && p != parent {
			results[i].err = rpc.Invalid("parent", "must be the batch's or empty")
			continue
		}
		n, err := newSubscription(tenant, r, recognized, now)
		if err != nil {
			results[i].err = err
			continue
		}
		news, places = append(news, n), append(places, i)
	}
	if len(news) == 0 {
		return results, nil
	}
	made, err := s.cfg.Subscriptions.Create(ctx, tenant, news)
	if err != nil {
		return nil, s.fail(ctx, "", err)
	}
	for i := range made {
		r := &results[places[i]]
		r.sub = made[i].Subscription
		if made[i].Err != nil {
			r.err = refusal(tenant, news[i].EndpointID, &made[i])
		}
	}
	return results, nil
}

// ExportSubscriptions returns all of them, page by page: each is read when the one
// before has been sent.
func (s *Subscriptions) ExportSubscriptions(req *subscriptionv1.ExportSubscriptionsRequest, stream grpc.ServerStreamingServer[subscriptionv1.ExportSubscriptionsResponse]) error {
	ctx := stream.Context()
	tenant, err := parentTenant(req.GetParent())
	if err != nil {
		return err
	}
	f, err := subscriptionFilter(tenant, &subscriptionv1.ListSubscriptionsRequest{States: req.GetStates(), Endpoint: req.GetEndpoint()})
	if err != nil {
		return err
	}
	if name := req.GetAfter(); name != "" {
		owner, id, err := rpc.ParseSubscriptionName(name)
		switch {
		case err != nil:
			return rpc.Invalid("after", err.Error())
		case owner != tenant:
			return rpc.Invalid("after", "must be of the same tenant")
		}
		f.Before = id
	}
	for {
		list, err := s.cfg.Subscriptions.List(ctx, tenant, f, exportPage)
		if err != nil {
			return s.fail(ctx, "", err)
		}
		resp := &subscriptionv1.ExportSubscriptionsResponse{Subscriptions: make([]*subscriptionv1.Subscription, len(list))}
		for i := range list {
			resp.Subscriptions[i] = shownSubscription(&list[i])
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
		if len(list) < exportPage {
			return nil
		}
		f.Before = list[len(list)-1].ID
	}
}
