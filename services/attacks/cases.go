package attacks

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Case is one attack.
type Case struct {
	ID     string
	Group  string
	Req    string
	Policy string // production, open or lab; empty for open
	Input  Map
	// DNS are the answers of the name servers, DNSSequence those of each look-up in
	// turn, the last for ever.
	DNS          map[string][]string   `yaml:"dns"`
	DNSSequence  map[string][][]string `yaml:"dns_sequence"`
	DNSBehaviour Map                   `yaml:"dns_behaviour"`
	Expect       Expect
	Why          string

	// broken says why the line can't be run.
	broken error
}

// Expect is what must be seen.
type Expect struct {
	Verdict string
	Checks  []string
	Dials   string
}

// Load reads a file of cases. A line that can't be understood is a case that fails.
func Load(file string) ([]Case, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the attack cases: %w", err)
	}
	var doc struct {
		Version int
		Cases   []yaml.Node
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("read the attack cases of %s: %w", file, err)
	}
	if doc.Version != 1 || len(doc.Cases) == 0 {
		return nil, fmt.Errorf("read the attack cases of %s: version is %d with %d cases, and must be 1 with at least one", file, doc.Version, len(doc.Cases))
	}
	out := make([]Case, len(doc.Cases))
	for i := range doc.Cases {
		out[i] = decode(&doc.Cases[i], i)
	}
	return out, nil
}

var caseKeys = []string{"id", "group", "req", "policy", "input", "dns", "dns_sequence", "dns_behaviour", "expect", "why"}

func decode(n *yaml.Node, i int) (c Case) {
	err := n.Decode(&c)
	var keys map[string]yaml.Node
	if e := n.Decode(&keys); e == nil {
		for k := range keys {
			if !slices.Contains(caseKeys, k) {
				err = errors.Join(err, fmt.Errorf("key %q isn't known", k))
			}
		}
	}
	if c.ID == "" {
		c.ID = fmt.Sprintf("case-%d", i+1)
		err = errors.Join(err, errors.New("it has no id"))
	}
	switch c.Policy {
	case "":
		c.Policy = "open"
	case "production", "open", "lab":
	default:
		err = errors.Join(err, fmt.Errorf("policy %q isn't known", c.Policy))
	}
	c.broken = err
	return c
}

// Map is a part of a case whose keys depend on its group. Keys that are read are
// noted, so that one that nobody reads is found.
type Map struct {
	values map[string]any
	read   map[string]bool
}

// UnmarshalYAML reads the map.
func (m *Map) UnmarshalYAML(n *yaml.Node) error {
	m.read = map[string]bool{}
	return n.Decode(&m.values)
}

// Has says whether there is a key, and counts it as read.
func (m *Map) Has(key string) bool {
	_, ok := m.values[key]
	if ok {
		m.read[key] = true
	}
	return ok
}

// Any is a value, nil for none.
func (m *Map) Any(key string) any {
	m.Has(key)
	return m.values[key]
}

// Text is a value as text, empty for none.
func (m *Map) Text(key string) string {
	if !m.Has(key) || m.values[key] == nil {
		return ""
	}
	return fmt.Sprint(m.values[key])
}

// Number is a value as a number.
func (m *Map) Number(key string) (int, error) {
	switch v := m.Any(key).(type) {
	case int:
		return v, nil
	case string:
		return parseSize(v)
	}
	return 0, fmt.Errorf("key %q is no number", key)
}

// Map is a value that is a map itself.
func (m *Map) Map(key string) Map {
	v, _ := m.Any(key).(map[string]any)
	return Map{values: v, read: map[string]bool{}}
}

// rest names the keys that nobody read.
func (m *Map) rest() error {
	var unread []string
	for k := range m.values {
		if !m.read[k] {
			unread = append(unread, k)
		}
	}
	if len(unread) == 0 {
		return nil
	}
	slices.Sort(unread)
	return fmt.Errorf("the runner doesn't know what to do with: %s", strings.Join(unread, ", "))
}
