package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// stopSignals returns a context that ends at the first signal which asks the kernel to stop: SIGINT, SIGTERM or
// SIGHUP; then it calls stopping, once. From then on SIGINT and SIGTERM have their usual effect, so that a
// second one ends the process at once.
//
// Later SIGHUPs are taken and change nothing: a terminal that is closed sends one, its shell another, and some
// service managers send SIGTERM and SIGHUP together; none of them asks for more than a stop in order.
//
// A SIGHUP or SIGINT that the caller had the process ignore stays ignored: nohup does so with the former, and a
// shell that is not interactive with the latter, for commands that it starts with "&".
//
// SIGPIPE is taken as well. Go ends a process that writes to a standard output or standard error without a
// reader, unless it takes the signal; then the write is an error like any other. The signal is taken and not
// ignored, because workers would inherit that it is ignored.
func stopSignals(ctx context.Context, stopping func()) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop, hangup, pipe := make(chan os.Signal, 1), make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(stop, heeded(os.Interrupt, syscall.SIGTERM)...)
	signal.Notify(pipe, syscall.SIGPIPE)
	if hup := heeded(syscall.SIGHUP); len(hup) > 0 { // an empty list would stand for all signals
		signal.Notify(hangup, hup...)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer signal.Stop(stop)
		select {
		case <-stop:
		case <-hangup:
		case <-ctx.Done():
			return
		}
		cancel()
		stopping()
	}()
	// SIGHUP and SIGPIPE stay taken: the process only has to end, which the second of two SIGHUPs may meet.
	return ctx, func() {
		cancel()
		<-done
	}
}

// heeded returns the signals that the caller did not have this process ignore. SIGTERM is always among them: Go
// does not keep it ignored.
func heeded(list ...os.Signal) []os.Signal { return slices.DeleteFunc(list, signal.Ignored) }
