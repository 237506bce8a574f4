package supervisor

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ocapkernel.dev/wire"
)

// asked returns a control whose other end is the test's.
func asked(t *testing.T) (*control, *os.File) {
	t.Helper()
	ours, theirs, err := socketpair("control")
	if err != nil {
		t.Fatal(err)
	}
	c := newControl(ours)
	t.Cleanup(func() {
		c.close()
		_ = theirs.Close()
	})
	return c, theirs
}

func TestLateAnswerIsNotThatOfTheNextPing(t *testing.T) {
	c, theirs := asked(t)
	ctx, cancel := context.WithCancel(t.Context())
	late := make(chan error, 1)
	go func() { late <- c.ping(ctx) }()
	var first [wire.PingBytes]byte
	if _, err := io.ReadFull(theirs, first[:]); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-late; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	next := make(chan error, 1)
	go func() { next <- c.ping(t.Context()) }()
	var second [wire.PingBytes]byte
	if _, err := io.ReadFull(theirs, second[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Write(append(first[:], second[:]...)); err != nil {
		t.Fatal(err)
	}
	if err := <-next; err != nil {
		t.Error(err)
	}
}

// A process that stands still, and is asked again and again, answers when it goes on.
func TestAnswersThatComeAtLastInPieces(t *testing.T) {
	c, theirs := asked(t)
	for range 3 * unheard {
		short, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if err := c.ping(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("nobody answers, and the ping ends with %v", err)
		}
		cancel()
	}
	late := make(chan error, 1)
	go func() { late <- c.ping(t.Context()) }()
	go func() {
		for { // until the other end is closed
			var b [3]byte
			n, err := theirs.Read(b[:])
			if err != nil {
				return
			}
			if _, err := theirs.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	if err := <-late; err != nil {
		t.Error(err)
	}
	if err := c.ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoAnswerEndsThePings(t *testing.T) {
	c, theirs := asked(t)
	if _, err := theirs.Write([]byte("HTTP/1.1 400 Bad Request")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the reason stays
		if err := c.ping(t.Context()); err == nil || !strings.Contains(err.Error(), `says "HTTP/1.1"`) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := theirs.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if n, err := theirs.Read(make([]byte, 8)); err == nil {
		t.Errorf("got %d bytes more", n)
	}
}

func TestSilentWorkerIsWaitedForBriefly(t *testing.T) {
	c, theirs := asked(t)
	var wg sync.WaitGroup
	for range 4 { // one after the other, but each with its own end
		wg.Go(func() {
			if err := c.ping(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	_ = theirs.Close()
	if err := c.ping(t.Context()); err == nil {
		t.Error("a closed end answers")
	}
	closed, _ := asked(t)
	closed.close()
	if err := closed.ping(t.Context()); !errors.Is(err, errEnded) {
		t.Errorf("got %v", err)
	}
}

func TestPingOfManyAtOnce(t *testing.T) {
	c, theirs := asked(t)
	go func() {
		_, _ = io.Copy(theirs, theirs) // until the other end is closed
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 50 {
				if err := c.ping(ctx); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
