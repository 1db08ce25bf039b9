// Command normalizer makes canonical traces of what was taken in.
package main

import (
	"os"
	_ "time/tzdata" // an image from nothing has no zone files

	"github.com/posthaste/posthaste/services/internal/app"
)

func main() { os.Exit(app.Main(app.Normalizer, os.Args[1:])) }
