package ocapkernel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/ioservice"
)

// All sockets of channels are in the directory of their subcluster: NAME.sock is the socket itself, or a symbolic
// link to the path that its configuration gives. It is there before the socket and goes after it, so that a kernel
// finds what one that was killed has left, even if nothing else of that subcluster is left.

// socketDir is the directory of the sockets of a subcluster, given the full name of one: io:s1:console.
func (k *Kernel) socketDir(name string) string {
	parts := strings.SplitN(name, ":", 3)
	return filepath.Join(shortDir(k.opts.Dir, "io"), parts[1])
}

// noteSocket makes the directory, and the link, of a socket that will be made.
func noteSocket(c cluster.Channel, dir string) error {
	if c.Type != cluster.ChannelSocket {
		return nil
	}
	err := os.MkdirAll(dir, 0o700)
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
	_ = os.Remove(dir) // if nothing else is in it
}

// sweepSockets removes what an earlier run has left, which was killed. The sockets of subclusters that are
// there are made again.
func (k *Kernel) sweepSockets() {
	root := shortDir(k.opts.Dir, "io")
	subs, _ := os.ReadDir(root) // mostly there is none
	for _, sub := range subs {
		dir := filepath.Join(root, sub.Name())
		entries, _ := os.ReadDir(dir) // what is no directory is not ours
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch e.Type() {
			case fs.ModeSymlink:
				k.removeLinked(path)
			case fs.ModeSocket:
			default:
				continue
			}
			_ = os.Remove(path) // if that fails, so does making it again, which says why
		}
		_ = os.Remove(dir) // if nothing else is in it
	}
}

// removeLinked removes the socket to which a link leads, if it is one, and nobody listens on it.
func (k *Kernel) removeLinked(link string) {
	path, err := os.Readlink(link)
	name := strings.TrimSuffix(filepath.Base(link), ".sock")
	if err == nil {
		err = ioservice.Remove(ioservice.Config{Name: name, Type: ioservice.Socket, Path: path}, "")
	}
	if err != nil {
		k.opts.Logger.Warn("what an earlier run left of a channel is still there", "service", name, "err", err)
	}
}
