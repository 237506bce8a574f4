package worker_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
)

// The test binary is also the worker program. These tests are its kernel, by hand; those of the package
// supervisor drive it as the kernel does.
func TestMain(m *testing.M) {
	if os.Getenv(wire.CookieKey) != "" || len(os.Args) == 2 && os.Args[1] == wire.ModulesFlag {
		worker.Main(worker.Program{Modules: []string{"b", "a"}, New: newVat})
	}
	os.Exit(m.Run())
}

func newVat(s wire.Start, store worker.Store, _ *slog.Logger) (worker.Vat, error) {
	if s.Module != "a" {
		return nil, errors.New("no module " + s.Module)
	}
	if _, _, err := store.Get("x"); err == nil {
		return nil, errors.New("the store can be read before the first delivery")
	}
	return vat{store}, nil
}

type vat struct{ store worker.Store }

func (v vat) Deliver(d wire.Deliver) wire.Done {
	switch d.Delivery.(type) {
	case wire.BringOutYourDead:
		//lint:ignore SA5002 to be busy for ever is what it is for
		for {
		}
	case wire.Notify:
		_, _, _ = v.store.Get("k")
	case wire.RetireImports:
		return wire.Done{Syscalls: []wire.Syscall{wire.StoreDelete{Key: "\xff"}}}
	}
	return wire.Done{Number: 99}
}

type kernel struct {
	t      *testing.T
	cmd    *exec.Cmd
	data   *os.File
	ctl    *os.File
	stdout *bytes.Buffer
	stderr *bytes.Buffer
	over   chan error
}

func start(t *testing.T) *kernel {
	t.Helper()
	k := &kernel{t: t, stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), over: make(chan error, 1)}
	ends := func() (ours, theirs *os.File) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	}
	var theirs [2]*os.File
	k.data, theirs[0] = ends()
	k.ctl, theirs[1] = ends()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	k.cmd = exec.Command(exe)
	k.cmd.Env = []string{wire.CookieKey + "=" + wire.CookieValue, "GORACE=" + os.Getenv("GORACE")}
	k.cmd.ExtraFiles = theirs[:]
	k.cmd.Stdout, k.cmd.Stderr = k.stdout, k.stderr
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = theirs[0].Close(), theirs[1].Close()
	go func() { k.over <- k.cmd.Wait() }()
	t.Cleanup(func() {
		_, _ = k.data.Close(), k.ctl.Close()
		_ = k.cmd.Process.Kill()
	})
	return k
}

func (k *kernel) send(f wire.DownFrame) {
	k.t.Helper()
	b, err := wire.AppendDown(nil, f)
	if err != nil {
		k.t.Fatal(err)
	}
	if _, err := k.data.Write(b); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kernel) want(f wire.UpFrame) {
	k.t.Helper()
	b, err := wire.ReadFrame(k.data, nil, 1<<20)
	if err != nil {
		k.t.Fatalf("%v\n%s", err, k.stderr)
	}
	got, err := wire.DecodeUp(b, wire.Limits{})
	if diff := cmp.Diff(f, got); err != nil || diff != "" {
		k.t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
}

func (k *kernel) wantEnd(code int, log string) {
	k.t.Helper()
	select {
	case <-k.over:
	case <-time.After(10 * time.Second):
		k.t.Fatal("worker lives on")
	}
	if got := k.cmd.ProcessState.ExitCode(); got != code || !strings.Contains(k.stderr.String(), log) {
		k.t.Fatalf("got exit status %d, want %d, and in the log %q:\n%s", got, code, log, k.stderr)
	}
	if got := k.stdout.String(); got != "1|2|unix|fd4|grpc|\n" {
		k.t.Errorf("got on stdout %q", got)
	}
}

// Pings are answered while the vat loops, however they are cut into pieces, and their end is not the end of the worker.
func TestPingsAreSentBack(t *testing.T) {
	k := start(t)
	k.send(wire.Start{Module: "a"})
	k.want(wire.Hello{})
	k.send(wire.Deliver{Number: 1, Delivery: wire.BringOutYourDead{}})
	for _, piece := range []string{"12345678", "abc", "defgh" + strings.Repeat("87654321", 20)} {
		if _, err := k.ctl.WriteString(piece); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(piece))
		if _, err := io.ReadFull(k.ctl, got); err != nil || string(got) != piece {
			t.Fatalf("got %q, %v, want %q", got, err, piece)
		}
	}
	if err := k.ctl.Close(); err != nil {
		t.Fatal(err)
	}
	k.send(wire.Bye{})
	_ = k.data.Close()
	k.wantEnd(0, "")
}

