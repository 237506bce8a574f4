package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Begin closes every descriptor of this process above last that is open. The event descriptors of the Go runtime stay. Call it
// before anything else is opened.
func (p Policy) Begin(last int) error {
	if p.Mode == Off {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("sandbox: list descriptors: %w", err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= last {
			continue
		}
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.HasPrefix(to, "anon_inode:[event") {
			continue // it was that of the listing; or it belongs to the runtime's poller
		}
		_ = unix.Close(fd) // of no use to anybody here
	}
	return nil
}

// Confine gives up, for all threads of this process and for good, what p says. It returns an error if a layer that p demands
// cannot be had: then the process must end, since some layers may hold. It changes nothing if the mode is Off.
func (p Policy) Confine() error {
	if p.Mode == Off {
		return nil
	}
	if err := p.Limits.check(); err != nil {
		return err
	}
	program, err := assemble(uint64(os.Getpid()))
	if err != nil {
		return &LayerError{LayerSeccomp, err, seccompHint}
	}
	os.Clearenv()
	// What the runtime and the standard library open at their first use, they open now: the poller of timers, and the time zone.
	time.AfterFunc(time.Hour, func() {}).Stop()
	_, _ = time.Now().Zone()

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.Limits.set(); err != nil {
		return &LayerError{LayerLimits, err, limitsHint}
	}
	// No core file, no trace by another process of this user, and /proc/PID/mem is root's.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return &LayerError{LayerLimits, fmt.Errorf("PR_SET_DUMPABLE: %w", err), limitsHint}
	}
	if err := noNewPrivs(); err != nil {
		return &LayerError{LayerNoNewPrivs, err, seccompHint}
	}
	if err := dropCapabilities(); err != nil && p.Mode == Required {
		return &LayerError{LayerCapabilities, err, "it needs a program built with CGO_ENABLED=0, or run with sandbox best-effort"}
	}
	if err := restrictFiles(); err != nil && p.Mode == Required {
		return &LayerError{LayerLandlock, err, landlockHint}
	}
	if err := install(program); err != nil {
		return &LayerError{LayerSeccomp, err, seccompHint}
	}
	return nil
}

// resources are the resource limits by number, with the name and the value for each.
func (l Limits) resources() []resource {
	return []resource{
		{"RLIMIT_DATA", "Max data size", unix.RLIMIT_DATA, l.DataBytes},
		{"RLIMIT_NOFILE", "Max open files", unix.RLIMIT_NOFILE, l.Files},
		{"RLIMIT_STACK", "Max stack size", unix.RLIMIT_STACK, l.StackBytes},
		{"RLIMIT_CORE", "Max core file size", unix.RLIMIT_CORE, 0},
		{"RLIMIT_FSIZE", "Max file size", unix.RLIMIT_FSIZE, 0},
		{"RLIMIT_MEMLOCK", "Max locked memory", unix.RLIMIT_MEMLOCK, 0},
		{"RLIMIT_MSGQUEUE", "Max msgqueue size", unix.RLIMIT_MSGQUEUE, 0},
	}
}

type resource struct {
	name   string
	title  string // of its line in /proc/PID/limits
	number int
	most   uint64
}

// set lowers the limits of this process; one that is lower already stays.
func (l Limits) set() error {
	for _, r := range l.resources() {
		var old unix.Rlimit
		if err := unix.Prlimit(0, r.number, nil, &old); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		most := min(r.most, old.Max)
		if err := unix.Prlimit(0, r.number, &unix.Rlimit{Cur: min(most, old.Cur), Max: most}, nil); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// noNewPrivs sets the flag for all threads. In a program with cgo it sets it for this thread; the seccomp filter, which is
// installed for all threads by this one, hands it on.
func noNewPrivs() error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno == syscall.ENOTSUP {
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	return nilIfZero(errno)
}

// dropCapabilities gives up the privileges that a process of root has, for all threads.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	runtime.KeepAlive(&header)
	runtime.KeepAlive(&none)
	return nilIfZero(errno)
}

func nilIfZero(errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return errors.New("this program is built with cgo")
	}
	return errno
}
