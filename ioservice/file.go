package ioservice

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/fault"
)

// errOther is the error of reading a file that no longer has the place of the last read: it is another file, or
// its content is another.
var errOther = errors.New("another file")

// A regularFile is a link to a file: input comes from a place that moves on, output is appended.
type regularFile struct {
	cfg Config
	// offset is the place of the next read, and mark identifies the part of the file that was read. The reading
	// goroutine changes them, with the mu of the stream, or, while the stream has a tail, the goroutine that
	// takes the tail.
	offset int64
	mark   *fileMark
	// changed is the time of the last write to the file, as far as it was known when the file was opened.
	changed time.Time
	// out is the file that is written, or nil. It is opened apart from the file that is read. When another file
	// takes the path, out becomes that file at once, while the old one is still read to its end. Only the
	// writing goroutine changes out.
	out  *os.File
	tear tear
	// whole is held while a unit is appended, until the unit is whole or removed again, and while the file is
	// read. It is for the reading and the writing goroutine, both of which wait for the file system anyhow.
	whole sync.Mutex

	// mu is held for a moment only, and never during a call of the file system: such a call may hang, and every
	// read or write of the channel would hang with it.
	mu struct {
		sync.Mutex
		// file is the file that is read, or nil.
		file *os.File
		// next is another file at the path, which is read as soon as the end of this one is reported, and old
		// the file that was read before and is to be closed.
		next, old *os.File
		nextMark  *fileMark
	}
}

// openFile opens the file of a channel, to be read from the place. If the file does not hold the bytes that
// were read up to the place, it is another file: it is read from its start, and other is the reason. A file
// that is written is made if there is none.
func openFile(cfg Config, at place) (f *regularFile, other error, err error) {
	f = &regularFile{cfg: cfg, offset: at.offset}
	if cfg.writes() {
		if f.out, err = cfg.openPath(os.O_WRONLY | os.O_APPEND | os.O_CREATE); err != nil {
			return nil, nil, err
		}
	}
	if !cfg.reads() {
		return f, nil, nil
	}
	if f.mu.file, err = cfg.openPath(os.O_RDONLY); err == nil {
		f.mark, other, err = cfg.identify(f.mu.file, at)
	}
	if err != nil {
		_ = f.Close() // no byte was written
		return nil, nil, err
	}
	if other != nil {
		f.offset = 0
	}
	if info, err := f.mu.file.Stat(); err == nil {
		f.changed = info.ModTime()
	}
	return f, other, nil
}

// openPath opens the regular file at the path, with flags.
func (c Config) openPath(flags int) (*os.File, error) {
	// To open a device may have an effect, so this checks first. Another file may take the path a moment later:
	// without O_NONBLOCK, opening a pipe would wait for its other end.
	if info, err := os.Lstat(c.Path); err == nil && !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeSymlink {
		return nil, c.irregular(fs.ErrInvalid)
	}
	file, err := os.OpenFile(c.Path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0o600)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, c.fail(err, ": %s is a symbolic link: name the file itself", c.Path)
	case errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENXIO):
		return nil, c.irregular(err)
	case errors.Is(err, fs.ErrNotExist) && c.Direction == In:
		return nil, c.fail(err, ": there is no file %s: make it first, or let the channel write it too", c.Path)
	case err != nil:
		return nil, c.fail(err, ": %v", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = c.irregular(fs.ErrInvalid)
	}
	if err != nil {
		_ = file.Close() // no byte was written
		return nil, err
	}
	return file, nil
}

func (c Config) irregular(kind error) error {
	return c.fail(kind, ": %s is not a regular file: name one that is", c.Path)
}

// other returns the error of a file that is not the one that was read.
func (c Config) other(format string, args ...any) error {
	return c.fail(errors.Join(ErrConnectionLost, errOther), ": %s: the next read begins at its start", fmt.Sprintf(format, args...))
}

