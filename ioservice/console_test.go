package ioservice_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

// Input that is not read through the channel stays for other readers.
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

// A named pipe may be opened by another reader.
func TestConsoleIsWrittenWhenItsReaderComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(flag int) *os.File {
		f, err := os.OpenFile(path, flag|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	out := open(os.O_RDONLY)
	k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.Out})
	k.opts.Stdout = open(os.O_WRONLY)
	v := k.open()
	v.wrote("one")
	hear(t, out, "one\n")
	_ = out.Close()
	v.wantWriteError("two", ioservice.ErrConnectionLost)
	out = open(os.O_RDONLY)
	v.wrote("three")
	hear(t, out, "three\n")
}

// hear reads as much as the text has, and compares.
func hear(t *testing.T, r io.Reader, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != text {
		t.Fatalf("got %.60q, %v, want %.60q", got[:n], err, text)
	}
}

// The disk is full for one write, which is no reason to give up the next ones.
func TestConsoleOfAFileThatIsFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.Out})
	k.opts.Stdout = full
	v := k.open()
	for range 3 {
		t.Log(v.wantWriteError("x", syscall.ENOSPC))
	}
}

// The reader of the console may pause: a write rejects, and writes arrive when it reads on. After a part of a
// line, it is a line of its own.
func TestConsoleWhoseReaderPausesIsWrittenAfterThat(t *testing.T) {
	long := strings.Repeat("x", 1<<19) // more than a pipe holds
	for _, unit := range []ioservice.UnitKind{ioservice.Line, ioservice.String, ioservice.Chars, ioservice.Bytes} {
		t.Run(string(unit), func(t *testing.T) {
			out, stdout := pipe(t)
			k := newKernel(t, ioservice.Config{Type: ioservice.Console, Unit: unit, WriteTime: 50 * time.Millisecond})
			k.opts.Stdin, k.opts.Stdout = strings.NewReader("input"), stdout
			v := k.open()
			v.wantWriteError(long, ioservice.ErrTimeout)
			v.wantWriteError("full", ioservice.ErrTimeout)
			// It reads on: first the part of the long line that was taken.
			done := make(chan string)
			go func() {
				all, err := io.ReadAll(out)
				if err != nil {
					t.Error(err)
				}
				done <- string(all)
			}()
			first := "Zmlyc3Q=" // "first" in base64
			for {
				err := receive(t, v.write(first))
				if err == nil {
					break
				}
				wantKind(t, err, ioservice.ErrTimeout) // it has not begun to read
			}
			v.wrote("c2Vjb25k")
			_ = v.Close()
			_ = stdout.Close()
			got := receive(t, done)
			want := map[ioservice.UnitKind]string{
				ioservice.Line: "\nZmlyc3Q=\nc2Vjb25k\n", ioservice.String: "Zmlyc3Q=c2Vjb25k", ioservice.Chars: "Zmlyc3Q=c2Vjb25k", ioservice.Bytes: "firstsecond",
			}[unit]
			if !strings.HasSuffix(got, want) {
				t.Errorf("got %.60q at the end, want %q", got[max(0, len(got)-60):], want)
			}
		})
	}
}

// stuck is a writer that takes nothing until it is released.
type stuck chan struct{}

func (s stuck) Write(data []byte) (int, error) {
	<-s
	return len(data), nil
}

// A writer that is no file, and a reader that is none, cannot be interrupted, and hold up no caller.
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
		write := func() <-chan error {
			done := make(chan error, 1)
			c.Write("x", func(err error) { done <- err })
			return done
		}
		for i := range 2 {
			wantKind(t, <-write(), ioservice.ErrTimeout)
			if got, want := time.Since(begin), time.Duration(i+1)*time.Hour; got != want {
				t.Errorf("write %d ended after %v, want %v", i, got, want)
			}
		}
		third := write() // waits for the rest of the first, which the writer still has
		synctest.Wait()
		release <- struct{}{}
		release <- struct{}{}
		if err := <-third; err != nil {
			t.Errorf("when the writer takes more, a write gives %v", err)
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
