package badgerstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/storage"
)

// reserve makes sure that the disk has room for Badger's next writes.
//
// Badger maps its files before they have blocks: the log of its memory table, the value log, each table. A
// write to a page for which the disk has no block, or the user no quota, is a SIGBUS, which ends the process.
// So blocks are allocated to both logs before a commit is handed to Badger, and a disk that has none left is an
// error. Badger makes tables at times of its own; for them the room is only probed: see probe.
//
// One commit in each logStep bytes lists the files, and so does a commit with a large value; the others only
// count.
//
// The methods are called by the one caller of [Store.Commit] at a time.
type reserve struct {
	dir string
	// allocate is fallocate, which gives blocks to a range of a file without changing its size.
	allocate func(file *os.File, offset, length int64) error
	// unsupported is set if the file system cannot allocate: then the files are as Badger makes them.
	unsupported bool
	logs        written
	values      struct {
		id   uint64
		used int64 // of the newest value log, at most
	}
}

// written describes the log that Badger writes to.
type written struct {
	id uint64
	// used bounds the bytes in the log when the files were listed last; since bounds the bytes committed after
	// that.
	used, since int64
	// left is how many bytes may be committed before the files are listed again.
	left int64
}

const (
	// logStep is how many bytes are allocated ahead.
	logStep = 4 << 20
	// nextLogFrom is the most that a log holds while no next log is needed. Small rows take a quarter more in
	// the memory table than in the log, so that no memory table is full with less than 50 MB in its log, and
	// two commits hold at most another 24 MB.
	nextLogFrom = 24 << 20
	// pageSlack covers the bytes that are written behind an entry, and the rounding to blocks.
	pageSlack = 64 << 10
	// rewriteBytes bounds the room that is probed for the tables that Badger makes of others.
	rewriteBytes = 256 << 20
	// largeValue is the size from which a value lies in a value log.
	largeValue = 1 << 20
)

func newReserve(dir string) *reserve {
	return &reserve{dir: dir, allocate: func(file *os.File, offset, length int64) error {
		for {
			err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, length)
			if !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	}}
}

// room returns an error that wraps [storage.ErrNoRoom] if the disk has no room for a commit of these writes.
// Then nothing has changed, and the call may be made again.
func (r *reserve) room(writes []storage.Write) error {
	log, values := logged(writes)
	if r.unsupported || log <= r.logs.left && values == 0 {
		r.logs.left -= log
		r.logs.since += log
		return nil
	}
	err := r.allocateLogs(log, values)
	if r.unsupported = isUnsupported(err); r.unsupported {
		return nil
	}
	return shortage(err)
}

// logged bounds the bytes that a commit adds to the log of the memory table, and to the value log.
func logged(writes []storage.Write) (log, values int64) {
	const perRow, perCommit = 34, 256 // the head of an entry, version and checksum; the entry that ends a transaction
	log = perCommit
	for _, w := range writes {
		n := int64(w.Size() + perRow)
		if log += n; len(w.Value) >= largeValue {
			values += n // the log gets a pointer only
		}
	}
	return log, values
}

// allocateLogs finds the logs that Badger writes to, and allocates the blocks that a commit needs, and more, so
// that the next commits need no search.
func (r *reserve) allocateLogs(log, values int64) error {
	found, err := r.find()
	if err != nil {
		return err
	}
	if l := &r.logs; l.id != found.log {
		// Badger began another log, at some commit since the last search.
		l.id, l.used, l.since = found.log, logHeaderBytes+l.since, 0
	} else {
		l.used, l.since = l.used+l.since, 0
	}
	ahead := max(log, logStep)
	if err := r.extend(r.path(found.log), os.O_RDWR, r.logs.used+ahead); err != nil {
		return err
	}
	// When the memory table is full, Badger makes a table of it, and the next commit goes to a new log. Badger
	// takes an empty file for a new log, so that the blocks of the next log are there before the log is.
	if r.logs.used > nextLogFrom {
		if err := r.extend(r.path(found.log+1), os.O_RDWR|os.O_CREATE, logHeaderBytes+ahead); err != nil {
			return err
		}
	}
	if values > 0 {
		// Badger begins another value log at the end of a commit, never within one.
		v := &r.values
		if v.id != found.values {
			v.id, v.used = found.values, logHeaderBytes
		}
		if err := r.extend(valueLogPath(r.dir, v.id), os.O_RDWR, v.used+values); err != nil {
			return err
		}
	}
	if err := r.probe(r.logs.used + ahead + min(found.tableBytes, rewriteBytes)); err != nil {
		return err
	}
	r.logs.left, r.logs.since = ahead-log, log
	r.values.used += values
	return nil
}

