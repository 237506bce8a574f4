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
)

// ErrRolledBack is returned, wrapped, by [Witness.Check] if the database is older than what the witness
// saw, or if there is no witness of a database that needs one. A person may look into it and say
// that the older state is to be used: [Witness.Accept].
var ErrRolledBack = errors.New("the database is older than its witness")

// Witness is a small file beside the database that remembers the number of a durable commit. A
// damaged database can open without complaint at an older, consistent state; the witness tells.
// It does not tell if the whole directory, witness included, was put back.
//
// The witness may be behind the database (a crash came between a commit and its record), never
// ahead, if Record is only called with commits that are durable. Where they are not durable against
// power loss ([ocapkernel.dev/storage/badgerstore.Process]), a power loss shows as a rollback: rightly so.
//
// # Concurrency
//
// One goroutine uses a Witness; one process uses a file.
type Witness struct {
	path string
	// last is the number in the file, as far as it was read or written; it saves rewriting it.
	last  uint64
	known bool
}

// NewWitness returns the witness kept in the file at path, which need not exist yet.
func NewWitness(path string) *Witness { return &Witness{path: path} }

// Check compares the witness with commit, the number of the last commit that the database holds.
//
// It returns [ErrRolledBack] if the witness saw a later one, or if it is missing although commit is
// not 0: the file is made with the first Record, so somebody took it away. It returns [ErrCorrupt] if
// the file is not what Record wrote. Both are wrapped.
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

// Record writes down that commit is durable. When it returns, the record is durable too. A number that
// is not above the last one recorded changes nothing.
func (w *Witness) Record(commit uint64) error {
	if w.known && commit <= w.last {
		return nil
	}
	return w.Accept(commit)
}

// Accept makes commit what the witness saw, even if it saw a later one or was damaged: the decision to
// run on an older state.
func (w *Witness) Accept(commit uint64) error {
	if err := w.replace(encodeWitness(commit)); err != nil {
		return fmt.Errorf("record commit %d: %w", commit, err)
	}
	w.last, w.known = commit, true
	return nil
}

func (w *Witness) read() (uint64, error) {
	f, err := os.Open(w.path)
	if err != nil {
		return 0, fmt.Errorf("read witness: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return 0, fmt.Errorf("read witness: %w", err)
	}
	commit, ok := decodeWitness(string(text))
	if !ok {
		return 0, fmt.Errorf("witness %s: %w", w.path, ErrCorrupt)
	}
	w.last, w.known = commit, true
	return commit, nil
}

// replace leaves either the old content or the new one, whatever happens meanwhile. The new content
// is on disk before it gets the name: else a power loss could leave an empty file under it.
func (w *Witness) replace(text string) error {
	next := w.path + ".next"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, w.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(w.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// encodeWitness makes one line that a person can read, with a checksum of what stands before it.
func encodeWitness(commit uint64) string {
	head := fmt.Sprintf("kernel witness 1 commit %d", commit)
	return fmt.Sprintf("%s crc %08x\n", head, crc32.ChecksumIEEE([]byte(head)))
}

func decodeWitness(text string) (commit uint64, ok bool) {
	// Whatever Sscanf is lenient about, writing it again is not.
	if _, err := fmt.Sscanf(strings.TrimSuffix(text, "\n"), "kernel witness 1 commit %d", &commit); err != nil {
		return 0, false
	}
	return commit, text == encodeWitness(commit)
}
