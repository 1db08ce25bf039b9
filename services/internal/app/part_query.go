package app

import "context"

// startQuery starts the service that answers what is known of waybills, pushes and attempts.
func startQuery(context.Context, *Env) (func(context.Context) error, error) {
	return nil, nil
}
