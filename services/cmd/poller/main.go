// Command poller asks carriers and aggregators that don't push.
package main

import (
	"os"
	_ "time/tzdata" // an image from nothing has no zone files

	"github.com/posthaste/posthaste/services/internal/app"
)

func main() { os.Exit(app.Main(app.Poller, os.Args[1:])) }
