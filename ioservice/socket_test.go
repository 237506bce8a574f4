package ioservice_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ocapkernel.dev/ioservice"
)

// deadSocket leaves a socket at the path on which no process listens.
func deadSocket(t *testing.T, path string) {
	t.Helper()
	l := liveSocket(t, path)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func liveSocket(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestSocketIsForItsUserOnlyAndGoesWithTheChannel(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket, Name: "repl"})
	if want := filepath.Join(v.k.dir, "repl.sock"); v.Addr() != want {
		t.Errorf("got %s, want %s", v.Addr(), want)
	}
	info, err := os.Lstat(v.Addr())
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("got %v, %v, want a socket with 0600", info, err)
	}
	for range 2 {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	if exists(t, v.Addr()) {
		t.Error("the socket is still there")
	}
}

// No umask may be in the way; it is of the whole process, so this runs alone.
func TestSocketIsForItsUserWhateverTheUmask(t *testing.T) {
	for _, mask := range []int{0, 0o777} {
		k := newKernel(t, ioservice.Config{Type: ioservice.Socket})
		old := syscall.Umask(mask)
		c, err := ioservice.Open(k.cfg, ioservice.Options{Dir: k.dir})
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if info, err := os.Lstat(c.Addr()); err != nil || info.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("umask %o: got %v, %v, want a socket with 0600", mask, info, err)
		}
	}
}

func TestOpenReplacesOnlyASocketOfTheDead(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		ok   bool
	}{
		{"nothing", func(*testing.T, string) {}, true},
		{"dead socket", deadSocket, true},
		{"live socket", func(t *testing.T, path string) { liveSocket(t, path) }, false},
		{"file", func(t *testing.T, path string) { _ = os.WriteFile(path, []byte("precious"), 0o600) }, false},
		{"directory", func(t *testing.T, path string) { _ = os.Mkdir(path, 0o700) }, false},
		{"link to a dead socket", func(t *testing.T, path string) {
			deadSocket(t, path+"2")
			_ = os.Symlink(path+"2", path)
		}, false},
		{"dangling link", func(t *testing.T, path string) { _ = os.Symlink(path+"2", path) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKernel(t, ioservice.Config{Type: ioservice.Socket})
			k.cfg.Path = filepath.Join(k.dir, "s")
			c.make(t, k.cfg.Path)
			before, _ := os.Lstat(k.cfg.Path)
			if c.ok {
				v := k.open()
				client := v.dial()
				client.say("x\n")
				v.read().want("x")
				return
			}
			ch, err := ioservice.Open(k.cfg, ioservice.Options{})
			if err == nil {
				_ = ch.Close()
				t.Fatal("it was opened")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), k.cfg.Path) {
				t.Errorf("%q does not name %s", err, k.cfg.Path)
			}
			if err := ioservice.Remove(k.cfg, ""); err == nil {
				t.Error("it was removed")
			}
			if after, err := os.Lstat(k.cfg.Path); err != nil || !os.SameFile(before, after) {
				t.Error("it is not what it was")
			}
		})
	}
}

func TestRemoveTakesAwayWhatTheDeadLeft(t *testing.T) {
	k := newKernel(t, ioservice.Config{Type: ioservice.Socket})
	path := filepath.Join(k.dir, "c.sock")
	deadSocket(t, path)
	for range 2 {
		if err := ioservice.Remove(k.cfg, k.dir); err != nil {
			t.Error(err)
		}
	}
	if exists(t, path) {
		t.Error("the socket is still there")
	}
	file := filepath.Join(k.dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ioservice.Remove(ioservice.Config{Name: "c", Type: ioservice.File, Path: file}, k.dir); err != nil || !exists(t, file) {
		t.Errorf("got %v, want the file of a channel left alone", err)
	}
}

func TestCloseLeavesTheSocketOfAnotherAlone(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket})
	if err := os.Remove(v.Addr()); err != nil {
		t.Fatal(err)
	}
	liveSocket(t, v.Addr())
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if !exists(t, v.Addr()) {
		t.Error("it removed the socket of another")
	}
}

func TestSocketErrorsSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("x", 108))
	_ = os.WriteFile(filepath.Join(dir, "f"), nil, 0o600)
	for _, c := range []struct{ name, path, want string }{
		{"long path", long, "107"},
		{"no directory", filepath.Join(dir, "no", "s"), "make it first"},
		{"file as directory", filepath.Join(dir, "f", "s"), "not a directory"},
		{"no path", "", "needs a path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ioservice.Open(ioservice.Config{Name: "c", Type: ioservice.Socket, Path: c.path}, ioservice.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want one that says %q", err, c.want)
			}
		})
	}
	longest := filepath.Join(dir, strings.Repeat("x", 107-len(dir)-1))
	c, err := ioservice.Open(ioservice.Config{Name: "c", Type: ioservice.Socket, Path: longest}, ioservice.Options{})
	if err != nil {
		t.Fatalf("path of 107 bytes: %v", err)
	}
	_ = c.Close()
}

func TestListenOnAPortInUse(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Listen})
	_, err := ioservice.Open(ioservice.Config{Name: "d", Type: ioservice.Listen, HostPort: v.Addr()}, ioservice.Options{})
	wantKind(t, err, syscall.EADDRINUSE)
}
