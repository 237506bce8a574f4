package ioservice

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/internal/limits"
)

const (
	// maxSunPath is the length of the longest path that fits a Unix socket address with its final zero.
	maxSunPath = limits.SocketPathBytes
	// backlog is how many connections wait in the operating system to be accepted.
	backlog = 128
)

// A socketFile is a Unix socket that listens, and the file that names it.
type socketFile struct {
	listener net.Listener
	path     string
	// info describes the file as it was when it was made.
	info fs.FileInfo
}

// socketPath returns the path of the socket of a channel.
func (c Config) socketPath(dir string) (string, error) {
	path := c.Path
	if path == "" {
		if dir == "" {
			return "", c.fail(fs.ErrInvalid, ": a socket needs a path, or its owner a directory for sockets")
		}
		path = filepath.Join(dir, c.Name+".sock")
	}
	if len(path) > maxSunPath {
		return "", c.fail(fs.ErrInvalid, ": the path %.40q… has %d bytes, and a Unix socket at most %d: use a shorter one", path, len(path), maxSunPath)
	}
	return path, nil
}

// listenSocket makes a Unix socket that only its user may connect to.
func listenSocket(cfg Config, dir string) (*socketFile, error) {
	path, err := cfg.socketPath(dir)
	if err != nil {
		return nil, err
	}
	parent := filepath.Dir(path)
	if info, err := os.Stat(parent); err != nil {
		return nil, cfg.fail(err, ": the directory of its socket: %v: make it first", err)
	} else if !info.IsDir() {
		return nil, cfg.fail(syscall.ENOTDIR, ": %s is not a directory: the path of its socket leads through it", parent)
	}
	if err := cfg.removeStale(path); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, cfg.fail(err, ": make a socket: %v", err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close() // the listener has a descriptor of its own
	// The file takes its mode from the descriptor when it is made.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return nil, cfg.fail(err, ": set the mode of its socket: %v", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, cfg.fail(err, ": make the socket %s: %v", path, err)
	}
	fault.Point(fault.SocketBound)
	s := &socketFile{path: path}
	err = func() error {
		if s.info, err = os.Lstat(path); err != nil {
			return err
		}
		if s.info.Mode() != fs.ModeSocket|0o600 { // some umask
			if err := os.Chmod(path, 0o600); err != nil {
				return err
			}
		}
		if err := unix.Listen(fd, backlog); err != nil {
			return err
		}
		s.listener, err = net.FileListener(file)
		return err
	}()
	if err != nil {
		_ = s.remove() // the first error is the better one
		return nil, cfg.fail(err, ": listen on %s: %v", path, err)
	}
	return s, nil
}

// remove removes the file if it is still the socket's. Until the listener is closed, no other file can have the
// same identity.
func (s *socketFile) remove() error {
	info, err := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (s.info == nil || !os.SameFile(info, s.info)) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(s.path)
}

// removeStale removes a socket on which no process listens. If a process listens on it, or the file is no
// socket, that is an error.
func (c Config) removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return c.fail(err, ": look at its socket: %v", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return c.fail(fs.ErrExist, ": %s exists and is not a socket: remove it, or use another path", path)
	}
	switch listens, err := isListening(path, info); {
	case err != nil:
		return c.fail(err, ": look who listens on %s: %v", path, err)
	case listens:
		return c.fail(fs.ErrExist, ": somebody listens on %s: stop it, or use another path", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c.fail(err, ": remove the socket of a dead process: %v", err)
	}
	return nil
}

// Remove removes the file of a channel's socket that a dead process has left, if no process listens on it.
// Other types of channel leave no such file. dir is Options.Dir.
func Remove(cfg Config, dir string) error {
	cfg, err := cfg.filled()
	if err != nil || cfg.Type != Socket {
		return err
	}
	path, err := cfg.socketPath(dir)
	if err != nil {
		return err
	}
	return cfg.removeStale(path)
}

// listenTime bounds the search for the address of a name.
const listenTime = 2 * time.Second

// listenTCP makes a TCP listener.
func listenTCP(cfg Config) (net.Listener, error) {
	var lc net.ListenConfig
	ctx, cancel := context.WithTimeout(context.Background(), listenTime)
	defer cancel()
	l, err := lc.Listen(ctx, "tcp", cfg.HostPort)
	if err != nil {
		return nil, cfg.fail(err, ": listen on %s: %v: use a free port of this machine", cfg.HostPort, err)
	}
	// Listening again sets how many connections wait.
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err == nil {
		var listenErr error
		err = errors.Join(raw.Control(func(fd uintptr) { listenErr = unix.Listen(int(fd), backlog) }), listenErr)
	}
	if err != nil {
		_ = l.Close() // the first error is the better one
		return nil, fmt.Errorf("channel %s: bound its backlog: %w", cfg.Name, err)
	}
	return l, nil
}
