package client

import "time"

// HurryWatches makes watches come back at once, and believe in a silent server
// for as long as is said.
func (c *Client) HurryWatches(silence time.Duration) {
	c.silence, c.backoff = silence, func(int) time.Duration { return 0 }
}

// WatchBackoff is tested alone.
var WatchBackoff = watchBackoff
