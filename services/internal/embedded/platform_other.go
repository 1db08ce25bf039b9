//go:build !linux && !darwin

package embedded

import (
	"errors"
	"os"
	"syscall"
)

var errPlatform = errors.New("the all-in-one's own servers run on Linux and macOS only; give the addresses of yours")

func tryLock(*os.File) (bool, error)                { return false, errPlatform }
func diskFree(string) (int64, error)                { return 0, errPlatform }
func alive(int) bool                                { return false }
func owner(os.FileInfo) (uid, gid uint32, ok bool)  { return 0, 0, false }
func childAttributes(*account) *syscall.SysProcAttr { return nil }
func passFolders() uintptr                          { return 0 }
