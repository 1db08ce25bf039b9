// Command subscription manages subscriptions, matches changes to them, and answers
// queries.
package main

import (
	"os"
	_ "time/tzdata" // an image from nothing has no zone files

	"github.com/posthaste/posthaste/services/internal/app"
)

func main() { os.Exit(app.Main(app.Subscription, os.Args[1:])) }
