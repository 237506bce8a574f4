package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
// The methods are called by the one caller of [Store.Commit] at a time.
type reserve struct {
	dir string
	// allocate is fallocate, which gives blocks to a range of a file without changing its size.
	allocate func(file *os.File, offset, length int64) error
	// unsupported is set if the file system cannot allocate: then the files are as Badger makes them.
	unsupported bool
	// log and values are the logs that have blocks, and up to where. Only the newest of each kind is noted.
	log, values logEnd
}

const (
	// logStep is how many bytes are allocated ahead.
	logStep = 4 << 20
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

// room returns an error that wraps [storage.ErrNoRoom] if the disk has no room for a commit of these writes behind the ends
// of the logs. Then nothing has changed, and the call may be made again: it asks for the same blocks.
func (r *reserve) room(writes []storage.Write, e ends) error {
	if r.unsupported {
		return nil
	}
	logBytes, valueBytes := logged(writes)
	err := r.allocateLogs(e, logBytes, valueBytes)
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

// allocateLogs allocates the blocks that a commit needs behind the ends of the logs, and more to the log of the memory table,
// so that not every commit allocates.
func (r *reserve) allocateLogs(e ends, logBytes, valueBytes int64) error {
	log, values := e.log, e.values
	// Each attempt to begin a log asks again, also whether files can be opened: one that fails in Badger hands the memory table
	// over once more, and Badger waits when it has been handed over too often.
	covered := !e.begins && r.log.path == log.path && log.at+logBytes <= r.log.at
	if covered && valueBytes == 0 {
		return nil
	}
	ahead := max(logBytes, logStep)
	if !covered {
		// Badger takes an empty file for a new log, so that the next log has its blocks before Badger makes it.
		if err := r.extend(log.path, os.O_RDWR|os.O_CREATE, log.at+ahead); err != nil {
			return err
		}
	}
	if valueBytes > 0 && (r.values.path != values.path || values.at+valueBytes > r.values.at) {
		// Badger begins another value log at the end of a commit, never within one.
		if err := r.extend(values.path, os.O_RDWR, values.at+valueBytes); err != nil {
			return err
		}
		r.values = logEnd{values.path, values.at + valueBytes}
	}
	tables, err := r.tableBytes()
	if err != nil {
		return err
	}
	if err := r.probe(e.content + ahead + min(tables, rewriteBytes)); err != nil {
		return err
	}
	if !covered {
		r.log = logEnd{log.path, log.at + ahead}
	}
	return nil
}

// tableBytes returns the bytes of all tables.
func (r *reserve) tableBytes() (n int64, err error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".sst" {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // Badger has removed it meanwhile
		} else if err != nil {
			return 0, err
		}
		n += info.Size()
	}
	return n, nil
}

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
	if err := canOpen(n); err != nil {
		return err
	}
	return r.ask(bytes)
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

// beforeClose checks that there is room for the table that Badger makes of the content of its memory table when it closes the
// database.
func (r *reserve) beforeClose(content int64) error { return r.ask(content) }

// beforeCompaction checks that there is room for that table, and for what Badger makes of the tables when it compacts.
func (r *reserve) beforeCompaction(content int64) error {
	tables, err := r.tableBytes()
	if err != nil {
		return err
	}
	return r.ask(content + min(content+tables, rewriteBytes))
}

// ask probes, if the file system can allocate.
func (r *reserve) ask(bytes int64) error {
	err := r.probe(bytes)
	if r.unsupported || isUnsupported(err) {
		return nil
	}
	return shortage(err)
}

// removeEmpty removes the file of the next log, if it was made and Badger has not begun the log.
func removeEmpty(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() > 0 {
		return nil
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