// Read returns the next bytes. It returns io.EOF at the present end of the file, and an error that is errOther
// if the file no longer has the content that was read. It never waits for other processes.
func (f *regularFile) Read(buf []byte) (int, error) {
	f.whole.Lock()
	defer f.whole.Unlock()
	file := f.current()
	n, err := file.ReadAt(buf, f.offset)
	fault.Point(fault.FileRead)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, f.cfg.fail(err, ": %v", err)
	}
	// After the read: if the file was cut and written again before it, the bytes that were read are new
	// content.
	if other, err := f.mark.compare(f.cfg, file, f.offset+int64(n)); other != nil || err != nil {
		return 0, errors.Join(other, err)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// took notes that the bytes of a Read were taken. The caller holds the mu of the stream, whose reads store the
// mark.
func (f *regularFile) took(data []byte) {
	f.mark.add(f.offset, data)
	f.offset += int64(len(data))
}

func (f *regularFile) current() *os.File {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.file
}

// openNext opens the file that has taken the path, as the rotation of a log does, and reports whether there is
// one. It is read after turn. If there is no file at the path, that is no error: the next file may be about to
// be made. If there is one that cannot be read, that is an error.
func (f *regularFile) openNext() (bool, error) {
	at, err := os.Lstat(f.cfg.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	var mine fs.FileInfo
	if err == nil {
		mine, err = f.current().Stat()
	}
	switch {
	case err != nil:
		return false, f.cfg.fail(err, ": what is at its path: %v", err)
	case os.SameFile(at, mine):
		return false, nil
	}
	next, err := f.cfg.openPath(os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	mark := markOf(next)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.next, f.mu.nextMark = next, mark
	return true, nil
}

// turn goes to the start of the file, or of the next one, and returns the place.
func (f *regularFile) turn() place {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offset, f.mark = 0, &fileMark{dev: f.mark.dev, ino: f.mark.ino}
	if f.mu.next != nil {
		f.mark = f.mu.nextMark
		f.mu.old, f.mu.file, f.mu.next = f.mu.file, f.mu.next, nil
	}
	return place{mark: f.mark}
}

// closeOld closes the file that was read before.
func (f *regularFile) closeOld() {
	f.mu.Lock()
	old := f.mu.old
	f.mu.old = nil
	f.mu.Unlock()
	if old != nil {
		_ = old.Close() // writes have reported its errors
	}
}

// Write appends to the file at the path: when a log was rotated or removed, the next line is in the new file,
// which is made if there is none.
func (f *regularFile) Write(data []byte) (int, error) {
	if err := f.followPath(); err != nil {
		return 0, err
	}
	f.whole.Lock()
	defer f.whole.Unlock()
	return f.tear.write(f.cfg, data, f.append)
}

// append writes all of the data or, if that is possible, nothing. A part that was written before the disk was
// full is cut off again, unless another process has appended to the file meanwhile, or the file cannot be cut.
func (f *regularFile) append(data []byte) (int, error) {
	before, statErr := f.out.Stat()
	n, err := f.out.Write(data)
	if n == 0 || err == nil || statErr != nil {
		return n, err
	}
	after, statErr := f.out.Stat()
	if statErr == nil && after.Size() == before.Size()+int64(n) && f.out.Truncate(before.Size()) == nil {
		n = 0
	}
	return n, err
}

// followPath makes out the file at the path. It returns an error if the file system cannot tell which file that
// is: a line written to a file without a path would be lost.
func (f *regularFile) followPath() error {
	at, err := os.Lstat(f.cfg.Path)
	if err == nil {
		var mine fs.FileInfo
		if mine, err = f.out.Stat(); err == nil && os.SameFile(at, mine) {
			return nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.cfg.fail(err, ": what is at its path: %v", err)
	}
	out, err := f.cfg.openPath(os.O_WRONLY | os.O_APPEND | os.O_CREATE)
	if err != nil {
		return err
	}
	_ = f.out.Close() // writes have reported its errors
	f.out, f.tear = out, false
	return nil
}

func (f *regularFile) SetWriteDeadline(time.Time) error { return nil } // a file makes no write wait
func (f *regularFile) Interrupt()                       {}
func (f *regularFile) Gone() bool                       { return false }
func (f *regularFile) Linger()                          {}

func (f *regularFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	for _, file := range []*os.File{f.mu.file, f.mu.next, f.mu.old, f.out} {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
	}
	return err
}

// ids returns the numbers by which the system identifies a file.
func ids(info fs.FileInfo) (dev, ino uint64) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev), st.Ino
	}
	return 0, 0
}
