package app

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/posthaste/posthaste/pkg/subject"
)

// eachShard runs a part's work for every shard and returns what ends them all.
func (e *Env) eachShard(part string, start func(shard int, slots []subject.Slot) (work func(context.Context) error, release func(), err error)) (func(context.Context) error, error) {
	shards := max(e.Config.Work.Shards, 1)
	var stops []func(context.Context) error
	stop := func(ctx context.Context) error {
		errs := make([]error, len(stops))
		for i, s := range slices.Backward(stops) {
			errs[i] = s(ctx)
		}
		return errors.Join(errs...)
	}
	for shard := range shards {
		work, release, err := start(shard, subject.ShardSlots(shard, shards))
		if err != nil {
			return stop, err
		}
		end := e.run(part+"-"+strconv.Itoa(shard), work)
		stops = append(stops, func(ctx context.Context) error {
			err := end(ctx)
			release()
			return err
		})
	}
	return stop, nil
}

// bundle lets messages for one shard go together.
func (e *Env) bundle(of string) string { return subject.Bundle(of, max(e.Config.Work.Shards, 1)) }