// files are the files that a search finds.
type files struct {
	log, values uint64 // the ids of the newest
	tableBytes  int64  // of all tables
}

// find lists the files of the database.
func (r *reserve) find() (files, error) {
	var f files
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return f, err
	}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if ext != ".mem" && ext != ".vlog" && ext != ".sst" {
			continue
		}
		id, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), ext), 10, 31)
		if err != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // Badger has removed it meanwhile
		} else if err != nil {
			return f, err
		}
		switch ext {
		case ".mem":
			if info.Size() > 0 { // else it is the next one
				f.log = max(f.log, id)
			}
		case ".vlog":
			f.values = max(f.values, id)
		case ".sst":
			f.tableBytes += info.Size()
		}
	}
	return f, nil
}

// path returns the path of a log of the memory table.
func (r *reserve) path(id uint64) string { return logPath(r.dir, id) }

// lookAgain has the next commit list the files and allocate their blocks.
func (r *reserve) lookAgain() { r.logs.left = 0 }

// extend allocates blocks to a file up to an offset.
func (r *reserve) extend(path string, flags int, end int64) error {
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return err
	}
	err = r.allocate(file, 0, end+pageSlack)
	return errors.Join(err, file.Close())
}

// probe checks that there is room for files that Badger makes by itself, beside the commits: the table of the
// memory table, and the tables that it makes of tables. The room is given back at once, since no block can be
// given to a table beforehand.
func (r *reserve) probe(bytes int64) error {
	dir := r.dir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		dir = filepath.Dir(dir) // it is not made yet
	}
	file, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err != nil {
		if isShort(err) {
			return err
		}
		return nil // a file system without files that have no name
	}
	err = r.allocate(file, 0, bytes+pageSlack)
	return errors.Join(err, file.Close())
}

// newFiles is how many files Badger opens when it opens a database, beside those that are there already.
const newFiles = 12

// beforeOpen checks that there is room for the files that Badger makes when it opens the database: its new
// logs, and the tables of the logs of a process that was killed. It checks that all files can be opened, too: Badger ends
// the process if one of them cannot.
func (r *reserve) beforeOpen(s *Snapshot) error {
	bytes, n := int64(logStep), newFiles+2*len(s.logs)+len(s.values)
	for _, f := range s.logs {
		bytes += f.end
	}
	for _, tables := range s.levels {
		n += len(tables)
	}
	return cmp.Or(canOpen(n), r.ask(bytes))
}

// canOpen returns an error that wraps [storage.ErrNoRoom] if this process cannot open n files now.
func canOpen(n int) error {
	for range n {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return shortage(&os.PathError{Op: "open", Path: os.DevNull, Err: err})
		}
		defer func() { _ = unix.Close(fd) }() // nothing was written
	}
	return nil
}

// beforeClose checks that there is room for the files that Badger makes when it closes the database.
func (r *reserve) beforeClose() error { return r.ask(r.logs.used + r.logs.since) }

// ask probes, if the file system can allocate.
func (r *reserve) ask(bytes int64) error {
	err := r.probe(bytes)
	if r.unsupported || isUnsupported(err) {
		return nil
	}
	return shortage(err)
}

// afterClose removes the empty file of the next log.
func (r *reserve) afterClose() error {
	path := r.path(r.logs.id + 1)
	info, err := os.Stat(path)
	if err != nil || info.Size() > 0 {
		return nil // the file was never made, or Badger has begun and removed it
	}
	return os.Remove(path)
}

// shortage wraps an error about a full disk, quota or table of files in storage.ErrNoRoom.
func shortage(err error) error {
	if isShort(err) {
		return fmt.Errorf("%w: %w", storage.ErrNoRoom, err)
	}
	return err
}

// shortages are the errors of the operating system that an operator can mend, and that may go away by themselves.
var shortages = []syscall.Errno{unix.ENOSPC, unix.EDQUOT, unix.EMFILE, unix.ENFILE, unix.ENOMEM}

// isShort reports whether the cause of err may go away by itself, or can be removed by an operator.
func isShort(err error) bool {
	for _, e := range shortages {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// isUnsupported reports whether err means that the file system cannot allocate.
func isUnsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}
