package backend

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/ioservice"
)

// All sockets of channels are in the directory of their subcluster: NAME.sock is the socket itself, or a symbolic
// link to the path that its configuration gives. It is there before the socket and goes after it, so that a kernel
// finds what one that was killed has left, even if nothing else of that subcluster is left.

// socketDir is the directory of the sockets of a subcluster, given the full name of one: io:s1:console.
func (b *Backend) socketDir(name string) string {
	parts := strings.SplitN(name, ":", 3)
	return filepath.Join(shortDir(b.opts.Dir, "io"), parts[1])
}

// noteSocket makes the directory, and the link, of a socket that will be made.
func noteSocket(c cluster.Channel, dir string) error {
	if c.Type != cluster.ChannelSocket {
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

// forgetSocket removes the link of a socket that is gone, and the directory with the last one.
func forgetSocket(c cluster.Channel, dir string) {
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

// sweepSockets removes what an earlier run has left, which was killed. The sockets of subclusters that are
// there are made again.
func (b *Backend) sweepSockets() {
	root := shortDir(b.opts.Dir, "io")
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
				b.removeLinked(path)
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
func (b *Backend) removeLinked(link string) {
	path, err := os.Readlink(link)
	name := strings.TrimSuffix(filepath.Base(link), ".sock")
	if err == nil {
		err = ioservice.Remove(ioservice.Config{Name: name, Type: ioservice.Socket, Path: path}, "")
	}
	if err != nil {
		b.opts.Logger.Warn("what an earlier run left of a channel is still there", "service", name, "err", err)
	}
}
