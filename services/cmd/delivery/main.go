// Command delivery pushes changes to callbacks until they are acknowledged.
package main

import (
	"os"
	_ "time/tzdata" // an image from nothing has no zone files

	"github.com/posthaste/posthaste/services/internal/app"
)

func main() { os.Exit(app.Main(app.Delivery, os.Args[1:])) }
