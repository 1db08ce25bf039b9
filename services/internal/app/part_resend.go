package app

import (
	"context"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/resend"
)

// startResend starts the service that shows what is parked and sends it again.
func startResend(_ context.Context, env *Env) (func(context.Context) error, error) {
	s := resend.New(resend.Config{Store: pg.NewResending(env.PG), Log: env.Log, Now: env.now})
	deliveryv1.RegisterPushServiceServer(env.GRPC, s)
	return env.run("resend", s.Run), nil
}
