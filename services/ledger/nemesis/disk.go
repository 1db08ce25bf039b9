package nemesis

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/ledger/record"
	"github.com/posthaste/posthaste/services/ledger/world"
)

// Disk is a file system of our own: an image on a loop device. Only root can
// have one.
type Disk struct {
	// Dir is where it is mounted.
	Dir string

	image string
	count int
}

// ErrNoDisk says that this user can't mount anything.
var ErrNoDisk = errors.New("only root can mount a disk image")

// NewDisk makes a disk of some MiB and mounts it below a folder.
func NewDisk(ctx context.Context, dir string, mib int) (*Disk, error) {
	if os.Geteuid() != 0 {
		return nil, ErrNoDisk
	}
	d := &Disk{Dir: filepath.Join(dir, "disk"), image: filepath.Join(dir, "disk.img")}
	if err := os.MkdirAll(d.Dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's user goes through
		return nil, err
	}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(int64(mib)<<20), f.Close()); err != nil {
		return nil, err
	}
	if err := run(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image); err != nil {
		return nil, err
	}
	return d, d.mount(ctx)
}

// mount: a long commit interval, so that what isn't synced stays in memory.
func (d *Disk) mount(ctx context.Context) error {
	if err := run(ctx, "mount", "-o", "loop,commit=300", d.image, d.Dir); err != nil {
		return err
	}
	return os.Chmod(d.Dir, 0o755) //nolint:gosec // PostgreSQL's user goes through
}

// Close unmounts and removes it.
func (d *Disk) Close(ctx context.Context) error {
	err := d.unmount(ctx)
	return errors.Join(err, os.Remove(d.image))
}

func (d *Disk) unmount(ctx context.Context) error {
	var err error
	for range 50 {
		if err = run(ctx, "umount", d.Dir); err == nil {
			return nil
		}
		_ = pause.For(ctx, 100*time.Millisecond) // what was killed lets go of its files
	}
	return err
}

func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// fill fills the disk of the streams to the last byte, and after a while makes
// room again and starts the server again, as its liveness probe would: after a
// failed write it refuses until then.
func (n *Nemesis) fill(ctx context.Context, f Planned, out *record.Fault) error {
	if n.Disk == nil {
		return ErrNoDisk
	}
	ballast := filepath.Join(n.Disk.Dir, "ballast")
	if err := ballastFile(ballast); err != nil {
		return err
	}
	_ = pause.For(ctx, f.Length)
	if err := os.Remove(ballast); err != nil {
		return err
	}
	f.Targets, f.Length = []string{world.NATS}, 500*time.Millisecond
	return n.down(ctx, f, out, syscall.SIGTERM)
}

func ballastFile(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	for size := 1 << 20; size > 0; size /= 2 {
		block := make([]byte, size)
		for {
			if _, err := file.Write(block); err != nil {
				break // full for blocks of this size
			}
		}
	}
	_ = file.Sync() // it is full
	return nil
}

// powerCut freezes everything, copies the disk as it is, without what was only
// in memory, kills everything, and starts it on the copy.
func (n *Nemesis) powerCut(ctx context.Context, out *record.Fault) error {
	if n.Disk == nil {
		return ErrNoDisk
	}
	d := n.Disk
	all := n.World.Programs()
	if n.World.Process(world.NATS) != nil {
		all = append(all, world.NATS)
	}
	if n.World.Postgres() != nil {
		all = append(all, world.PostgreSQL)
	}
	for _, name := range all {
		// The all-in-one's PostgreSQL stops with it.
		n.World.Freeze(name)
	}
	err := d.cut(ctx, func() { //nolint:contextcheck // what it starts or ends outlives the caller
		for _, name := range all {
			n.World.Kill(name)
		}
		out.DownFrom = n.Out.Now()
	})
	if err != nil {
		n.signal(all, syscall.SIGCONT)
		return err
	}
	out.DownTo = n.Out.Now()
	if n.World.Postgres() != nil {
		if err := n.World.Postgres().Start(ctx); err != nil {
			return err
		}
	}
	return n.up(ctx, without(all, world.PostgreSQL))
}

// cut copies the image as it is, without what is only in memory, lets everybody be
// killed who has files on it, and goes on with the copy. Its journal is replayed
// by mounting, as after a real cut.
func (d *Disk) cut(ctx context.Context, kill func()) error {
	d.count++
	copied := fmt.Sprintf("%s.%d", strings.TrimSuffix(d.image, filepath.Ext(d.image)), d.count)
	if err := run(ctx, "cp", "--sparse=always", d.image, copied); err != nil {
		return err
	}
	kill()
	if err := d.unmount(ctx); err != nil {
		return err
	}
	if err := os.Remove(d.image); err != nil {
		return err
	}
	d.image = copied
	return d.mount(ctx)
}

func without(list []string, name string) []string {
	var rest []string
	for _, s := range list {
		if s != name {
			rest = append(rest, s)
		}
	}
	return rest
}

// flip stops the server, changes one bit of a stream's block, and starts it
// again.
func (n *Nemesis) flip(_ context.Context, f Planned, out *record.Fault) error {
	p := n.World.Process(world.NATS)
	p.Down(syscall.SIGTERM)
	out.DownFrom = n.Out.Now()
	path, at, err := flipBit(n.World.StreamsDir(), f.Targets[len(f.Targets)-1], f.Amount)
	out.Detail = fmt.Sprintf("%s at %d", filepath.Base(path), at)
	out.DownTo = n.Out.Now()
	return errors.Join(err, p.Start())
}

// flipBit changes a bit in the middle of the largest block of a stream.
func flipBit(dir, stream string, seed int) (string, int64, error) {
	var largest string
	var size int64
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".blk" || !strings.Contains(path, stream) {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err != nil {
		return "", 0, err
	}
	if size < 100 {
		return "", 0, fmt.Errorf("stream %s has no block worth the name", stream)
	}
	r := rand.New(rand.NewPCG(uint64(seed), 1)) //nolint:gosec // it has to replay
	at := size/4 + r.Int64N(size/2)
	file, err := os.OpenFile(largest, os.O_RDWR, 0)
	if err != nil {
		return largest, at, err
	}
	var b [1]byte
	_, err = file.ReadAt(b[:], at)
	if err == nil {
		b[0] ^= 1 << r.IntN(8)
		_, err = file.WriteAt(b[:], at)
	}
	return largest, at, errors.Join(err, file.Close())
}
