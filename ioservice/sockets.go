package ioservice

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Sockets is the directory in which the sockets of a kernel's channels are, each in the directory of its subcluster: NAME.sock
// is the socket itself, or a symbolic link to the path that the channel's configuration gives. The link is made before the socket
// and removed after it, so that a kernel finds the sockets of a kernel that was killed, even if the state has no row of their
// subcluster any more.
//
// The name of a channel is the name of its service object: io:SUBCLUSTER:NAME. The directory is made with the first socket, for
// this user alone, and removed with the last.
type Sockets string

// Open opens a channel as a kernel service, and makes its directory and link; it ignores [Options.Dir]. Closing the object
// removes them.
func (s Sockets) Open(name string, cfg Config, o Options) (*Object, error) {
	o.Dir = s.of(name)
	if err := note(cfg, o.Dir); err != nil {
		return nil, err
	}
	c, err := Open(cfg, o)
	if err != nil {
		forget(cfg, o.Dir)
		return nil, err
	}
	object := NewObject(c)
	object.closed = func() { forget(cfg, o.Dir) }
	return object, nil
}

// Remove removes the socket and the link that an earlier kernel has left of a channel that is not opened again.
func (s Sockets) Remove(name string, cfg Config) error {
	err := Remove(cfg, s.of(name))
	forget(cfg, s.of(name))
	return err
}

// of returns the directory of the subcluster of a channel.
func (s Sockets) of(name string) string {
	_, rest, _ := strings.Cut(name, ":")
	sub, _, _ := strings.Cut(rest, ":")
	return filepath.Join(string(s), sub)
}

// note makes the directory, and the link, of a socket that will be made.
func note(c Config, dir string) error {
	if c.Type != Socket {
		return nil
	}
	err := privateDir(filepath.Dir(dir))
	if err == nil {
		if err = os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
			err = nil // another channel of the subcluster has made it
		}
	}
	if err == nil && c.Path != "" {
		err = os.Symlink(c.Path, filepath.Join(dir, c.Name+".sock"))
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // an attempt that failed has left the link
	}
	return err
}

// forget removes the link of a socket that is gone, and the directory with the last one.
func forget(c Config, dir string) {
	if c.Path != "" {
		_ = os.Remove(filepath.Join(dir, c.Name+".sock")) // only a socket with a path has a link
	}
	removeEmpty(dir)
}

// removeEmpty removes the directory of a subcluster and its parent, each if it is empty.
func removeEmpty(dir string) {
	if os.Remove(dir) == nil {
		_ = os.Remove(filepath.Dir(dir)) // fails if there are other subclusters
	}
}

// privateDir makes a directory that no other user may enter, or checks that one of that name is such a directory. Its parent
// may be a directory that all users write to, where another user can have made a directory of that name before.
func privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; !info.IsDir() || int(owner) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is to be a directory of this user alone, and is %s of user %d: remove it", dir, info.Mode(), owner)
	}
	return nil
}

// Sweep removes the sockets and links that a killed kernel has left. The channels of subclusters that still exist make their
// sockets again when they are opened.
func (s Sockets) Sweep(log *slog.Logger) {
	root := string(s)
	if info, err := os.Lstat(root); err != nil || !info.IsDir() || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		return // mostly there is no directory; privateDir reports one of another user when it is used
	}
	subs, _ := os.ReadDir(root)
	for _, sub := range subs {
		dir := filepath.Join(root, sub.Name())
		entries, _ := os.ReadDir(dir) // none, if it is no directory: no kernel has made it
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch e.Type() {
			case fs.ModeSymlink:
				removeLinked(path, log)
			case fs.ModeSocket:
			default:
				continue
			}
			_ = os.Remove(path) // if that fails, so does making the socket again, with a reason
		}
		removeEmpty(dir)
	}
}

// removeLinked removes the file to which a link leads, if it is a socket on which no process listens.
func removeLinked(link string, log *slog.Logger) {
	path, err := os.Readlink(link)
	name := strings.TrimSuffix(filepath.Base(link), ".sock")
	if err == nil {
		err = Remove(Config{Name: name, Type: Socket, Path: path}, "")
	}
	if err != nil {
		log.Warn("what an earlier run left of a channel is still there", "service", name, "err", err)
	}
}
