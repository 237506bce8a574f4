package statedir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// Lock is held by the kernel that runs on a state.
type Lock struct{ file *os.File }

// LockState locks a state directory. If another process holds it, the error is CodeAlreadyRunning and
// says which.
//
// The lock is on an open file description, so that it can be asked about without being taken for a
// moment: a question must never make a kernel fail that starts meanwhile. The system drops it with the
// last descriptor, after SIGKILL too; the file is not inherited.
func LockState(dir string) (*Lock, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, wholeFile())
	// A kernel that was killed holds the lock until the last of its threads is gone, some milliseconds. One
	// that lives answers, or is about to start or stop: that is not waited for.
	for range dyingTries {
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) || answers(dir) {
			break
		}
		time.Sleep(dyingWait)
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, wholeFile())
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		pid := readPID(f)
		_ = f.Close() // nothing was written
		return nil, control.Errorf(control.CodeAlreadyRunning, "a kernel runs on %s already (pid %s)", dir, pid)
	}
	if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%s%-10d\n", lockMagic, os.Getpid()), 0)
	}
	if err == nil {
		err = errors.Join(f.Sync(), syncDir(dir))
	}
	if err != nil {
		_ = f.Close() // the first error says more
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return &Lock{f}, nil
}

// A lock is tried so often, so far apart, while the kernel that holds it does not answer.
const (
	dyingTries = 100
	dyingWait  = 5 * time.Millisecond
)

// answers says whether a kernel listens at dir.
func answers(dir string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	client, err := control.Dial(ctx, dir)
	if err != nil {
		return false
	}
	_ = client.Close() // nothing was asked
	return true
}

// Close gives the lock back.
func (l *Lock) Close() error { return l.file.Close() }

// Holder returns who holds the lock of a state directory, as text; held is false if nobody does.
func Holder(dir string) (pid string, held bool) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return "", false
	}
	defer f.Close()
	lk := wholeFile()
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, lk); err != nil || lk.Type == unix.F_UNLCK {
		return "", false
	}
	return readPID(f), true
}

func wholeFile() *unix.Flock_t { return &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart} }

// readPID reads the process id, which may be being written this moment.
func readPID(f *os.File) string {
	text := make([]byte, len(lockMagic)+16)
	n, _ := f.ReadAt(text, 0) // short reads are expected
	pid, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(text[:n]), lockMagic)))
	if err != nil {
		return "unknown"
	}
	return strconv.Itoa(pid)
}
