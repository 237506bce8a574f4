package testvats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"ocapkernel.dev/vat"
)

// unruly dies, hangs and shouts by order of a test, and counts the messages that it survives.
type unruly struct {
	vat.Durable
	Done int
}

func newUnruly() *unruly { return &unruly{} }

// Add counts one more.
func (u *unruly) Add() int {
	u.Done++
	return u.Done
}

// Loop never ends.
func (u *unruly) Loop() {
	//lint:ignore SA5002 it is to loop
	for {
	}
}

// Busy computes for some milliseconds, and then counts one more.
func (u *unruly) Busy(ms int) int {
	for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end); {
	}
	return u.Add()
}

// Linger does nothing for some milliseconds, and then counts one more.
func (u *unruly) Linger(ms int) int {
	linger(time.Duration(ms) * time.Millisecond)
	return u.Add()
}

// linger takes its time, and logs when it begins.
func linger(d time.Duration) {
	end := time.After(d)
	fmt.Fprintln(os.Stderr, "it lingers")
	<-end
}

// Exit ends the process, with a status.
func (u *unruly) Exit(status int) { os.Exit(status) }

// Kill ends the process as a stranger would.
func (u *unruly) Kill() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// Crash ends the process by a panic on a goroutine of its own.
func (u *unruly) Crash() {
	go panic("a goroutine of the vat panics")
	select {}
}

// Panic panics in its turn.
func (u *unruly) Panic() { panic("the method panics") }

// Fail ends the vat with a failure.
func (u *unruly) Fail(ctx context.Context) { vat.Fail(ctx, errors.New("the vat gives up")) }

// Leave ends the vat in order.
func (u *unruly) Leave(ctx context.Context) string {
	vat.Exit(ctx, "the vat leaves")
	return "goodbye"
}

// Never returns a promise that is never settled.
func (u *unruly) Never(ctx context.Context) vat.Promise {
	p, _ := vat.NewPromise(ctx)
	return p
}

// Big returns a text of so many bytes.
func (u *unruly) Big(n int) string { return strings.Repeat("x", n) }

// Many sends so many messages in one crank.
func (u *unruly) Many(ctx context.Context, n int) {
	for range n {
		vat.Send(ctx, u, "add")
	}
}

// Shout prints bytes that must disturb neither the protocol nor a terminal.
func (u *unruly) Shout(ctx context.Context) {
	vat.Log(ctx).Warn("red \x1b[31malert\x1b[0m\nkernel: all is well", "vat", "v0", "bell", "\a", "right", "\u202eleft")
	fmt.Println("printed on stdout \x1b[2J")
	fmt.Fprintln(os.Stderr, `{"@message":17,"@level":[],"vat":"v0"}`)
	fmt.Fprintln(os.Stderr, "\xff\xfe no UTF-8")
}

// Flood prints so many lines on both.
func (u *unruly) Flood(lines int) int {
	for i := range lines {
		fmt.Printf("stdout %d\n", i)
		fmt.Fprintf(os.Stderr, "stderr %d %s\n", i, strings.Repeat("x", 200))
	}
	return u.Add()
}
