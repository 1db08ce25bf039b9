package attacks

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	sizeWords = regexp.MustCompile(`(?i)([\d][\d,.]*)\s*(GiB|MiB|KiB|GB|MB|KB|bytes?|B)?\b`)
	timeWords = regexp.MustCompile(`(?i)(\d+)\s*(ms|milliseconds?|seconds?|secs?|s|minutes?|mins?|min|hours?|h|days?|d)\b`)
	countWord = regexp.MustCompile(`\d[\d,]*`)
)

// parseSize reads "2 MiB", "10485761", "1,001".
func parseSize(s string) (int, error) {
	m := sizeWords.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q has no size", s)
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(m[1], ",", ""), 64)
	if err != nil {
		return 0, fmt.Errorf("%q has no size", s)
	}
	unit := map[byte]float64{'g': 1 << 30, 'm': 1 << 20, 'k': 1 << 10}
	if m[2] != "" {
		if f, ok := unit[strings.ToLower(m[2])[0]]; ok {
			n *= f
		}
	}
	return int(n), nil
}

// parseTime finds the first time in some words, 0 for none.
func parseTime(s string) time.Duration {
	m := timeWords.FindStringSubmatch(s)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	unit := time.Second
	switch u := strings.ToLower(m[2]); {
	case strings.HasPrefix(u, "ms"), strings.HasPrefix(u, "milli"):
		unit = time.Millisecond
	case strings.HasPrefix(u, "m"):
		unit = time.Minute
	case strings.HasPrefix(u, "h"):
		unit = time.Hour
	case strings.HasPrefix(u, "d"):
		unit = 24 * time.Hour
	}
	return time.Duration(n) * unit
}

// parseCount finds the first number in some words.
func parseCount(s string) (int, bool) {
	m := countWord.FindString(s)
	n, err := strconv.Atoi(strings.ReplaceAll(m, ",", ""))
	return n, err == nil
}

// says reports whether a text has one of some words, whatever their case.
func says(text string, words ...string) bool {
	text = strings.ToLower(text)
	for _, w := range words {
		if strings.Contains(text, strings.ToLower(w)) {
			return true
		}
	}
	return false
}
