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
)

const (
	lockName = "kernel.lock"
	// lockMagic is the first line of the lock file, by which a state directory is known. The second is
	// the process id of the last kernel that ran here, which means something only while the lock is held.
	lockMagic = "ocapkernel state\n"
)

// ErrNotOurs is returned, wrapped, by [Lock.Owned] when the state at the path is not the one that was locked.
var ErrNotOurs = errors.New("the state directory is not this kernel's any more")

// LockFile is the path of the lock of a state directory.
func LockFile(dir string) string { return filepath.Join(dir, lockName) }

// Lock is held by the kernel that runs on a state.
type Lock struct {
	dir  string
	file *os.File
	// open is a descriptor of the directory itself, whatever its path leads to meanwhile, or -1. It is no *os.File, which
	// would be closed when nobody refers to it any more.
	open int
	// lost is set when Owned has found that the state is not ours any more.
	lost atomic.Bool
}

// LockState locks a state directory. If a kernel holds it, the error is CodeAlreadyRunning and says which; if somebody
// reads it, the error is [BeingRead].
//
// The lock is on an open file description, so that it can be asked about without being taken for a
// moment: a question must never make a kernel fail that starts meanwhile. The system drops it with the
// last descriptor, after SIGKILL too; the file is not inherited.
func LockState(dir string) (*Lock, error) {
	l, err := lock(dir, os.O_RDWR|os.O_CREATE, unix.F_WRLCK)
	if err != nil {
		return nil, err
	}
	_, err = l.file.WriteAt(fmt.Appendf(nil, "%s%-10d\n", lockMagic, os.Getpid()), 0)
	if err == nil {
		err = errors.Join(l.file.Sync(), syncDir(dir))
	}
	if err != nil {
		_ = l.Close() // the first error says more
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return l, nil
}

// LockForReading keeps kernels from running on a state while it is read, and changes nothing. Others may read it, too. What an
// interrupted reset has left is refused, with [CheckWhole].
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
		return nil, control.Errorf(control.CodeAlreadyRunning, "a kernel runs on %s already (pid %s)", dir, pid)
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

// A lock is tried again while whoever holds it gives no answer: a kernel that was killed holds it until the last of its
// threads is gone, which takes milliseconds, or a second if it was large. Its socket takes connections until then. A
// kernel that lives answers; one that is about to start or stop is waited for no longer than quietTime.
const (
	dyingTime = 10 * time.Second
	quietTime = time.Second
	tryAgain  = 5 * time.Millisecond
	askTime   = 300 * time.Millisecond
)

// take locks the file, if need be when its dying holder is gone.
func (l *Lock) take(kind int16) error {
	began := time.Now()
	for {
		err := unix.FcntlFlock(l.file.Fd(), unix.F_OFD_SETLK, wholeFile(kind))
		if !isHeld(err) {
			return err
		}
		limit := quietTime
		switch h := conflict(l.file, kind); {
		case h != nil && h.Type == unix.F_RDLCK: // by somebody who reads the state, and left no name
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

// isDying reports whether a process is gone, or has begun to end and will not do anything any more.
func isDying(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return pid != unknownPID
	}
	// pid (name) state ppid pgrp session tty tpgid flags: the name may hold anything.
	_, rest, found := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if err != nil || !found || len(fields) < 7 {
		return false
	}
	const exiting = 0x4 // PF_EXITING of the kernel's sched.h
	flags, _ := strconv.ParseUint(fields[6], 10, 64)
	return fields[0] == "Z" || fields[0] == "X" || flags&exiting != 0
}

// answers says whether a kernel answers at dir. That it takes a connection means nothing: so does one that is dying.
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

// Owned returns [ErrNotOurs], wrapped, if the lock file at the path is not the one that is held: somebody has removed
// or replaced the directory. Another kernel may run there now.
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
		return nil // could not look is not: is not there
	}
	held, err := l.file.Stat()
	if err == nil && !os.SameFile(there, held) {
		return fmt.Errorf("%w: %s is another file", ErrNotOurs, path)
	}
	return nil
}

// Path returns a path to a file of the directory that was locked, even if another directory has its name by now. It can
// be used until the lock is closed, and for good if the state was lost.
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
// If [Lock.Owned] has said that the state is lost, the descriptor of the directory stays open until the process ends. What
// was opened by [Lock.Path] is then left as it is, a database above all, and may open more there: the descriptor's number
// must not come to mean another directory, which might be the one of the next kernel of this process.
func (l *Lock) Close() error {
	err := l.file.Close()
	if l.open >= 0 && !l.lost.Load() {
		err = errors.Join(err, unix.Close(l.open))
	}
	return err
}

// A Held lock of a state directory is held by a kernel, or by those who read the state, or by nobody.
type Held struct {
	// Kernel is whether a kernel holds it, or a command that starts one. PID is the process, as text.
	Kernel bool
	PID    string
	// Read is whether somebody reads the state. Who does leaves no name.
	Read bool
}

// BeingRead is the error, CodeConflict, that somebody reads the state in dir.
func BeingRead(dir string) error {
	return control.Errorf(control.CodeConflict, "the state %s is being read, by kernel check, kernel replay or kernel state", dir)
}

// Holder returns who holds the lock of a state directory. An error says why that cannot be known.
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

// conflict returns the lock that is in the way of one of that kind, nil if none is.
func conflict(f *os.File, kind int16) *unix.Flock_t {
	lk := wholeFile(kind)
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, lk); err != nil || lk.Type == unix.F_UNLCK {
		return nil
	}
	return lk
}

func wholeFile(kind int16) *unix.Flock_t { return &unix.Flock_t{Type: kind, Whence: io.SeekStart} }

const unknownPID = "unknown"

// readPID reads the process id, which may be being written this moment.
func readPID(f *os.File) string {
	text := make([]byte, len(lockMagic)+16)
	n, _ := f.ReadAt(text, 0) // short reads are expected
	pid, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(text[:n]), lockMagic)))
	if err != nil {
		return unknownPID
	}
	return strconv.Itoa(pid)
}
