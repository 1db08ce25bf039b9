package embedded

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
)

// account is who PostgreSQL runs as when we are root, which it refuses to be.
type account struct {
	name     string
	uid, gid uint32
	// passFolders is a capability the account needs to reach its files, 0 for
	// none.
	passFolders uintptr
}

// accountFor picks the account: the one the data belongs to already, else
// postgres, else nobody. It is nil when we are not root.
func accountFor(data string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	if info, err := os.Stat(data); err == nil {
		if uid, gid, ok := owner(info); ok && uid != 0 {
			return &account{name: "user " + strconv.FormatUint(uint64(uid), 10), uid: uid, gid: gid}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")
}

// own gives a folder to the account. A nil account is ourselves.
func (a *account) own(dir string) error {
	if a == nil {
		return nil
	}
	return os.Chown(dir, int(a.uid), int(a.gid))
}

// reach makes sure that the account can enter a folder. Folders above it that
// are closed to the account are passed with a capability: changing their modes
// is not our business, and a clone below /root must work. It reports the
// closed folder when there is one.
func (a *account) reach(dir string) (closed string, err error) {
	if a == nil {
		return "", nil
	}
	closed = a.closedFolder(dir)
	if closed == "" || a.passFolders != 0 {
		return closed, nil
	}
	if a.passFolders = passFolders(); a.passFolders == 0 {
		return closed, fmt.Errorf("%s may not enter %s, so PostgreSQL can't reach %s: choose another data folder, or run as an ordinary user", a.name, closed, dir)
	}
	return closed, nil
}

// closedFolder returns the first folder on the way to dir, dir included, that
// the account may not enter, by mode bits.
func (a *account) closedFolder(dir string) string {
	var way []string
	for d := dir; ; d = filepath.Dir(d) {
		way = append(way, d)
		if d == filepath.Dir(d) {
			break
		}
	}
	for _, step := range slices.Backward(way) {
		info, err := os.Stat(step)
		if err != nil {
			continue
		}
		uid, gid, ok := owner(info)
		if !ok {
			continue
		}
		enter := os.FileMode(0o001)
		switch {
		case uid == a.uid:
			enter = 0o100
		case gid == a.gid:
			enter = 0o010
		}
		if info.Mode().Perm()&enter == 0 {
			return step
		}
	}
	return ""
}
