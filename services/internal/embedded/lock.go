package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrInUse says that another process owns a data folder.
var ErrInUse = errors.New("the folder is in use by another process")

// folderLock is the ownership of a folder. It ends with [folderLock.release] or
// with the process.
type folderLock struct{ file *os.File }

// lockFolder takes ownership of a folder, or fails with [ErrInUse]. It never
// waits.
func lockFolder(dir string) (*folderLock, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	ok, err := tryLock(f)
	if err != nil || !ok {
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	return &folderLock{file: f}, nil
}

// release gives the folder up. The file stays: removing it would let two
// processes lock two files of the same name.
func (l *folderLock) release() { _ = l.file.Close() }
