package ioservice

import (
	"bufio"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Whether a process listens on a socket is looked up in a list, and not tried: a listener would take the
// connection for a client, such as the vat whose channel of this very kernel has the path already. The
// operating system lists the listening sockets of its network namespace, each with the path under which it was
// bound. A connection is made only where that list does not tell, because a socket was bound under a relative
// path or in another namespace. The sockets of a kernel are bound under absolute paths.

// isListening reports whether a process listens on the socket file at path, which info describes.
func isListening(path string, info fs.FileInfo) (bool, error) {
	if isListed(path, info) {
		return true, nil
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	switch {
	case err == nil:
		_ = conn.Close() // the connection was only a test
		return true, nil
	case errors.Is(err, unix.ECONNREFUSED): // only a refusal means that no process listens; a full backlog means the opposite
		return false, nil
	}
	return false, err
}

// isListed reports whether the operating system lists a listening socket that was bound to the file at path.
func isListed(path string, info fs.FileInfo) bool {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return false // the caller tries another way
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// Num RefCount Protocol Flags Type St Inode Path: eight columns, of which the last may have spaces in it.
		const columns, flags, listening = 8, 3, "00010000"
		rest := lines.Text()
		var fields [columns]string
		for i := range fields {
			rest = strings.TrimLeft(rest, " ")
			if i == columns-1 {
				fields[i] = rest
				break
			}
			fields[i], rest, _ = strings.Cut(rest, " ")
		}
		bound := fields[columns-1]
		if fields[flags] != listening || !strings.HasPrefix(bound, "/") {
			continue
		}
		if bound == path {
			return true
		}
		if other, err := os.Lstat(bound); err == nil && os.SameFile(other, info) {
			return true
		}
	}
	return false
}
