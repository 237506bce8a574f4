package ocapkernel_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"ocapkernel.dev"
	"ocapkernel.dev/service"
)

// Lab is a service with methods for tests: they wait, count, reject and so on.
type Lab struct {
	// began gets the name of a method that waits, and ended the error of its context when that ends.
	began chan string
	ended chan error
	// slow is closed when Slow may end.
	slow    chan struct{}
	counted atomic.Int64
	// doors makes calls of Meet wait for one another.
	doors struct {
		sync.Mutex
		waiting chan struct{}
	}
}

func newLab() *Lab {
	return &Lab{began: make(chan string, 16), ended: make(chan error, 16), slow: make(chan struct{})}
}

// object makes the lab a service.
func (l *Lab) object(t *testing.T) map[string]ocapkernel.Service {
	t.Helper()
	o, err := service.New(l, service.Name("lab"), service.IdempotentMethods("waitTwice"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]ocapkernel.Service{"lab": {Object: o}}
}

// Echo returns its argument.
func (l *Lab) Echo(v any) any { return v }

// Count returns how often it was called.
func (l *Lab) Count() int64 { return l.counted.Add(1) }

// Refuse rejects.
func (l *Lab) Refuse() error { return errors.New("not today") }

// Panic does.
func (l *Lab) Panic() { panic("the lab burns") }

// Same returns the reference that it gets.
func (l *Lab) Same(r service.Ref) service.Ref { return r }

// Wait waits for the end of its context, and must not be done twice.
func (l *Lab) Wait(ctx context.Context) error { return l.wait(ctx, "wait") }

// WaitTwice does the same, and may be done twice.
func (l *Lab) WaitTwice(ctx context.Context) (string, error) {
	if c, _ := service.Caller(ctx); c.Again {
		return "the second time", nil
	}
	return "", l.wait(ctx, "waitTwice")
}

func (l *Lab) wait(ctx context.Context, method string) error {
	l.began <- method
	<-ctx.Done()
	l.ended <- ctx.Err()
	return ctx.Err()
}

// Slow ends when it is let.
func (l *Lab) Slow() string {
	l.began <- "slow"
	<-l.slow
	return "slow, but sure"
}

// Room makes a further object.
func (l *Lab) Room(ctx context.Context) (service.Ref, error) {
	return service.ExportObject(ctx, &Room{l}, service.Name("room"))
}

// Room is an object that the lab exports.
type Room struct{ lab *Lab }

// Meet returns when two calls have come to it, or to another room.
func (r *Room) Meet(ctx context.Context) (string, error) {
	d := &r.lab.doors
	d.Lock()
	other := d.waiting
	if other == nil {
		d.waiting = make(chan struct{})
		other = d.waiting
	} else {
		close(other)
	}
	d.Unlock()
	select {
	case <-other:
		return "met", nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// inOrder is a service.Object that remembers in which order its calls began.
type inOrder struct {
	mu struct {
		sync.Mutex
		bodies []string
	}
}

// Begin is part of service.Object.
func (o *inOrder) Begin(_ context.Context, c service.Call, reply func(service.Reply)) {
	o.mu.Lock()
	o.mu.bodies = append(o.mu.bodies, c.MethArgs.Body)
	o.mu.Unlock()
	reply(service.Fulfil(nil))
}

// check returns an error unless n calls began, in the order in which they were sent.
func (o *inOrder) check(n int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.mu.bodies) != n {
		return fmt.Errorf("%d calls began, want %d", len(o.mu.bodies), n)
	}
	for i, body := range o.mu.bodies {
		if want := fmt.Sprintf(`#["note",[%d]]`, i); body != want {
			return fmt.Errorf("call %d is %s, want %s", i, body, want)
		}
	}
	return nil
}
