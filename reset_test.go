package ocapkernel_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ocapkernel.dev"
	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/backend"
)

func TestAResetThatIsRefusedDeletesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	k := start(t, ocapkernel.Options{Dir: dir})
	sub := k.ensure(t, `[]`)
	k.end(t)
	noObject := map[string]ocapkernel.Service{"lab": {}}
	system := func(text string) string { return write(t, filepath.Join(t.TempDir(), "kernel.json"), text) }
	for what, o := range map[string]ocapkernel.Options{
		"a durability that does not exist":           {Durability: "some"},
		"a service without an object":                {Services: noObject},
		"a declaration that is not there":            {System: filepath.Join(t.TempDir(), "absent.json")},
		"a declaration that is no JSON":              {System: system(`{`)},
		"a declaration that names an unknown module": {System: system(`{"system":{"a":{"bootstrap":"a","vats":{"a":{"module":"absent"}}}}}`)},
		"a reserve that no disk has":                 {DiskReserve: 1 << 62},
	} {
		o.Dir, o.Reset = dir, true
		if k, err := ocapkernel.New(o); err == nil {
			t.Errorf("%s is accepted", what)
			ctx, stop := context.WithCancel(t.Context())
			stop()
			_ = k.Run(ctx) // which closes the state
		}
	}
	if _, err := backend.New(backend.Options{Dir: dir, Reset: true, Paused: true}); control.CodeOf(err) != errcode.Invalid {
		t.Errorf("a kernel that is to change nothing: %v, want INVALID", err)
	}
	k = start(t, ocapkernel.Options{Dir: dir})
	if again := k.ensure(t, `[]`); again.ID != sub.ID {
		t.Errorf("got %s, want %s: the state was wiped", again.ID, sub.ID)
	}
	if got, err := ocapkernel.Call[string](t.Context(), k.Kernel, sub.ID, "hello", "world"); err != nil || got != "hello, world" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAResetKeepsTheDeclarationAndWhatIsToBeKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	k := start(t, ocapkernel.Options{Dir: dir})
	k.ensure(t, `[]`)
	k.end(t)
	declared := write(t, filepath.Join(dir, "kernel.json"), `{"system":{}}`)
	kept := write(t, filepath.Join(dir, "notes"), "mine")
	b, err := backend.New(backend.Options{Dir: dir, Reset: true, System: declared, Keep: func(name string) bool { return name == "notes" }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	if status, err := b.Status(t.Context()); err != nil || status.Subclusters != 0 {
		t.Errorf("%d subclusters, %v, want none", status.Subclusters, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, path := range []string{declared, kept} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestAResetThatWasInterruptedIsFinishedBeforeTheStateIsOpened(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	k := start(t, ocapkernel.Options{Dir: dir})
	k.ensure(t, `[]`)
	k.end(t)
	write(t, filepath.Join(dir, "kernel.reset"), "")
	if err := os.RemoveAll(filepath.Join(dir, "witness")); err != nil {
		t.Fatal(err)
	}
	// A kernel that is opened to inspect the state meanwhile does not report damage.
	if _, err := backend.New(backend.Options{Dir: dir, Paused: true}); control.CodeOf(err) != errcode.Conflict {
		t.Errorf("got %v, want that there is nothing to read", err)
	}
	k = start(t, ocapkernel.Options{Dir: dir})
	if status, err := k.Status(t.Context()); err != nil || len(status.Subclusters) != 0 {
		t.Errorf("%+v, %v, want none", status.Subclusters, err)
	}
}

// A reset runs on a disk that is full of the state that the reset deletes, even if the reset was interrupted before.
func TestAResetMakesRoomForItself(t *testing.T) {
	for _, interrupted := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "state")
		k := start(t, ocapkernel.Options{Dir: dir})
		k.ensure(t, `[]`)
		k.end(t)
		f, err := os.Create(filepath.Join(dir, "db", "ballast"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		const size = 1 << 30
		if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
			t.Skipf("this machine has no room for a large file: %v", err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		var disk unix.Statfs_t
		if err := unix.Statfs(dir, &disk); err != nil {
			t.Fatal(err)
		}
		o := ocapkernel.Options{Dir: dir, DiskReserve: disk.Bavail*uint64(disk.Bsize) + size/2}
		if _, err := ocapkernel.New(o); !errors.Is(err, ocapkernel.ErrDiskFull) {
			t.Fatalf("got %v, want that the disk is full", err)
		}
		if interrupted {
			write(t, filepath.Join(dir, "kernel.reset"), "")
		}
		o.Reset = !interrupted
		k = start(t, o)
		if status, err := k.Status(t.Context()); err != nil || len(status.Subclusters) != 0 {
			t.Errorf("%+v, %v, want none", status.Subclusters, err)
		}
		k.end(t)
	}
}

// TestAResetRemovesSocketsThatAKilledKernelHasLeft makes the files that such a kernel leaves: a socket on which no process
// listens, and the link that leads to it.
func TestAResetRemovesSocketsThatAKilledKernelHasLeft(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(t.TempDir(), "state")
	k := start(t, ocapkernel.Options{Dir: dir})
	k.end(t)
	left, used := filepath.Join(outside, "left.sock"), filepath.Join(outside, "used.sock")
	for i, path := range []string{left, used} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		if path == left {
			_ = l.Close() // as a kill does: the file stays
		} else {
			defer l.Close()
		}
		sub := filepath.Join(dir, "io", []string{"s1", "s2"}[i])
		if err := os.MkdirAll(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(sub, "door.sock")); err != nil {
			t.Fatal(err)
		}
	}
	start(t, ocapkernel.Options{Dir: dir, Reset: true})
	if _, err := os.Lstat(left); err == nil {
		t.Error("the socket of the killed kernel is still there")
	}
	if _, err := os.Lstat(used); err != nil {
		t.Errorf("a socket that somebody else listens on: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "io")); err == nil {
		t.Error("the links to them are still there")
	}
}
