package app

import "context"

// startSubscription starts the service that manages subscriptions and matches changes to them.
func startSubscription(context.Context, *Env) (func(context.Context) error, error) {
	return nil, nil
}
