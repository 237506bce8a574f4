package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// stopSignals returns a context that ends at the first signal which asks the kernel to stop: SIGINT, SIGTERM or
// SIGHUP; then it calls stopping, once. From then on SIGINT and SIGTERM have their usual effect, so that a second one ends the process at once.
//
// Later SIGHUPs are taken and change nothing: a terminal that is closed sends one, its shell another, and some
// service managers send SIGTERM and SIGHUP together; none of them asks for more than a stop in order. A SIGHUP that
// the caller had the process ignore, as nohup does, stays ignored.
//
// SIGPIPE is taken as well. Go ends a process that writes to a standard output or standard error which nobody reads
// any more, unless it takes the signal; then the write is an error like any other. The signal is taken and not
// ignored, because workers would inherit that it is ignored.
func stopSignals(ctx context.Context, stopping func()) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop, hangup, pipe := make(chan os.Signal, 1), make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	signal.Notify(pipe, syscall.SIGPIPE)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(hangup, syscall.SIGHUP)
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
	// SIGHUP and SIGPIPE stay taken: what is left of the process is its end, which the second of two SIGHUPs may meet.
	return ctx, func() {
		cancel()
		<-done
	}
}
