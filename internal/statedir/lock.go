package statedir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

const (
	lockName = "kernel.lock"
	// lockMagic is the first line of the lock file, and the mark of a state directory. The second line is the
	// process id of the last kernel that ran here; it has a meaning only while the lock is held.
	lockMagic = "ocapkernel state\n"
)

// ErrNotOurs is returned, wrapped, by [Lock.Owned] when the state at the path is not the one that was locked.
var ErrNotOurs = errors.New("the state directory is not this kernel's any more")

// LockFile returns the path of the lock of a state directory.
func LockFile(dir string) string { return filepath.Join(dir, lockName) }

// Lock is held by the kernel that runs on a state.
type Lock struct {
	dir  string
	file *os.File
	// open is a descriptor of the directory itself, also if another directory takes its path, or -1. It is no
	// *os.File, which the garbage collector could close.
	open int
	// lost is set when Owned has found that the state is no longer this kernel's.
	lost atomic.Bool
}

// LockState locks a state directory. If a kernel holds the lock, the error is errcode.AlreadyRunning and names its
// process; if the state is being read, the error is [BeingRead]; if there is no room for the lock, its code is DISK_FULL.
//
// The lock is on an open file description, so that a process can ask for its holder without taking it for a
// moment: such a question must never make a kernel fail that starts meanwhile. The system drops the lock with
// the last descriptor, after SIGKILL too; the file is not inherited.
func LockState(dir string) (*Lock, error) {
	l, err := lock(dir, os.O_RDWR|os.O_CREATE, unix.F_WRLCK)
	if err != nil {
		return nil, noRoom(err)
	}
	_, err = l.file.WriteAt(fmt.Appendf(nil, "%s%-10d\n", lockMagic, os.Getpid()), 0)
	if err == nil {
		err = errors.Join(l.file.Sync(), syncDir(dir))
	}
	if err != nil {
		_ = l.Close() // the first error is the better one
		return nil, noRoom(fmt.Errorf("lock %s: %w", dir, err))
	}
	return l, nil
}

// noRoom gives an error about a full disk, or a quota, the code DISK_FULL.
func noRoom(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fullError(err.Error(), true)
	}
	return err
}

// LockForReading keeps kernels from running on a state while it is read, and changes nothing. Several processes
// may read at once. It returns the error of [CheckWhole] for a state that an interrupted reset has left.
func LockForReading(dir string) (*Lock, error) {
	l, err := lock(dir, os.O_RDONLY, unix.F_RDLCK)
	if err != nil {
		return nil, err
	}
	if err := CheckWhole(dir); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func lock(dir string, flags int, kind int16) (_ *Lock, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), flags|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	l := &Lock{dir: dir, file: f, open: -1}
	defer func() {
		if err != nil {
			_ = l.Close() // nothing was written
		}
	}()
	if err := l.take(kind); isHeld(err) {
		pid := readPID(f)
		if h := conflict(f, kind); h != nil && h.Type == unix.F_RDLCK {
			return nil, BeingRead(dir)
		}
		return nil, control.Errorf(errcode.AlreadyRunning, "a kernel runs on %s already (pid %s)", dir, pid)
	} else if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if l.open, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		l.open = -1
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	// Between the open and the lock, the directory may have been replaced.
	return l, l.owned()
}

// A lock is tried again while its holder does not answer. A kernel that was killed holds it until the last of
// its threads is gone, which takes milliseconds, or a second if it was large; its socket takes connections
// until then. A living kernel answers. A kernel that is about to start or stop is waited for no longer than
// quietTime.
const (
	dyingTime = 10 * time.Second
	quietTime = time.Second
	tryAgain  = 5 * time.Millisecond
	askTime   = 300 * time.Millisecond
)

// take locks the file. If the holder of the lock is dying, it waits until the holder is gone.
func (l *Lock) take(kind int16) error {
	began := time.Now()
	for {
		err := unix.FcntlFlock(l.file.Fd(), unix.F_OFD_SETLK, wholeFile(kind))
		if !isHeld(err) {
			return err
		}
		limit := quietTime
		switch h := conflict(l.file, kind); {
		case h != nil && h.Type == unix.F_RDLCK: // held by a reader, which leaves no name
		case isDying(readPID(l.file)):
			limit = dyingTime
		case answers(l.dir):
			return err
		}
		if time.Since(began) > limit {
			return err
		}
		time.Sleep(tryAgain)
	}
}

func isHeld(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) }

