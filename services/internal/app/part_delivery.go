package app

import "context"

// startDelivery starts the service that pushes until acknowledged.
func startDelivery(context.Context, *Env) (func(context.Context) error, error) {
	return nil, nil
}
