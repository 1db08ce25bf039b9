// Command ingest takes in what carriers, aggregators and teams report.
package main

import (
	"os"
	_ "time/tzdata" // an image from nothing has no zone files

	"github.com/posthaste/posthaste/services/internal/app"
)

func main() { os.Exit(app.Main(app.Ingest, os.Args[1:])) }
