package storage

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"ocapkernel.dev/internal/fault"
)

// ErrRolledBack is returned, wrapped, by [Witness.Check] if the database is older than the witness, or if a
// database that needs a witness has none. An operator may inspect the state and decide to use the older one:
// [Witness.Accept].
var ErrRolledBack = errors.New("the database is older than its witness")

// Witness is a small file beside the database that remembers the number of a durable commit. A damaged database
// can open without complaint at an older, consistent state; the witness shows that. It shows nothing if the
// whole directory, witness included, was put back.
//
// The witness may be behind the database (a crash came between a commit and its record), and is never ahead of
// it, if Record is only called with commits that are durable. Where commits are not durable against power loss
// ([ocapkernel.dev/storage/badgerstore.Process]), a power loss shows as a rollback: rightly so.
//
// The file is two slots of a sector each, which are rewritten in place: recording needs no descriptor, no inode
// and no space. One slot is on the disk; the other takes the records until Sync makes it the durable one. So if
// the process or the machine dies while a slot is written, the other slot holds.
//
// # Concurrency
//
// One goroutine uses a Witness; one process uses a file.
type Witness struct {
	path string
	file *os.File // nil until Prepare or Accept
	// last is the number that was recorded last, or read from the file.
	last uint64
	// sequence counts the writes of slots, so that the newer slot is known; next is the slot that is written
	// next.
	sequence uint64
	next     int
	dirty    bool // the slot that is written next has a record that is not on disk
}

const (
	slotBytes = 512
	slots     = 2
)

// NewWitness returns the witness kept in the file at path, which need not exist yet.
func NewWitness(path string) *Witness { return &Witness{path: path} }

// Check compares the witness with commit, the number of the last commit that the database holds. It changes
// nothing.
//
// It returns [ErrRolledBack] if the witness has a later number, or if the file is missing although commit is
// not 0: [Witness.Prepare] makes the file before the first commit, so a missing file was taken away. It returns
// [ErrCorrupt] if the file does not have the form that Record writes. Both are wrapped.
func (w *Witness) Check(commit uint64) error {
	seen, err := w.read()
	switch {
	case errors.Is(err, fs.ErrNotExist) && commit == 0:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s is missing, the database is at commit %d", ErrRolledBack, w.path, commit)
	case err != nil:
		return err
	case commit < seen:
		return fmt.Errorf("%w: the database is at commit %d, %s saw commit %d", ErrRolledBack, commit, w.path, seen)
	}
	return nil
}

// Prepare opens the file for Record. A file that is missing is made, with commit 0: the caller does that before the
// first commit of a new database.
func (w *Witness) Prepare() error {
	seen, err := w.read()
	if errors.Is(err, fs.ErrNotExist) {
		return w.Accept(0)
	}
	if err != nil {
		return err
	}
	if w.sequence == 0 { // the file is a single line, as it was before there were slots
		return w.Accept(seen)
	}
	file, err := os.OpenFile(w.path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("open witness: %w", err)
	}
	return errors.Join(w.use(file), w.Sync())
}

// Record notes that commit is durable. The record survives the death of the process, and a power loss from the
// next Sync on. A number that is not above the last one recorded changes nothing. An error leaves the witness
// behind the database, which is allowed: the next Record tries again.
//
// Preconditions: Prepare or Accept has succeeded.
func (w *Witness) Record(commit uint64) error {
	if commit <= w.last && !w.dirty {
		return nil
	}
	w.last, w.dirty = max(commit, w.last), true
	return w.write()
}

// Sync makes the records survive a power loss. After an error the next call tries again.
func (w *Witness) Sync() error {
	if !w.dirty {
		return nil
	}
	if err := w.write(); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("record commit %d: %w", w.last, err)
	}
	fault.Point(fault.WitnessSynced)
	w.dirty = false
	w.next = 1 - w.next
	return w.write() // so that the loss of either slot loses nothing
}

