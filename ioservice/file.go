package ioservice

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errShrunk is what reading a file gives that became shorter than what was read of it.
var errShrunk = errors.New("shrunk")

// A regularFile is a link to a file: input comes from a place that moves on, output is appended.
type regularFile struct {
	cfg  Config
	file *os.File
	// offset is where to read on. It belongs to the reading goroutine.
	offset int64
}

// openFile opens the file of a channel, to be read from the offset. A file that is written is made if there
// is none.
func openFile(cfg Config, offset int64) (*regularFile, error) {
	// Opening a device may do something; so this looks first. What is there a moment later is another thing:
	// without O_NONBLOCK, opening a pipe would wait for its other end.
	if info, err := os.Lstat(cfg.Path); err == nil && !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeSymlink {
		return nil, cfg.irregular(fs.ErrInvalid)
	}
	flags := unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	switch cfg.Direction {
	case In:
		flags |= os.O_RDONLY
	case Out:
		flags |= os.O_WRONLY | os.O_APPEND | os.O_CREATE
	case InOut:
		flags |= os.O_RDWR | os.O_APPEND | os.O_CREATE
	}
	file, err := os.OpenFile(cfg.Path, flags, 0o600)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, cfg.fail(err, ": %s is a symbolic link: name the file itself", cfg.Path)
	case errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENXIO):
		return nil, cfg.irregular(err)
	case errors.Is(err, fs.ErrNotExist) && cfg.Direction == In:
		return nil, cfg.fail(err, ": there is no file %s: make it first, or let the channel write it too", cfg.Path)
	case err != nil:
		return nil, cfg.fail(err, ": %v", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = cfg.irregular(fs.ErrInvalid)
	}
	if err != nil {
		_ = file.Close() // nothing was written
		return nil, err
	}
	return &regularFile{cfg: cfg, file: file, offset: offset}, nil
}

func (c Config) irregular(kind error) error {
	return c.fail(kind, ": %s is not a regular file: name one that is", c.Path)
}

func (f *regularFile) Read(buf []byte) (int, error) {
	info, err := f.file.Stat()
	if err != nil {
		return 0, f.cfg.fail(err, ": %v", err)
	}
	if info.Size() < f.offset {
		f.offset = 0
		return 0, f.cfg.fail(errors.Join(ErrConnectionLost, errShrunk), ": the file became shorter than what was read of it: the next read begins at its start")
	}
	n, err := f.file.ReadAt(buf, f.offset)
	f.offset += int64(n)
	switch {
	case n > 0:
		return n, nil
	case err != nil && !errors.Is(err, io.EOF):
		err = f.cfg.fail(err, ": %v", err)
	}
	return n, err
}

func (f *regularFile) Write(data []byte) (int, error)   { return f.file.Write(data) }
func (f *regularFile) SetWriteDeadline(time.Time) error { return nil } // a file does not wait for anybody
func (f *regularFile) Interrupt()                       {}
func (f *regularFile) Gone() bool                       { return false }
func (f *regularFile) Linger()                          {}
func (f *regularFile) Close() error                     { return f.file.Close() }
