package app

import "context"

// startIngest starts the service that takes in what sources report, over HTTP and gRPC.
func startIngest(context.Context, *Env) (func(context.Context) error, error) {
	return nil, nil
}
