package inbox_test

import (
	"context"
	"fmt"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/pkg/webhook/inbox"
)

// A receiver that acts once on each event. The third push shows that revisions 2
// to 4 never came: they are asked for, and come with a push that continues.
func ExampleMemory() {
	in := inbox.NewMemory(inbox.MemoryOptions{
		// client.Client.Replay in a real receiver.
		Ask: func(_ context.Context, subscription string, after uint64) error {
			fmt.Println("ask for", subscription, "after", after)
			return nil
		},
	})
	handle := func(ctx context.Context, p payload.Push) error {
		link, err := in.Take(ctx, p, func(_ context.Context, _ payload.Push, news []payload.Event) error {
			for _, e := range news {
				fmt.Println("  notify:", e.ID)
			}
			return nil
		})
		fmt.Println(p.PushID, link)
		return err
	}
	_ = webhook.Handler(&webhook.Verifier{}, handle) // with a secret in a real receiver

	for _, p := range []payload.Push{push("sub_1", 0, 1), push("sub_1", 0, 1), push("sub_1", 4, 5), push("sub_1", 1, 5)} {
		if err := handle(context.Background(), p); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	//   notify: e1
	// psh_sub_1_1 continues
	// psh_sub_1_1 repeats
	// ask for sub_1 after 1
	// psh_sub_1_5 gap
	//   notify: e2
	//   notify: e3
	//   notify: e4
	//   notify: e5
	// psh_sub_1_5 continues
}
