package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The files of a run folder.
const (
	metaFile    = "meta.json"
	eventsFile  = "events.jsonl"
	opsFile     = "ops.jsonl"
	pushesFile  = "pushes.jsonl"
	faultsFile  = "faults.jsonl"
	samplesFile = "samples.jsonl"
	followFile  = "follow.jsonl"
	finalFile   = "final.jsonl"
)

// Writer writes a run down. It is safe for concurrent use.
type Writer struct {
	dir   string
	began time.Time

	mu     sync.Mutex
	files  map[string]*bufio.Writer
	closes []io.Closer
	err    error
	pushes int
	last   time.Duration // when the last push came
	faults int
}

// Create makes the run folder and its files.
func Create(dir string, began time.Time) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the run folder: %w", err)
	}
	w := &Writer{dir: dir, began: began, files: make(map[string]*bufio.Writer)}
	for _, name := range []string{eventsFile, opsFile, pushesFile, faultsFile, samplesFile, followFile, finalFile} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("make the run folder: %w", errors.Join(err, w.Close()))
		}
		w.files[name] = bufio.NewWriterSize(f, 64<<10)
		w.closes = append(w.closes, f)
	}
	return w, nil
}

// Now is the run's clock.
func (w *Writer) Now() time.Duration { return time.Since(w.began) }

// Dir is the run folder.
func (w *Writer) Dir() string { return w.dir }

func (w *Writer) write(name string, v any) {
	data, err := json.Marshal(v)
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.files[name]
	if f == nil {
		return // the run is over
	}
	if err == nil {
		_, err = f.Write(append(data, '\n'))
	}
	if w.err == nil && err != nil {
		w.err = fmt.Errorf("write %s: %w", name, err)
	}
}

// Event writes an event down.
func (w *Writer) Event(e Event) { w.write(eventsFile, e) }

// Op writes an operation down.
func (w *Writer) Op(o Op) { w.write(opsFile, o) }

// Push writes a push down.
func (w *Writer) Push(p Push) {
	w.write(pushesFile, p)
	w.mu.Lock()
	w.pushes++
	w.last = max(w.last, p.Answered)
	w.mu.Unlock()
}

// LastPush is when the last push was answered, and how many there were.
func (w *Writer) LastPush() (at time.Duration, count int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.pushes
}

// Fault writes the beginning or, with an End, the end of a fault down.
func (w *Writer) Fault(f Fault) { w.write(faultsFile, f) }

// NextFault is the id of the next fault, from 1.
func (w *Writer) NextFault() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults++
	return w.faults
}

// Sample writes a sample down.
func (w *Writer) Sample(s Sample) { w.write(samplesFile, s) }

// Follow writes a trace update down.
func (w *Writer) Follow(f Follow) { w.write(followFile, f) }

// Final writes the end of a phase down.
func (w *Writer) Final(f Final) { w.write(finalFile, f) }

// Meta writes what the run was.
func (w *Writer) Meta(m Meta) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, metaFile), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", metaFile, err)
	}
	return nil
}

// Close ends the files and returns the first error there was.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	errs := []error{w.err}
	for _, b := range w.files {
		errs = append(errs, b.Flush())
	}
	for _, c := range w.closes {
		errs = append(errs, c.Close())
	}
	w.files, w.closes = nil, nil
	return errors.Join(errs...)
}

// Load reads a run folder.
func Load(dir string) (*Run, error) {
	r := &Run{}
	data, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err == nil {
		err = json.Unmarshal(data, &r.Meta)
	}
	if err != nil {
		return nil, fmt.Errorf("read the run: %w", err)
	}
	root := os.DirFS(dir)
	var faults []Fault
	err = errors.Join(
		lines(root, eventsFile, &r.Events), lines(root, opsFile, &r.Ops), lines(root, pushesFile, &r.Pushes),
		lines(root, faultsFile, &faults), lines(root, samplesFile, &r.Samples), lines(root, followFile, &r.Follows), lines(root, finalFile, &r.Finals),
	)
	if err != nil {
		return nil, fmt.Errorf("read the run: %w", err)
	}
	r.Faults = pair(faults)
	return r, nil
}

// pair puts the beginnings and ends of faults together. One without an end
// lasts.
func pair(lines []Fault) []Fault {
	var faults []Fault
	at := make(map[int]int)
	for _, f := range lines {
		if i, ok := at[f.ID]; ok {
			faults[i] = f
			continue
		}
		at[f.ID] = len(faults)
		faults = append(faults, f)
	}
	return faults
}

func lines[T any](root fs.FS, name string, into *[]T) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	d := json.NewDecoder(bufio.NewReaderSize(f, 1<<20))
	for {
		var v T
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s, line %d: %w", name, len(*into)+1, err)
		}
		*into = append(*into, v)
	}
}
