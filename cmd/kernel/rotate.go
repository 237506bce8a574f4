package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// maxLogFile is the size at which the log is renamed and a new one begun; keptLogs is how many renamed
	// files are kept.
	maxLogFile = 10 << 20
	keptLogs   = 5
)

// rotatingFile is the log file that a kernel writes to. It keeps the directory that it was opened in: if the
// path leads to another directory meanwhile, no file there is written to, renamed or removed. Only regular
// files are written to.
type rotatingFile struct {
	dir   *os.Root
	limit int64

	mu     sync.Mutex
	file   *os.File // nil: it could not be opened, which is tried again
	size   int64
	looked time.Time // when file was last found under its name
}

// openRotating opens the log in a directory. The directory must exist; any other fault is an error of Write,
// which tries again.
func openRotating(dir string) (*rotatingFile, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &rotatingFile{dir: root, limit: maxLogFile}, nil
}

// Write appends p, which is one or several whole lines, after renaming a file that would become too large.
func (r *rotatingFile) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.looked) >= time.Second {
		r.looked = now
		r.refresh()
	}
	if r.file == nil {
		if err := r.open(); err != nil {
			return 0, err
		}
	}
	if r.size > 0 && r.size+int64(len(p)) > r.limit {
		// Without a descriptor, say, the old file goes on: better a file that is twice as large than lost lines.
		if err := r.rotate(); err != nil && r.size > 2*r.limit {
			return 0, err
		}
	}
	n, err := r.file.Write(p)
	r.size += int64(n)
	return n, err
}

// refresh checks the file under the log's name: a file that was removed or renamed by others is given up, and
// the size of a file that was cut is noted.
func (r *rotatingFile) refresh() {
	if r.file == nil {
		return
	}
	own, err := r.file.Stat()
	if err != nil {
		return
	}
	r.size = own.Size()
	if named, err := r.dir.Lstat(logName); errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(own, named) {
		if r.open() != nil {
			return // better the old file than none
		}
	}
}

// open begins to write to the file under the log's name.
func (r *rotatingFile) open() error {
	if info, err := r.dir.Lstat(logName); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", logName)
	}
	f, err := r.dir.OpenFile(logName, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", logName)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if r.file != nil {
		_ = r.file.Close() // it is written already
	}
	r.file, r.size = f, info.Size()
	return nil
}

// rotatedTime is the form of the time in the name of a rotated log file, in UTC.
const rotatedTime = "2006-01-02T15-04-05.000"

// rotatedAt returns the time in the name of a rotated log file; ok is false for files that no kernel has named.
func rotatedAt(name string) (at time.Time, ok bool) {
	text, ok := strings.CutPrefix(name, logPrefix)
	if !ok {
		return time.Time{}, false
	}
	if text, ok = strings.CutSuffix(text, ".log"); !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(rotatedTime, text)
	return at, err == nil
}

// rotated returns the names of the rotated log files, oldest first.
func (r *rotatingFile) rotated() ([]string, error) {
	names, err := fs.Glob(r.dir.FS(), logPrefix+"*.log")
	names = slices.DeleteFunc(names, func(name string) bool { _, ok := rotatedAt(name); return !ok })
	slices.Sort(names)
	return names, err
}

// rotate renames the file after the time, begins a new one and removes the oldest.
//
// The order of the names is the order in which the files were written, also if the clock was set back: while
// the clock is behind the newest of the names, a file is named a millisecond after that one. Else the new file
// would be taken for the oldest, and be removed at once.
func (r *rotatingFile) rotate() error {
	r.refresh()
	if r.size == 0 {
		return nil
	}
	names, err := r.rotated()
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	if len(names) > 0 {
		if newest, _ := rotatedAt(names[len(names)-1]); now.Sub(newest) < time.Millisecond {
			now = newest.Add(time.Millisecond)
		}
	}
	name := logPrefix + now.Format(rotatedTime) + ".log"
	if err := r.dir.Rename(logName, name); err != nil {
		return err
	}
	for _, old := range names[:max(0, len(names)+1-keptLogs)] {
		_ = r.dir.Remove(old) // one file too many does no harm
	}
	return r.open()
}

// Close is part of io.Closer.
func (r *rotatingFile) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.dir.Close()
	if r.file != nil {
		err = errors.Join(err, r.file.Close())
	}
	return err
}
