package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/control"
	"ocapkernel.dev/internal/statedir"
)

// slowTimer is a context whose time is up, and whose timer has not run yet.
type slowTimer struct{ context.Context }

func (slowTimer) Deadline() (time.Time, bool) { return time.Now().Add(-time.Millisecond), true }

// When the time of a stop is up, the kernel is said to run still, whichever timer was the first: its connection's or its own.
func TestStopIsOutOfTimeThoughOnlyItsConnectionSaysSo(t *testing.T) {
	dir := t.TempDir()
	lock, err := statedir.LockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	listener, err := control.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	timer := time.AfterFunc(50*time.Millisecond, cancel)
	defer timer.Stop()
	a := &app{state: dir, stdout: io.Discard, stderr: io.Discard}
	if err := a.stop(slowTimer{ctx}, time.Second); err == nil || !strings.Contains(err.Error(), "still runs after 1s") {
		t.Errorf("got %v, want that it still runs", err)
	}
}
