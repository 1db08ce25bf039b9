package nemesis

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A power cut takes what was not synced, and leaves what was: otherwise the
// ledger's power cuts would prove nothing.
func TestDisk_CutTakesWhatWasNotSynced(t *testing.T) {
	t.Parallel()
	ctx := context.WithoutCancel(t.Context())
	d, err := NewDisk(ctx, t.TempDir(), 64)
	if errors.Is(err, ErrNoDisk) {
		t.Skip("NOT ROOT: power cuts can't be tested by this user")
	}
	if err != nil {
		t.Skipf("NO DISK IMAGE CAN BE MOUNTED HERE: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	write := func(name string, sync bool) {
		f, err := os.Create(filepath.Join(d.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		if _, err := f.WriteString("kept?"); err != nil {
			t.Fatal(err)
		}
		if sync {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("synced", true)
	write("not-synced", false)
	if err := d.cut(ctx, func() {}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(d.Dir, "synced")); err != nil || string(data) != "kept?" {
		t.Errorf("what was synced is %q, %v", data, err)
	}
	if data, err := os.ReadFile(filepath.Join(d.Dir, "not-synced")); err == nil && string(data) == "kept?" {
		t.Error("what was not synced is there: the cut cuts nothing")
	}
}

func TestDisk_FillsToTheLastByte(t *testing.T) {
	t.Parallel()
	ctx := context.WithoutCancel(t.Context())
	d, err := NewDisk(ctx, t.TempDir(), 64)
	if err != nil {
		t.Skipf("NO DISK IMAGE CAN BE MOUNTED HERE: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := ballastFile(filepath.Join(d.Dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Dir, "more"), make([]byte, 1<<20), 0o600); err == nil {
		t.Error("there is room for more")
	}
}

func TestFlipBit_ChangesOneBit(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "POSTHASTE_RAW", "msgs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	block := filepath.Join(dir, "1.blk")
	if err := os.WriteFile(block, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	path, at, err := flipBit(filepath.Dir(filepath.Dir(dir)), "POSTHASTE_RAW", 7)
	if err != nil || path != block {
		t.Fatalf("flipped in %q: %v", path, err)
	}
	data, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range data {
		if one := b != 0 && b&(b-1) == 0; (int64(i) == at) != one || int64(i) != at && b != 0 {
			t.Errorf("byte %d is %08b, and %d was to be changed", i, b, at)
		}
	}
}
