package worker

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieOfSentSignals has the process end by SIGKILL when another process sends one of the signals that Go turns into an exit with
// status 2. The kernel could not tell that from a panic of the vat, and would charge the vat's delivery with it. A fault of
// the processor in the vat's own code comes as the same signals, but is not sent, and Go keeps it: it is a panic.
//
// What Go would have printed is printed, so that SIGQUIT still shows where a vat that hangs is.
func dieOfSentSignals() {
	sent := make(chan os.Signal, 1)
	signal.Notify(sent, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGSYS, syscall.SIGSEGV, syscall.SIGBUS,
		syscall.SIGFPE, syscall.SIGILL, syscall.SIGSTKFLT)
	go func() {
		s := <-sent
		stacks := make([]byte, 64<<10)
		stacks = stacks[:runtime.Stack(stacks, true)]
		fmt.Fprintf(os.Stderr, "worker: ended by a signal that was sent: %v\n%s", s, stacks)
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}()
}