// Accept sets the witness to commit, even if it has a later number or is damaged: the decision to run on an
// older state.
func (w *Witness) Accept(commit uint64) error {
	if err := w.replace(encodeSlot(1, commit) + encodeSlot(2, commit)); err != nil {
		return fmt.Errorf("record commit %d: %w", commit, err)
	}
	w.last, w.sequence, w.next = commit, 2, 0
	return nil
}

// Close makes the records durable, and closes the file.
func (w *Witness) Close() error {
	if w.file == nil {
		return nil
	}
	err := errors.Join(w.Sync(), w.file.Sync(), w.file.Close())
	w.file = nil
	return err
}

// write writes the next slot.
func (w *Witness) write() error {
	if w.file == nil {
		return fmt.Errorf("record commit %d: the witness is not open", w.last)
	}
	w.sequence++
	slot, at := []byte(encodeSlot(w.sequence, w.last)), int64(w.next*slotBytes)
	fault.Torn(fault.WitnessTorn, slot, func(half []byte) (int, error) { return w.file.WriteAt(half, at) })
	if _, err := w.file.WriteAt(slot, at); err != nil {
		return fmt.Errorf("record commit %d: %w", w.last, err)
	}
	return nil
}

func (w *Witness) use(file *os.File) error {
	var err error
	if w.file != nil {
		err = w.file.Close()
	}
	w.file = file
	return err
}

func (w *Witness) read() (uint64, error) {
	f, err := os.OpenFile(w.path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return 0, fmt.Errorf("read witness: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, slots*slotBytes+1))
	if err != nil {
		return 0, fmt.Errorf("read witness: %w", err)
	}
	if commit, ok := decodeLine(string(text)); ok {
		w.last, w.sequence, w.next = commit, 0, 0
		return commit, nil
	}
	found := false
	if len(text) == slots*slotBytes {
		for i := range slots {
			sequence, commit, ok := decodeSlot(string(text[i*slotBytes : (i+1)*slotBytes]))
			if ok && (!found || sequence > w.sequence) {
				found, w.sequence, w.last, w.next = true, sequence, commit, 1-i
			}
		}
	}
	if !found {
		return 0, fmt.Errorf("witness %s: %w", w.path, ErrCorrupt)
	}
	w.dirty = true // the newer slot may not be on disk yet
	return w.last, nil
}

// replace replaces the file and leaves it open. A death at any moment leaves either the old content or the new
// one: the new content is on disk before it gets the name, else a power loss could leave an empty file under
// the name.
func (w *Witness) replace(text string) error {
	next := w.path + ".next"
	// A death may have left a file of that name. Anything else of that name, a link above all, is neither
	// written to nor removed.
	if info, err := os.Lstat(next); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file of ours (mode %s): remove it", next, info.Mode())
	}
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		fault.Point(fault.WitnessBeforeRename)
		err = os.Rename(next, w.path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	fault.Point(fault.WitnessRenamed)
	dir, err := os.Open(filepath.Dir(w.path))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(dir.Sync(), dir.Close(), w.use(f))
}

// encodeSlot returns a slot: a line that a person can read, with a checksum of the text before it.
func encodeSlot(sequence, commit uint64) string {
	return fmt.Sprintf("%-*s\n", slotBytes-1, checked(fmt.Sprintf("kernel witness 2 sequence %d commit %d", sequence, commit)))
}

func decodeSlot(text string) (sequence, commit uint64, ok bool) {
	// Sscanf is lenient; the comparison with the slot written again is not.
	if _, err := fmt.Sscanf(text, "kernel witness 2 sequence %d commit %d", &sequence, &commit); err != nil {
		return 0, 0, false
	}
	return sequence, commit, text == encodeSlot(sequence, commit)
}

// decodeLine reads the form of the witness before it had slots.
func decodeLine(text string) (commit uint64, ok bool) {
	if _, err := fmt.Sscanf(strings.TrimSuffix(text, "\n"), "kernel witness 1 commit %d", &commit); err != nil {
		return 0, false
	}
	return commit, text == checked(fmt.Sprintf("kernel witness 1 commit %d", commit))+"\n"
}

func checked(head string) string {
	return fmt.Sprintf("%s crc %08x", head, crc32.ChecksumIEEE([]byte(head)))
}
