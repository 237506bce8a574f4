package supervisor

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ending describes the end of a process: by an exit or a signal. It is set before the process is reaped.
type ending struct {
	once   sync.Once
	known  chan struct{} // closed when status and ours are set
	status syscall.WaitStatus
	ours   bool // this package had sent SIGKILL before the process ended
}

// childInfo is the layout of a [unix.Siginfo] about a child.
type childInfo struct {
	_      [3]int32 // signal, errno
	_      [0]uintptr
	_      [2]int32 // process, user
	status int32
}

// The codes of a child's end.
const (
	cldExited = 1
	cldDumped = 3
)

// hasEnded returns whether the process behind a pidfd has ended, and its status. It does not reap the process. The status of
// a process that was reaped is 0.
func hasEnded(pidfd uintptr) (status syscall.WaitStatus, over bool) {
	var info unix.Siginfo
	err := unix.EINTR
	for err == unix.EINTR {
		err, _ = unix.Waitid(unix.P_PIDFD, int(pidfd), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil).(syscall.Errno)
	}
	if err != 0 {
		return 0, true
	}
	if info.Signo == 0 {
		return 0, false
	}
	n := syscall.WaitStatus((*childInfo)(unsafe.Pointer(&info)).status)
	switch info.Code {
	case cldExited:
		return n << 8, true
	case cldDumped:
		return n | 0x80, true
	}
	return n, true // the signal
}