func TestLife(t *testing.T) {
	k := start(t)
	k.send(wire.Start{Module: "a"})
	k.want(wire.Hello{})
	k.send(wire.Deliver{Number: 5, Delivery: wire.StartVat{}})
	k.want(wire.Done{Number: 5}) // the vat does not number its answers
	k.send(wire.Deliver{Number: 6, Delivery: wire.Notify{}})
	k.want(wire.Get{Key: "k"})
	k.send(wire.Row{})
	k.want(wire.Done{Number: 6})
	k.send(wire.Deliver{Number: 7, Delivery: wire.RetireImports{}}) // a delivery that no frame can hold is a fault
	k.want(wire.Done{Number: 7, Outcome: wire.Outcome{Fault: "string is not UTF-8"}})
	k.send(wire.Bye{})
	k.wantEnd(0, "")
}

func TestEndOfStreamEndsTheWorker(t *testing.T) {
	for name, last := range map[string]wire.DownFrame{
		"idle":    wire.Deliver{Number: 1, Delivery: wire.StartVat{}},
		"busy":    wire.Deliver{Number: 1, Delivery: wire.BringOutYourDead{}},
		"reading": wire.Deliver{Number: 1, Delivery: wire.Notify{}},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t)
			k.send(wire.Start{Module: "a"})
			k.want(wire.Hello{})
			k.send(last)
			switch name {
			case "idle":
				k.want(wire.Done{Number: 1})
			case "reading":
				k.want(wire.Get{Key: "k"})
			}
			_ = k.data.Close()
			k.wantEnd(0, "")
		})
	}
}

func TestEndOfStreamBeforeStart(t *testing.T) {
	k := start(t)
	_ = k.data.Close()
	<-k.over // before or after the handshake
}

func TestByeWhileReading(t *testing.T) {
	k := start(t)
	k.send(wire.Start{Module: "a"})
	k.want(wire.Hello{})
	k.send(wire.Deliver{Number: 1, Delivery: wire.Notify{}})
	k.want(wire.Get{Key: "k"})
	k.send(wire.Bye{})
	k.wantEnd(0, "")
}

func TestUnknownModule(t *testing.T) {
	k := start(t)
	k.send(wire.Start{Module: "c"})
	k.want(wire.Hello{Error: "no module c"})
	k.wantEnd(1, "no module c")
}

func TestFramesOutOfTurn(t *testing.T) {
	k := start(t)
	k.send(wire.Row{})
	k.wantEnd(1, "first frame is a wire.Row")

	k = start(t)
	k.send(wire.Start{Module: "a"})
	k.want(wire.Hello{})
	k.send(wire.Row{})
	k.wantEnd(1, "a wire.Row between cranks")

	k = start(t)
	k.send(wire.Start{Module: "a"})
	k.want(wire.Hello{})
	k.send(wire.Deliver{Number: 1, Delivery: wire.Notify{}})
	k.want(wire.Get{Key: "k"})
	k.send(wire.Start{})
	k.wantEnd(1, "a wire.Start in answer to a read")

	k = start(t)
	if _, err := io.WriteString(k.data, "\x01\x00\x00\x00\xc1"); err != nil {
		t.Fatal(err)
	}
	k.wantEnd(1, "decode frame")
}

func TestModulesFlag(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(exe, wire.ModulesFlag).Output()
	if string(out) != `["b","a"]`+"\n" || err != nil {
		t.Errorf("got %s, %v", out, err)
	}
}
