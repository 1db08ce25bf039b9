package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// envPrefix begins the name of every variable.
const envPrefix = "POSTHASTE_"

// version is set by the linker for a release.
var version = ""

// Version is this program's version.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "development"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "development-" + s.Value[:12]
		}
	}
	return "development"
}

// ParserOptions are what every command line of Posthaste has in common.
func ParserOptions() []kong.Option {
	return []kong.Option{
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.PostBuild(nameVariables),
		kong.ExplicitGroups([]kong.Group{
			{Key: "log", Title: "Logs:"},
			{Key: "ops", Title: "Operating:"},
			{Key: "nats", Title: "NATS:"},
			{Key: "database", Title: "PostgreSQL:"},
			{Key: "all-in-one", Title: "The all-in-one's own servers:"},
			{Key: "servers", Title: "Servers:"},
			{Key: "auth", Title: "Who may call:"},
			{Key: "sources", Title: "Sources:"},
			{Key: "poll", Title: "Polling:"},
			{Key: "work", Title: "Work:"},
		}),
	}
}

// nameVariables gives every flag the variable that its name makes.
func nameVariables(k *kong.Kong) error {
	eachFlag(k.Model.Node, func(f *kong.Flag) {
		if slices.Equal(f.Envs, []string{"-"}) {
			f.Envs, f.Tag.Envs = nil, nil // it has none, and help says none
			return
		}
		if f.Name == "help" || f.Name == "version" || len(f.Envs) > 0 {
			return
		}
		f.Envs = []string{envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))}
		f.Tag.Envs = f.Envs
	})
	return nil
}

func eachFlag(n *kong.Node, f func(*kong.Flag)) {
	for _, flag := range n.Flags {
		f(flag)
	}
	for _, child := range n.Children {
		eachFlag(child, f)
	}
}

var (
	// otherVariables begin like ours and are others' business.
	otherVariables = []string{envPrefix + "SAMPLES"}
	// serviceLinks are what Kubernetes sets for Services whose names begin with
	// "posthaste".
	serviceLinks = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP).*)?)$`)
)

// CheckEnvironment refuses POSTHASTE_ variables that no flag of the parser has:
// a typing error must not pass for a default.
func CheckEnvironment(k *kong.Kong) error { return checkEnvironment(k, os.Environ()) }

func checkEnvironment(k *kong.Kong, environ []string) error {
	known := slices.Clone(otherVariables)
	eachFlag(k.Model.Node, func(f *kong.Flag) { known = append(known, f.Envs...) })
	var errs []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		switch {
		case !strings.HasPrefix(name, envPrefix), slices.Contains(known, name):
		case serviceLinks.MatchString(name) && (strings.Contains(value, ".") || strings.Contains(value, ":") || isNumber(value)):
		default:
			errs = append(errs, fmt.Errorf("variable %s is not known; posthaste config --table lists all", name))
		}
	}
	return errors.Join(errs...)
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// WriteConfig writes the settings in effect in the form of variables, secrets
// hidden.
func WriteConfig(w io.Writer, cfg *Config) error {
	k, err := kong.New(cfg, ParserOptions()...)
	if err != nil {
		return err
	}
	var errs []error
	eachFlag(k.Model.Node, func(f *kong.Flag) {
		if len(f.Envs) == 0 || f.Hidden {
			return
		}
		_, err := fmt.Fprintf(w, "%s=%s\n", f.Envs[0], show(f.Target))
		errs = append(errs, err)
	})
	return errors.Join(errs...)
}

// show writes a setting's value as a flag would take it.
func show(v reflect.Value) string {
	if v.Kind() != reflect.Map {
		return fmt.Sprint(v.Interface())
	}
	pairs := make([]string, 0, v.Len())
	for _, key := range v.MapKeys() {
		pairs = append(pairs, fmt.Sprintf("%v=%v", key.Interface(), v.MapIndex(key).Interface()))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ";")
}

// WriteTable writes the table of all settings in Markdown.
func WriteTable(w io.Writer) error {
	k, err := kong.New(&Config{}, ParserOptions()...)
	if err != nil {
		return err
	}
	text := "| flag | variable | default | |\n| --- | --- | --- | --- |\n"
	eachFlag(k.Model.Node, func(f *kong.Flag) {
		if len(f.Envs) == 0 || f.Hidden {
			return
		}
		name, def := "--"+f.Name, ""
		if f.Tag.Negatable != "" {
			name = "--[no-]" + f.Name
		}
		if f.HasDefault {
			def = "`" + f.Default + "`"
		}
		text += fmt.Sprintf("| `%s` | `%s` | %s | %s |\n", name, f.Envs[0], def, strings.ReplaceAll(f.Help, "|", `\|`))
	})
	_, err = io.WriteString(w, text)
	return err
}
