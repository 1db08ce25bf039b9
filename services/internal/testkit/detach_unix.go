//go:build unix

package testkit

import (
	"os/exec"
	"syscall"
)

// detach keeps the terminal's Ctrl-C from a process.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
