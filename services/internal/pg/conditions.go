package pg

import (
	"strconv"
	"strings"
)

// conditions are those of a query of which only what restricts is written, so that
// each kind of list gets a plan of its own. Every ? in what is added stands for
// the next of its arguments.
type conditions struct {
	text strings.Builder
	args []any
}

// arg adds an argument and returns its place.
func (c *conditions) arg(value any) string {
	c.args = append(c.args, value)
	return "$" + strconv.Itoa(len(c.args))
}

func (c *conditions) and(condition string, args ...any) {
	if c.text.Len() > 0 {
		c.text.WriteString(" AND ")
	}
	c.text.WriteByte('(')
	parts := strings.Split(condition, "?")
	for i, p := range parts {
		c.text.WriteString(p)
		if i < len(args) {
			c.text.WriteString(c.arg(args[i]))
		}
	}
	c.text.WriteByte(')')
}

// String is the condition.
func (c *conditions) String() string { return c.text.String() }
