package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/limits"
)

// socketPath returns a path to the socket of dir that fits an address. A longer path goes through a
// descriptor of the directory, which release closes; until then the path works.
func socketPath(dir string) (path string, release func(), err error) {
	path = filepath.Join(dir, SocketName)
	if len(path) <= limits.SocketPathBytes {
		return path, func() {}, nil
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return "/proc/self/fd/" + strconv.Itoa(fd) + "/" + SocketName, func() { _ = unix.Close(fd) }, nil // O_PATH: nothing to lose
}

// Listener is the socket of a kernel. Its only use is [NewServer].
type Listener struct {
	ln   *net.UnixListener
	path string
	// made is the socket's file, as it was made.
	made    os.FileInfo
	release func()
	closed  atomic.Bool
}

// Listen makes the socket in dir, with mode 0600. The directory must exist and should be closed to others.
//
// A socket on which no process listens, left behind by a kernel that was killed, is replaced. If a process
// listens on it, it is left alone, and the error is errcode.AlreadyRunning. Any other file of that name is an
// error.
func Listen(dir string) (*Listener, error) {
	path, release, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		release()
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		release()
		return nil, fmt.Errorf("listen in %s: %w", dir, err)
	}
	ln.SetUnlinkOnClose(false) // by its name: another kernel's socket may have it by then
	l := &Listener{ln: ln, path: path, release: release}
	if l.made, err = os.Lstat(path); err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		_ = l.Close() // the chmod error is the better one
		return nil, err
	}
	return l, nil
}

// CheckSocket returns the error with which [Listen] would refuse dir, as far as that can be known beforehand.
// It removes a socket on which no process listens.
func CheckSocket(dir string) error {
	path, release, err := socketPath(dir)
	if err != nil {
		return err
	}
	defer release()
	return removeStale(path)
}

// removeStale removes a socket on which no process listens.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		_ = conn.Close() // the connection was only a test
		return Errorf(errcode.AlreadyRunning, "another process listens on %s", path)
	}
	// Only a refusal means that no process listens; a full backlog, say, means the opposite.
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("ask who listens: %w", err)
	}
	return os.Remove(path)
}

// Close stops listening and removes the socket, unless its name is another file's by now. Connections go on. A server
// closes its listener itself.
func (l *Listener) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	// While the listener is open, its inode is no other file's.
	var err error
	if there, lookErr := os.Lstat(l.path); lookErr == nil && l.made != nil && os.SameFile(there, l.made) {
		if err = os.Remove(l.path); errors.Is(err, os.ErrNotExist) {
			err = nil // another process has removed it
		}
	}
	err = errors.Join(err, l.ln.Close())
	l.release()
	return err
}

// dial connects to the socket in dir. The error is errcode.NotRunning if no kernel listens.
func dial(ctx context.Context, dir string) (net.Conn, error) {
	path, release, err := socketPath(dir)
	if err == nil {
		defer release()
		var conn net.Conn
		if conn, err = new(net.Dialer).DialContext(ctx, "unix", path); err == nil {
			return conn, nil
		}
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, Errorf(errcode.NotRunning, "no kernel is running at %s", dir)
	}
	return nil, fmt.Errorf("connect to the kernel at %s: %w", dir, err)
}

// peerUID returns the user id of the other end of a connection.
func peerUID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return int(cred.Uid), nil
}

// gone reports whether the peer has closed its end altogether, and has not only shut down its sending side.
func gone(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	hup := true
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		_, pollErr := unix.Poll(fds, 0)
		hup = pollErr == nil && fds[0].Revents&unix.POLLHUP != 0
	})
	return err != nil || hup
}

// isTransient reports whether accepting may work again later.
func isTransient(err error) bool {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