// isDying reports whether a process is gone, or has begun to end and runs no more code.
func isDying(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return pid != unknownPID
	}
	// pid (name) state ppid pgrp session tty tpgid flags: the name may have any characters.
	_, rest, found := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if err != nil || !found || len(fields) < 7 {
		return false
	}
	const exiting = 0x4 // PF_EXITING of the kernel's sched.h
	flags, _ := strconv.ParseUint(fields[6], 10, 64)
	return fields[0] == "Z" || fields[0] == "X" || flags&exiting != 0
}

// answers reports whether a kernel answers at dir. A connection that is taken is no answer: a dying kernel
// takes it too.
func answers(dir string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	client, err := control.Dial(ctx, dir)
	if err != nil {
		return false
	}
	defer client.Close()
	_, err = client.Version(ctx)
	return err == nil
}

// Owned returns [ErrNotOurs], wrapped, if the lock file at the path is not the one that is held, because the
// directory was removed or replaced. Another kernel may run there now.
func (l *Lock) Owned() error {
	err := l.owned()
	if err != nil {
		l.lost.Store(true)
	}
	return err
}

func (l *Lock) owned() error {
	path := filepath.Join(l.dir, lockName)
	there, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%w: %s is gone", ErrNotOurs, path)
	}
	if err != nil {
		return nil // "could not be read" is not "does not exist"
	}
	held, err := l.file.Stat()
	if err == nil && !os.SameFile(there, held) {
		return fmt.Errorf("%w: %s is another file", ErrNotOurs, path)
	}
	return nil
}

// Path returns a path to a file of the directory that was locked, also if another directory has its name by
// now. The path can be used until the lock is closed, and for good if the state was lost.
func (l *Lock) Path(name string) string {
	dir := "/proc/self/fd/" + strconv.Itoa(l.open)
	if _, err := os.Stat(dir); err != nil {
		dir = l.dir // there is no /proc
	}
	return filepath.Join(dir, name)
}

// Explain returns an error that names files by the directory's own path, where the error names them by [Lock.Path].
func (l *Lock) Explain(err error) error {
	if err == nil {
		return nil
	}
	text := strings.ReplaceAll(err.Error(), l.Path("."), l.dir)
	if text == err.Error() {
		return err
	}
	return &explained{err, text}
}

type explained struct {
	error
	text string
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.error }

// Close gives the lock back.
//
// If [Lock.Owned] has found that the state is lost, the descriptor of the directory stays open until the
// process ends. Files that were opened by [Lock.Path], a database above all, then stay as they are, and the
// database may open more files there: the descriptor's number must not come to mean another directory, perhaps
// that of the next kernel of this process.
func (l *Lock) Close() error {
	err := l.file.Close()
	if l.open >= 0 && !l.lost.Load() {
		err = errors.Join(err, unix.Close(l.open))
	}
	return err
}

// Held describes the holders of the lock of a state directory: a kernel, processes that read the state, or
// none.
type Held struct {
	// Kernel is set if a kernel holds the lock, or a command that starts one. PID is the process, as text.
	Kernel bool
	PID    string
	// Read is set if the state is being read. Readers leave no name.
	Read bool
}

// BeingRead returns the error, errcode.Conflict, of a state that is being read.
func BeingRead(dir string) error {
	return control.Errorf(errcode.Conflict, "the state %s is being read, by kernel check, replay, state, backup or export", dir)
}

// Holder returns the holders of the lock of a state directory, or the reason why they cannot be known.
func Holder(dir string) (Held, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Held{}, nil
	}
	if err != nil {
		return Held{}, fmt.Errorf("look whether a kernel runs: %w", err)
	}
	defer f.Close()
	lk := wholeFile(unix.F_WRLCK)
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, lk); err != nil {
		return Held{}, fmt.Errorf("look whether a kernel runs: lock of %s: %w", dir, err)
	}
	switch lk.Type {
	case unix.F_UNLCK:
		return Held{}, nil
	case unix.F_RDLCK:
		return Held{Read: true}, nil
	}
	return Held{Kernel: true, PID: readPID(f)}, nil
}

// conflict returns a lock that conflicts with a lock of that kind, or nil.
func conflict(f *os.File, kind int16) *unix.Flock_t {
	lk := wholeFile(kind)
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, lk); err != nil || lk.Type == unix.F_UNLCK {
		return nil
	}
	return lk
}

func wholeFile(kind int16) *unix.Flock_t { return &unix.Flock_t{Type: kind, Whence: io.SeekStart} }

const unknownPID = "unknown"

// readPID reads the process id. The file may be written at the same moment.
func readPID(f *os.File) string {
	text := make([]byte, len(lockMagic)+16)
	n, _ := f.ReadAt(text, 0) // short reads are expected
	pid, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(text[:n]), lockMagic)))
	if err != nil {
		return unknownPID
	}
	return strconv.Itoa(pid)
}
