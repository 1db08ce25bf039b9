package app

import "context"

// startNormalizer starts the service that makes canonical traces of what was taken in.
func startNormalizer(context.Context, *Env) (func(context.Context) error, error) {
	return nil, nil
}
