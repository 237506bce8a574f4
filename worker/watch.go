package worker

import (
	"os"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/wire"
)

// watch ends the process when the kernel's end of DataFD closes, and answers the pings on ControlFD. It has a thread of
// its own, which sleeps in poll(2), so it works while the vat computes or loops. It costs a crank nothing: bytes that arrive
// on DataFD do not wake it, since it polls DataFD for the end of the stream alone.
func watch() {
	fds := []unix.PollFd{
		{Fd: wire.DataFD, Events: unix.POLLRDHUP},
		{Fd: wire.ControlFD, Events: unix.POLLIN},
	}
	for {
		if _, err := unix.Poll(fds, -1); err != nil {
			if err == unix.EINTR {
				continue
			}
			os.Exit(exitFailed)
		}
		if fds[0].Revents != 0 {
			os.Exit(exitDone)
		}
		if len(fds) == 2 && fds[1].Revents != 0 && !echo() {
			fds = fds[:1]
		}
	}
}

// echo sends the pings that have arrived on ControlFD back. It returns false if the kernel has closed ControlFD, or takes no
// answer.
func echo() bool {
	var b [8 * wire.PingBytes]byte
	n, err := unix.Read(wire.ControlFD, b[:])
	if err == unix.EINTR {
		return true
	}
	if n <= 0 || err != nil {
		return false
	}
	// The kernel waits for each answer, so there is room. If there is none, this thread must not block: it watches DataFD.
	return unix.Sendto(wire.ControlFD, b[:n], unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) == nil
}
