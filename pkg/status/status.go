// Package status is the taxonomy of where a parcel stands: 15 statuses, each
// with sub-statuses, 109 in all, and their names in English and Chinese.
//
// It is a table and nothing else. Which status a waybill has, and how a
// carrier's code becomes one of these, is decided elsewhere.
package status

import (
	"fmt"
	"strings"
)

// Status is the first level of the taxonomy. The zero value is Unknown.
type Status uint8

// Sub is the second level. The zero value says that nothing is known beyond
// the status.
type Sub uint16

// All lists every status in order of its number.
func All() []Status {
	all := make([]Status, len(table))
	for i := range table {
		all[i] = Status(i)
	}
	return all
}

// Subs lists the sub-statuses of s in order of their number.
func (s Status) Subs() []Sub {
	if !s.Valid() {
		return nil
	}
	subs := make([]Sub, len(table[s].subs))
	for i := range subs {
		subs[i] = Sub(int(s)*100 + i + 1)
	}
	return subs
}

// Valid reports whether s is one of the 15.
func (s Status) Valid() bool { return int(s) < len(table) }

// String is the code, such as "in_transit".
func (s Status) String() string {
	if !s.Valid() {
		return fmt.Sprintf("status(%d)", uint8(s))
	}
	return table[s].code
}

// English is the name in English.
func (s Status) English() string {
	if !s.Valid() {
		return ""
	}
	return table[s].en
}

// Chinese is the name in Chinese.
func (s Status) Chinese() string {
	if !s.Valid() {
		return ""
	}
	return table[s].zh
}

// Rank orders statuses along a parcel's life. It breaks ties between events
// of one instant; it doesn't say which status wins.
func (s Status) Rank() int {
	if !s.Valid() {
		return 0
	}
	return table[s].rank
}

// Terminal reports whether the journey ends with this status and sub-status.
// Expired isn't terminal: a new report revives the parcel.
func Terminal(s Status, sub Sub) bool {
	switch s {
	case Delivered, Returned, Cancelled:
		return true
	case Exception:
		return sub == ExceptionLost || sub == ExceptionDestroyed || sub == ExceptionClaimPaid
	default:
		return false
	}
}

// Status is the status this sub-status belongs to.
func (s Sub) Status() Status { return Status(s / 100) }

// Valid reports whether s is zero or one of the 109.
func (s Sub) Valid() bool { return s == 0 || s.row() != nil }

func (s Sub) row() *row {
	st, i := s.Status(), int(s%100)-1
	if !st.Valid() || i < 0 || i >= len(table[st].subs) {
		return nil
	}
	return &table[st].subs[i]
}

// String is the full code, such as "in_transit.departed", and empty for zero.
func (s Sub) String() string {
	if s == 0 {
		return ""
	}
	r := s.row()
	if r == nil {
		return fmt.Sprintf("sub_status(%d)", uint16(s))
	}
	return s.Status().String() + "." + r.code
}

// English is the name in English, and empty for zero.
func (s Sub) English() string {
	if r := s.row(); r != nil {
		return r.en
	}
	return ""
}

// Chinese is the name in Chinese, and empty for zero.
func (s Sub) Chinese() string {
	if r := s.row(); r != nil {
		return r.zh
	}
	return ""
}

// Parse reads a status code such as "in_transit".
func Parse(code string) (Status, error) {
	for i := range table {
		if table[i].code == code {
			return Status(i), nil
		}
	}
	return 0, fmt.Errorf("status %q is not in the taxonomy", code)
}

// ParseSub reads a full sub-status code such as "in_transit.departed"; the
// empty code is the zero Sub.
func ParseSub(code string) (Sub, error) {
	if code == "" {
		return 0, nil
	}
	first, second, _ := strings.Cut(code, ".")
	if s, err := Parse(first); err == nil {
		for i := range table[s].subs {
			if table[s].subs[i].code == second {
				return Sub(int(s)*100 + i + 1), nil
			}
		}
	}
	return 0, fmt.Errorf("sub-status %q is not in the taxonomy", code)
}
