package e2e

import (
	"os"
	"testing"

	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// programEnv makes the test binary one of the programs.
const programEnv = "E2E_PROGRAM"

func TestMain(m *testing.M) {
	if program := os.Getenv(programEnv); program != "" {
		os.Exit(app.Main(program, os.Args[1:]))
	}
	testkit.Main(m)
}
