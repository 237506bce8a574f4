package ioservice_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ocapkernel.dev/ioservice"
)

// A channel whose path is taken is refused, under any name of the path, and the process that listens there sees
// no connection. The socket of a dead process is replaced.
func TestATakenSocketIsRefusedWithoutAConnection(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a b.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	linked, through := filepath.Join(dir, "linked"), filepath.Join(dir, "through")
	if err := os.Link(path, linked); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, through); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, linked, filepath.Join(through, "a b.sock")} {
		cfg := ioservice.Config{Name: "c", Type: ioservice.Socket, Path: p}
		if ch, err := ioservice.Open(cfg, ioservice.Options{}); err == nil {
			t.Errorf("%s is taken, and was opened", p)
			_ = ch.Close()
		}
		if err := ioservice.Remove(cfg, ""); err == nil {
			t.Errorf("%s is taken, and was removed", p)
		}
	}
	// A connection that was made, and closed again, would be there to be accepted.
	if err := l.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if conn, err := l.Accept(); err == nil {
		t.Error("whoever listens has got a connection")
		_ = conn.Close()
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	ch, err := ioservice.Open(ioservice.Config{Name: "c", Type: ioservice.Socket, Path: path}, ioservice.Options{})
	if err != nil {
		t.Fatalf("what a dead process left: %v", err)
	}
	if err := ch.Close(); err != nil {
		t.Error(err)
	}
}
