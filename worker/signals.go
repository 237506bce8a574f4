package worker

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieOfSentSignals makes the process end by SIGKILL when another process sends it one of the signals that Go turns into an
// exit with status 2. The kernel could not tell that exit from a panic of the vat, and would blame the vat's delivery for
// it. A processor fault in the vat's own code raises the same signals, but no process sends them: Go makes a panic of such a
// fault, and dieOfSentSignals does not see it.
//
// It prints the stacks that Go would have printed, so that SIGQUIT still shows where a vat hangs.
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
