package embedded

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Numbers of the capabilities that let a process pass folders it may not enter.
const (
	capOverride = 1 // CAP_DAC_OVERRIDE
	capSearch   = 2 // CAP_DAC_READ_SEARCH
)

// childAttributes make a child that the terminal's Ctrl-C doesn't reach, that
// runs as the account, and that gets SIGQUIT (PostgreSQL's immediate stop) when
// the thread that started it ends.
func childAttributes(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
		if a.passFolders != 0 {
			attr.AmbientCaps = []uintptr{a.passFolders}
		}
	}
	return attr
}

// passFolders returns the weakest capability this process can hand to a child so
// that it passes folders closed to it, 0 when it has none.
func passFolders() uintptr {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		hex, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		switch {
		case err != nil:
			return 0
		case set&(1<<capSearch) != 0:
			return capSearch
		case set&(1<<capOverride) != 0:
			return capOverride
		}
	}
	return 0
}
