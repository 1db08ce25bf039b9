package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// ErrNoPostgreSQL says that no PostgreSQL programs were found. Its text says
// what to do.
var ErrNoPostgreSQL = errors.New(`no PostgreSQL was found. Either
  install it:        Debian, Ubuntu: apt-get install postgresql    macOS: brew install postgresql
                     Fedora: dnf install postgresql-server         Alpine: apk add postgresql
  fetch it:          hack/ensure-postgres (from the repository)
  name its programs: POSTHASTE_PG_BIN=/folder/with/initdb/and/postgres
  or use a server:   POSTHASTE_DATABASE_URL=postgres://user@host/database`)

// MinMajor is the oldest PostgreSQL that is used.
const MinMajor = 14

// Programs is a PostgreSQL installation.
type Programs struct {
	// Dir holds initdb and postgres.
	Dir string
	// Version is what postgres says, such as "15.18".
	Version string
	// Major is its first number.
	Major int
}

// Search says where PostgreSQL programs are looked for.
type Search struct {
	// Bin is the only folder looked at, if set.
	Bin string
	// Fetched is a folder that hack/ensure-postgres filled; looked at last.
	Fetched string
	// Major is the wanted version, 0 for any. Another is returned when it is
	// the only one.
	Major int
}

// FindPrograms looks for PostgreSQL: in Bin if given, else on the PATH, where
// distributions put it (newest first), and in the fetched folder. It runs what
// it finds to ask its version, so that a broken wrapper doesn't count. It
// returns [ErrNoPostgreSQL] when there is none.
func FindPrograms(ctx context.Context, s Search) (Programs, error) {
	if s.Bin != "" {
		p, err := checkPrograms(ctx, s.Bin)
		if err != nil {
			return Programs{}, fmt.Errorf("PostgreSQL programs in %s: %w", s.Bin, err)
		}
		return p, nil
	}
	var first Programs
	for _, dir := range candidates(s.Fetched) {
		p, err := checkPrograms(ctx, dir)
		switch {
		case ctx.Err() != nil:
			return Programs{}, ctx.Err()
		case err != nil:
			continue
		case s.Major == 0 || p.Major == s.Major:
			return p, nil
		case first.Dir == "":
			first = p
		}
	}
	if first.Dir == "" {
		return Programs{}, ErrNoPostgreSQL
	}
	return first, nil
}

// distributionFolders are patterns of where systems put the programs.
var distributionFolders = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                   // the PostgreSQL project's RPMs
	"/usr/lib/postgresql*/bin",                           // openSUSE, Gentoo
	"/usr/libexec/postgresql*",                           // Alpine
	"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew, Apple silicon
	"/usr/local/opt/postgresql@*/bin",                    // Homebrew, Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",    // Homebrew, Linux
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
	"/opt/local/lib/postgresql*/bin",                     // MacPorts
	"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/pgsql/bin",
}

// candidates lists folders that hold a file named postgres, without repeats.
func candidates(fetched string) []string {
	var dirs []string
	add := func(dir string) {
		// The programs find their own files from where they really are.
		real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
		if err != nil {
			return
		}
		if real = filepath.Dir(real); !slices.Contains(dirs, real) {
			dirs = append(dirs, real)
		}
	}
	if onPath, err := exec.LookPath("postgres"); err == nil {
		if abs, err := filepath.Abs(onPath); err == nil {
			add(filepath.Dir(abs))
		}
	}
	for _, pattern := range distributionFolders {
		found, err := filepath.Glob(pattern)
		if err != nil {
			continue // a bad pattern; the test of this list would show it
		}
		slices.SortFunc(found, func(a, b string) int { return versionIn(b) - versionIn(a) })
		for _, dir := range found {
			add(dir)
		}
	}
	if fetched != "" {
		add(filepath.Join(fetched, "bin"))
	}
	return dirs
}

var digits = regexp.MustCompile(`\d+`)

// versionIn is the first number in a path's variable part, for sorting.
func versionIn(path string) int {
	all := digits.FindAllString(path, -1)
	if len(all) == 0 {
		return 0
	}
	n, err := strconv.Atoi(all[len(all)-1])
	if err != nil {
		return 0
	}
	return n
}

var versionLine = regexp.MustCompile(`^(?:initdb|postgres) \(PostgreSQL\) ((\d+)\S*)`)

// checkPrograms asks initdb and postgres in dir for their version; both must
// answer and agree.
func checkPrograms(ctx context.Context, dir string) (Programs, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Programs{}, err
	}
	p := Programs{Dir: abs}
	for _, name := range []string{"postgres", "initdb"} {
		path := filepath.Join(abs, name)
		if _, err := os.Stat(path); err != nil {
			return Programs{}, err
		}
		cmd := exec.CommandContext(ctx, path, "--version")
		cmd.Env = childEnv()
		out, err := cmd.Output()
		if err != nil {
			return Programs{}, fmt.Errorf("%s --version: %w", path, err)
		}
		m := versionLine.FindStringSubmatch(strings.TrimSpace(string(out)))
		if m == nil {
			return Programs{}, fmt.Errorf("%s --version: %q is no version of PostgreSQL", path, firstLine(out))
		}
		if p.Version != "" && p.Version != m[1] {
			return Programs{}, fmt.Errorf("postgres is %s and initdb is %s", p.Version, m[1])
		}
		p.Version = m[1]
		if p.Major, err = strconv.Atoi(m[2]); err != nil {
			return Programs{}, fmt.Errorf("%s --version: %w", path, err)
		}
	}
	if p.Major < MinMajor {
		return Programs{}, fmt.Errorf("version %s is too old, at least %d is needed", p.Version, MinMajor)
	}
	return p, nil
}

func firstLine(out []byte) string {
	line, _, _ := strings.Cut(string(out), "\n")
	if len(line) > 100 {
		line = line[:100]
	}
	return line
}

// childEnv is all the environment PostgreSQL gets: what we were started with may
// hold secrets, and PG… variables would change what it does.
func childEnv() []string {
	env := []string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/local/bin:/usr/bin:/bin"}
	if runtime.GOOS == "darwin" {
		env = append(env, "LC_MESSAGES=C")
	}
	return env
}
