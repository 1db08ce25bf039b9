package embedded

import (
	"errors"
	"os"
)

// SyncFolder makes the names in a folder survive a power cut. A file that was
// synced is lost without its name.
func SyncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
