package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// maxLogFile is the size at which the log is renamed and a new one begun; keptLogs is how many of the renamed
	// ones are kept.
	maxLogFile = 10 << 20
	keptLogs   = 5
)

// rotatingFile is the log file that a kernel writes to. It is kept by the directory that was there when it was
// opened: should the path lead elsewhere meanwhile, nothing there is written to, renamed or removed. Only regular
// files are written to.
type rotatingFile struct {
	dir   *os.Root
	limit int64

	mu     sync.Mutex
	file   *os.File // nil: it could not be opened, which is tried again
	size   int64
	looked time.Time // when it was last seen that file is the one under its name
}

// openRotating opens the log in a directory. The directory must be there; whatever else is wrong is an error of
// Write, which tries again.
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
		if err := r.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := r.file.Write(p)
	r.size += int64(n)
	return n, err
}

// refresh looks what has become of the file: one that somebody has removed or renamed is given up, and of one that
// somebody has cut the size is noted.
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
		_ = r.file.Close() // written already
	}
	r.file, r.size = f, info.Size()
	return nil
}

// rotate renames the file after the time, begins a new one and removes the oldest.
func (r *rotatingFile) rotate() error {
	r.refresh()
	if r.size == 0 {
		return nil
	}
	name := ""
	for now := time.Now().UTC(); ; now = now.Add(time.Millisecond) {
		name = logPrefix + now.Format("2006-01-02T15-04-05.000") + ".log"
		if _, err := r.dir.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err := r.dir.Rename(logName, name); err != nil {
		return err
	}
	err := r.open()
	names, lookErr := fs.Glob(r.dir.FS(), logPrefix+"*.log")
	if lookErr != nil {
		return errors.Join(err, lookErr)
	}
	slices.Sort(names)
	for _, old := range names[:max(0, len(names)-keptLogs)] {
		_ = r.dir.Remove(old) // one too many is no harm
	}
	return err
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
