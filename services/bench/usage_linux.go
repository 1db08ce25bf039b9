package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what a process and all that descend from it have used.
type usage struct {
	cpu time.Duration
	rss int64 // proportional bytes, so that shared memory counts once
	// own is the part of rss that is neither shared nor backed by files.
	own int64
}

// clockTick is the unit of /proc/<pid>/stat: USER_HZ, 100 on every Linux.
const clockTick = 10 * time.Millisecond

// usageOf adds up a process and its descendants, ended ones included as far as
// their parents have waited for them.
func usageOf(pid int) (usage, error) {
	children := map[int][]int{}
	stats := map[int][]string{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return usage{}, err
	}
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // ended meanwhile
		}
		// The name is in brackets and may hold blanks.
		_, rest, ok := strings.Cut(string(data), ") ")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		p, _ := strconv.Atoi(filepath.Base(dir))
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], p)
		stats[p] = fields
	}
	if stats[pid] == nil {
		return usage{}, fmt.Errorf("process %d is gone", pid)
	}
	var u usage
	var add func(int)
	add = func(p int) {
		for _, i := range []int{11, 12, 13, 14} { // utime stime cutime cstime
			ticks, _ := strconv.ParseInt(stats[p][i], 10, 64)
			u.cpu += time.Duration(ticks) * clockTick
		}
		u.rss += proportional(p, "Pss:")
		u.own += proportional(p, "Pss_Anon:")
		for _, c := range children[p] {
			add(c)
		}
	}
	add(pid)
	return u, nil
}

func proportional(pid int, field string) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10
		}
	}
	return 0
}
