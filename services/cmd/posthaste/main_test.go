package main

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// helperEnv makes the test binary the program itself.
const helperEnv = "POSTHASTE_CMD_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		_ = os.Unsetenv(helperEnv) // the program refuses variables it doesn't know
		os.Exit(run(os.Args[1:]))
	}
	testkit.Main(m)
}

// posthaste runs the program and returns what it prints.
func posthaste(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	// The settings of whoever runs the tests must not reach the program.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "POSTHASTE_") })
	cmd.Env = append(append(cmd.Env, helperEnv+"=1"), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestCommands_SayWhatTheyDoAndWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		env  []string
		args []string
		want string
		ok   bool
	}{
		"version":             {nil, []string{"version"}, "development", true},
		"config":              {[]string{"POSTHASTE_SHARDS=7", "POSTHASTE_KDNIAO=1=swordfish"}, []string{"config", "--log-level=debug"}, "POSTHASTE_KDNIAO=1=***", true},
		"the table":           {nil, []string{"config", "--table"}, "| `--shards` | `POSTHASTE_SHARDS` | `1` |", true},
		"help":                {nil, []string{"--help"}, "serve", true},
		"no command":          {nil, nil, "serve", false},
		"an unknown variable": {[]string{"POSTHASTE_SHRADS=7"}, []string{"config"}, "POSTHASTE_SHRADS", false},
		"a bad value":         {nil, []string{"serve", "--shards=0"}, "--shards is 0", false},
		"migrate nothing":     {nil, []string{"migrate", "up"}, "--database-url", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := posthaste(t, tt.env, tt.args...)
			if (err == nil) != tt.ok || !strings.Contains(out, tt.want) || strings.Contains(out, "swordfish") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestMigrate_BringsADatabaseUp(t *testing.T) {
	t.Parallel()
	pool := testkit.PostgreSQL(t)
	const fresh = "cmd_migrate_test"
	if _, err := pool.Exec(t.Context(), "CREATE DATABASE "+fresh+" TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := pool.Exec(context.Background(), "DROP DATABASE "+fresh+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	url := strings.Replace(pool.Config().ConnString(), "/"+pool.Config().ConnConfig.Database, "/"+fresh, 1)
	env := []string{"POSTHASTE_DATABASE_URL=" + url}
	if out, err := posthaste(t, env, "migrate", "status"); err != nil || !strings.Contains(out, "missing") || strings.Contains(out, "applied") {
		t.Errorf("before: %v: %s", err, out)
	}
	for range 2 { // the second finds nothing to do
		if out, err := posthaste(t, env, "migrate", "up"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	if out, err := posthaste(t, env, "migrate", "status"); err != nil || strings.Contains(out, "missing") || !strings.Contains(out, "applied") {
		t.Errorf("after: %v: %s", err, out)
	}
	if err := pg.CheckMigrated(t.Context(), url); err != nil {
		t.Error(err)
	}
}
