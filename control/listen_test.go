package control_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ocapkernel.dev/control"
	"ocapkernel.dev/control/controltest"
	"ocapkernel.dev/errcode"
)

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, control.SocketName)
	listener, err := control.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("got mode %v, %v, want a socket with 0600", info.Mode(), err)
	}
	_, err = control.Listen(dir)
	checkCode(t, "a live socket", err, errcode.AlreadyRunning)
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("got %v, want no socket", err)
	}
}

func TestListenReplacesOnlyADeadSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, control.SocketName)
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as a kernel that was killed
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Dial(context.Background(), dir); control.CodeOf(err) != errcode.NotRunning {
		t.Errorf("got %v, want NOT_RUNNING", err)
	}
	listener, err := control.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}

	for name, make := range map[string]func() error{
		"file":      func() error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"directory": func() error { return os.Mkdir(path, 0o700) },
		"link":      func() error { return os.Symlink(dir, path) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if _, err := control.Listen(dir); err == nil || !strings.Contains(err.Error(), "is not a socket") {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A kernel that ends removes its own socket only: another one may have the name by then.
func TestCloseLeavesAnotherKernelsSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, control.SocketName)
	first, err := control.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := control.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time is of no consequence either
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the second kernel's socket: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("its own: %v", err)
	}
}

// The path of a socket has at most 107 bytes; a state directory may be deeper than that.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 60))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Dial(context.Background(), dir); control.CodeOf(err) != errcode.NotRunning {
		t.Errorf("got %v, want NOT_RUNNING", err)
	}
	stop := serveIn(t, dir, controltest.New(), control.ServerOptions{})
	if _, err := dial(t, dir).Status(context.Background()); err != nil {
		t.Error(err)
	}
	_, err := control.Listen(dir)
	checkCode(t, "a live socket", err, errcode.AlreadyRunning)
	stop()
	if _, err := os.Lstat(filepath.Join(dir, control.SocketName)); !os.IsNotExist(err) {
		t.Errorf("got %v, want no socket", err)
	}
}

func TestNoDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	if _, err := control.Listen(dir); err == nil {
		t.Error("got no error")
	}
	_, err := control.Dial(context.Background(), dir)
	checkCode(t, "dial", err, errcode.NotRunning)
}
