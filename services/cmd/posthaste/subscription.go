package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// subscriptionCmd holds the commands about who wants to hear of which waybill.
type subscriptionCmd struct {
	List   subscriptionListCmd   `cmd:"" help:"List subscriptions, newest first."`
	Get    subscriptionGetCmd    `cmd:"" help:"Show a subscription."`
	Create subscriptionCreateCmd `cmd:"" help:"Subscribe a waybill."`
	Cancel subscriptionCancelCmd `cmd:"" help:"End a subscription for good."`

	Import subscriptionImportCmd `cmd:"" help:"Subscribe many waybills, from rows of JSON."`
	Export subscriptionExportCmd `cmd:"" help:"Print all subscriptions, a line of JSON each."`
}

type subscriptionListCmd struct {
	remote `embed:""`

	Endpoint string `env:"-" help:"Only those of this endpoint."`
	Waybill  string `env:"-" placeholder:"CARRIER/NUMBER" help:"Only those to this waybill."`
	State    string `env:"-" enum:",active,paused,completed,cancelled,expired" default:"" help:"Only those in this state: active, paused, completed, cancelled or expired."`
	Limit    int    `env:"-" default:"100" help:"At most this many; 0 for all."`
}

// Run is called by kong.
func (c *subscriptionListCmd) Run() error {
	req := &subscriptionv1.ListSubscriptionsRequest{Parent: c.parent(), Endpoint: c.endpoint(c.Endpoint)}
	name, err := waybillName(c.Waybill)
	if err != nil {
		return err
	}
	if name != "" {
		if req.CarrierCode, req.WaybillNumber, err = rpc.ParseWaybillName(name); err != nil {
			return err
		}
	}
	if c.State != "" {
		state := subscriptionv1.SubscriptionState_value["SUBSCRIPTION_STATE_"+strings.ToUpper(c.State)]
		req.States = []subscriptionv1.SubscriptionState{subscriptionv1.SubscriptionState(state)}
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		l := conn.list("SUBSCRIPTION", "STATE", "WAYBILL", "ENDPOINT", "PUSHED", "ACKNOWLEDGED")
		return l.end(all(c.Limit, func(token string) ([]*subscriptionv1.Subscription, string, error) {
			req.PageToken = token
			resp, err := conn.subscriptions.ListSubscriptions(ctx, req)
			return resp.GetSubscriptions(), resp.GetNextPageToken(), err
		}, func(s *subscriptionv1.Subscription) error {
			return l.add(s, lastPart(s.GetName()), subscriptionState(s), s.GetCarrierCode()+"/"+s.GetWaybillNumber(), lastPart(s.GetEndpoint()),
				number(s.GetPushedRevision()), number(s.GetAcknowledgedRevision()))
		}))
	})
}

func subscriptionState(s *subscriptionv1.Subscription) string {
	return word(s.GetState().String(), "SUBSCRIPTION_STATE_")
}

func (c *connection) showSubscription(s *subscriptionv1.Subscription) error {
	var metadata []string
	for _, k := range slices.Sorted(maps.Keys(s.GetMetadata())) {
		metadata = append(metadata, k+"="+s.GetMetadata()[k])
	}
	return c.show(s,
		"subscription", lastPart(s.GetName()), "state", subscriptionState(s), "waybill", s.GetCarrierCode()+"/"+s.GetWaybillNumber(),
		"endpoint", lastPart(s.GetEndpoint()), "metadata", strings.Join(metadata, " "), "pushed", number(s.GetPushedRevision()),
		"acknowledged", number(s.GetAcknowledgedRevision()), "tail", long(s.GetTail()), "created", when(s.GetCreateTime()),
		"expires", when(s.GetExpireTime()), "completes", when(s.GetCompleteTime()))
}

// oneSubscription names a subscription.
type oneSubscription struct {
	remote `embed:""`

	Subscription string `arg:"" help:"Its id, such as sub_018f3c5e7b2a7c3d, or name."`
}

type subscriptionGetCmd struct {
	oneSubscription `embed:""`
}

// Run is called by kong.
func (c *subscriptionGetCmd) Run() error {
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.subscriptions.GetSubscription(ctx, &subscriptionv1.GetSubscriptionRequest{Name: c.subscription(c.Subscription)})
		if err != nil {
			return err
		}
		return conn.showSubscription(resp.GetSubscription())
	})
}

type subscriptionCreateCmd struct {
	remote `embed:""`

	Endpoint  string            `arg:"" help:"Where to push to: an endpoint's id or name."`
	Waybills  []string          `arg:"" name:"waybill" help:"CARRIER/NUMBER, such as sf-express/SF1234567890123."`
	Metadata  map[string]string `env:"-" placeholder:"KEY=VALUE" help:"Your own data, in every push."`
	Tail      time.Duration     `env:"-" default:"0s" help:"How long after the journey's end changes are still pushed; 0s means 72h."`
	RequestID string            `name:"request-id" env:"-" help:"Makes a repeat give the first answer. For one waybill."`
}

// Run is called by kong.
func (c *subscriptionCreateCmd) Run() error {
	batch := &subscriptionv1.BatchCreateSubscriptionsRequest{Parent: c.parent()}
	if c.RequestID != "" && len(c.Waybills) > 1 {
		return errors.New("--request-id is for one waybill")
	}
	for _, text := range c.Waybills {
		name, err := waybillName(text)
		if err != nil {
			return err
		}
		s := &subscriptionv1.Subscription{Endpoint: c.endpoint(c.Endpoint), Metadata: c.Metadata}
		if s.CarrierCode, s.WaybillNumber, err = rpc.ParseWaybillName(name); err != nil {
			return err
		}
		if c.Tail != 0 {
			s.Tail = durationpb.New(c.Tail)
		}
		batch.Requests = append(batch.Requests, &subscriptionv1.CreateSubscriptionRequest{Subscription: s, RequestId: c.RequestID})
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.subscriptions.BatchCreateSubscriptions(ctx, batch)
		if err != nil {
			return err
		}
		l := conn.list("SUBSCRIPTION", "WAYBILL")
		var refused []error
		for i, r := range resp.GetResults() {
			if e := r.GetError(); e != nil {
				refused = append(refused, fmt.Errorf("%s: %s", c.Waybills[i], e.GetMessage()))
				continue
			}
			s := r.GetSubscription()
			if err := l.add(s, lastPart(s.GetName()), s.GetCarrierCode()+"/"+s.GetWaybillNumber()); err != nil {
				return err
			}
		}
		return l.end(errors.Join(refused...))
	})
}

type subscriptionCancelCmd struct {
	oneSubscription `embed:""`
}

// Run is called by kong.
func (c *subscriptionCancelCmd) Run() error {
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.subscriptions.CancelSubscription(ctx, &subscriptionv1.CancelSubscriptionRequest{Name: c.subscription(c.Subscription)})
		if err != nil {
			return err
		}
		return conn.showSubscription(resp.GetSubscription())
	})
}
