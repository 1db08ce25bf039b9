package embedded

import "syscall"

// childAttributes make a child that the terminal's Ctrl-C doesn't reach and that
// runs as the account. There is no parent-death signal here: after a kill of
// this process PostgreSQL goes on, and the next start says so.
func childAttributes(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attr
}

func passFolders() uintptr { return 0 }
