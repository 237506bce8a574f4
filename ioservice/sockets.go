package ioservice

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
)

// Sockets is the directory in which the sockets of a kernel's channels are, each in the directory of its subcluster: NAME.sock
// is the socket itself, or a symbolic link to the path that its configuration gives. The link is there before the socket and goes
// after it, so that a kernel finds what one that was killed has left, even if nothing else of that subcluster is left.
//
// A channel is named as its service object is: io:SUBCLUSTER:NAME. The directory is made with the first socket, for this user
// alone, and removed with the last.
type Sockets string

// Open opens a channel as a kernel service, with what it needs in the directory; [Options.Dir] is not looked at. Closing it
// removes what it has made.
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

// Remove removes what an earlier kernel has left of a channel that is not opened again.
func (s Sockets) Remove(name string, cfg Config) error {
	err := Remove(cfg, s.of(name))
	forget(cfg, s.of(name))
	return err
}

// of is the directory of the subcluster of a channel.
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
			err = nil // that of another channel
		}
	}
	if err == nil && c.Path != "" {
		err = os.Symlink(c.Path, filepath.Join(dir, c.Name+".sock"))
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // from an attempt that failed
	}
	return err
}

// forget removes the link of a socket that is gone, and the directory with the last one.
func forget(c Config, dir string) {
	if c.Path != "" {
		_ = os.Remove(filepath.Join(dir, c.Name+".sock")) // only a socket with a path has one
	}
	removeEmpty(dir)
}

// removeEmpty removes the directory of a subcluster, and the one around it, if nothing is in them.
func removeEmpty(dir string) {
	if os.Remove(dir) == nil {
		_ = os.Remove(filepath.Dir(dir)) // there may be others
	}
}

// privateDir makes a directory that nobody else may enter. Its name may be in a directory that everybody writes
// to, where somebody else can have made one of that name before.
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

// Sweep removes what an earlier kernel has left that was killed. The sockets of subclusters that are there are made again.
func (s Sockets) Sweep(log hclog.Logger) {
	root := string(s)
	if info, err := os.Lstat(root); err != nil || !info.IsDir() || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		return // mostly there is none; one that is not ours is found out when it is used
	}
	subs, _ := os.ReadDir(root)
	for _, sub := range subs {
		dir := filepath.Join(root, sub.Name())
		entries, _ := os.ReadDir(dir) // what is no directory is not ours
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch e.Type() {
			case fs.ModeSymlink:
				removeLinked(path, log)
			case fs.ModeSocket:
			default:
				continue
			}
			_ = os.Remove(path) // if that fails, so does making it again, which says why
		}
		removeEmpty(dir)
	}
}

// removeLinked removes the socket to which a link leads, if it is one, and nobody listens on it.
func removeLinked(link string, log hclog.Logger) {
	path, err := os.Readlink(link)
	name := strings.TrimSuffix(filepath.Base(link), ".sock")
	if err == nil {
		err = Remove(Config{Name: name, Type: Socket, Path: path}, "")
	}
	if err != nil {
		log.Warn("what an earlier run left of a channel is still there", "service", name, "err", err)
	}
}
