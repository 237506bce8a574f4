package control_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/control"
	"ocapkernel.dev/control/controltest"
)

// The modes of socket and directory keep other users out; so does the server, should somebody open these.
func TestOtherUsersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		return // only root can play another user, and a server answers root
	}
	dir, err := os.MkdirTemp("", "kernel-test-") // t.TempDir lies in a directory that is closed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	stop := serveIn(t, dir, controltest.New(), control.ServerOptions{})
	defer stop()
	path := filepath.Join(dir, control.SocketName)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}

	answer := make(chan string)
	go func() { answer <- askAs(65534, path) }()
	if got := <-answer; got != "" {
		t.Errorf("another user got %q, want the end of the connection", got)
	}
}

// askAs connects as another user and asks for the version. It changes its thread and nothing else, and
// the thread ends with the goroutine.
func askAs(uid int, path string) string {
	runtime.LockOSThread()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
		return errno.Error()
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return err.Error()
	}
	// The server may have hung up already, and says so in either way.
	_ = unix.Send(fd, []byte(`{"jsonrpc":"2.0","id":1,"method":"version"}`+"\n"), unix.MSG_NOSIGNAL)
	buf := make([]byte, 1000)
	n, err := unix.Read(fd, buf)
	if err != nil && err != unix.ECONNRESET {
		return err.Error()
	}
	return string(buf[:max(n, 0)])
}
