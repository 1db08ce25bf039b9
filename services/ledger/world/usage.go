package world

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has of the machine.
type Usage struct {
	RSS        int64
	FDs        int
	Goroutines int
}

// Usage measures a process; false when it is down.
func (p *Process) Usage(ctx context.Context) (Usage, bool) {
	pid := p.PID()
	if pid == 0 {
		return Usage{}, false
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	u := Usage{RSS: statusBytes(filepath.Join(dir, "status"))}
	if names, err := os.ReadDir(filepath.Join(dir, "fd")); err == nil {
		u.FDs = len(names)
	}
	u.Goroutines = p.goroutines(ctx)
	return u, u.RSS > 0
}

func (p *Process) goroutines(ctx context.Context) int {
	if p.ops == "" {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.ops+"/debug/pprof/goroutine?debug=1", http.NoBody)
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	line, _ := bufio.NewReader(resp.Body).ReadString('\n') // "goroutine profile: total 42"
	n, _ := strconv.Atoi(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]))
	return n
}

func statusBytes(path string) int64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// descendants are a process and all below it.
func descendants(pid int) []int {
	children := make(map[int][]int)
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, e := range entries {
		data, err := os.ReadFile(e)
		if err != nil {
			continue
		}
		// pid (name) state ppid …; the name may hold anything.
		text := string(data)
		end := strings.LastIndexByte(text, ')')
		fields := strings.Fields(text[end+1:])
		if end < 0 || len(fields) < 2 {
			continue
		}
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(e)))
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], id)
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}
