package ioservice_test

import (
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ocapkernel.dev/ioservice"
)

// The console of a process is descriptors that block.
func TestConsoleDoesNotHoldTheProcess(t *testing.T) {
	stdin, _ := pipe(t)
	_, stdout := pipe(t)
	stdin.Fd() // from now on it blocks
	stdout.Fd()
	k := newKernel(t, ioservice.Config{Type: ioservice.Console, Unit: ioservice.String})
	k.opts.Stdin, k.opts.Stdout = stdin, stdout
	v := k.open()
	read := v.read()
	write := v.write(strings.Repeat("x", 1<<19)) // more than a pipe holds
	_ = v.Close()
	read.wantError(ioservice.ErrClosed)
	wantKind(t, receive(t, write), ioservice.ErrClosed)
}

// What is not read through the channel stays for others.
func TestConsoleReadsOnlyWhenAsked(t *testing.T) {
	stdin, in := pipe(t)
	k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.In})
	k.opts.Stdin = stdin
	v := k.open()
	_, _ = io.WriteString(in, "one\n")
	v.read().want("one")
	_, _ = io.WriteString(in, "two\n")
	_ = v.Close()
	got := make([]byte, 4)
	if _, err := io.ReadFull(stdin, got); err != nil || string(got) != "two\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestConsoleEnds(t *testing.T) {
	stdin, in := pipe(t)
	k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.In})
	k.opts.Stdin = stdin
	v := k.open()
	_, _ = io.WriteString(in, "one\nlast")
	_ = in.Close()
	v.read().want("one")
	v.read().want("last")
	v.read().wantEnd()
	v.read().wantEnd()
	if got := k.stored(); len(got) > 0 {
		t.Errorf("stored %q, want nothing", got)
	}
}

func TestConsoleNobodyReads(t *testing.T) {
	out, stdout := pipe(t)
	k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.Out})
	k.opts.Stdout = stdout
	v := k.open()
	_ = out.Close()
	v.wantWriteError("x", ioservice.ErrConnectionLost)
	v.wantWriteError("x", ioservice.ErrConnectionLost)
}

func TestConsoleThatDoesNotTakeAWriteInTime(t *testing.T) {
	_, stdout := pipe(t)
	k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.Out, Unit: ioservice.String, WriteTime: 50 * time.Millisecond})
	k.opts.Stdout = stdout
	v := k.open()
	v.wantWriteError(strings.Repeat("x", 1<<19), ioservice.ErrTimeout)
	v.wantWriteError("x", ioservice.ErrConnectionLost)
}

// stuck is a writer that takes nothing until it is released.
type stuck chan struct{}

func (s stuck) Write(data []byte) (int, error) {
	<-s
	return len(data), nil
}

// A writer that is no file, and a reader that is none, cannot be interrupted, and hold nobody.
func TestConsoleThatIsNoFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(stuck)
		in, end := io.Pipe()
		c, err := ioservice.Open(
			ioservice.Config{Name: "c", Type: ioservice.Console, WriteTime: time.Hour},
			ioservice.Options{Stdin: in, Stdout: release},
		)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for i, want := range []error{ioservice.ErrTimeout, ioservice.ErrConnectionLost} {
			done := make(chan error, 1)
			c.Write("x", func(err error) { done <- err })
			wantKind(t, <-done, want)
			if got := time.Since(begin); got != time.Hour {
				t.Errorf("write %d ended after %v", i, got)
			}
		}
		read := make(chan error, 1)
		c.Read(func(_ ioservice.Unit, err error) { read <- err })
		synctest.Wait()
		_ = c.Close()
		wantKind(t, <-read, ioservice.ErrClosed)
		close(release)
		_ = end.Close()
	})
}

func TestConsoleOfARegularFile(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, _ = f.WriteString("a\nb\n")
	_, _ = f.Seek(0, io.SeekStart)
	k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.In})
	k.opts.Stdin = f
	v := k.open()
	v.read().want("a")
	v.read().want("b")
	v.read().wantEnd()
}
