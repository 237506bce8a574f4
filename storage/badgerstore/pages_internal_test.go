package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/storage"
)

// made makes a file system of its own in an image, which is gone after the test.
func made(t *testing.T, mkfs string, args ...string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 400<<20)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, append(args, image)...).CombinedOutput(); err != nil {
		t.Skipf("cannot make a file system: %v %s", err, out)
	}
	return mounted(t, "-o", "loop", image)
}

// Another program fills the disk, or the quota, right after a commit: the pages that the next commits are written to have
// no room on a file system that copies on write, although they have blocks. The store waits, and goes on when there is room.
func TestFullFileSystems(t *testing.T) {
	for name, fs := range map[string]struct {
		lacks syscall.Errno
		dir   func(t *testing.T) string
	}{
		"tmpfs": {unix.ENOSPC, func(t *testing.T) string { return mounted(t, "-t", "tmpfs", "-o", "size=300m", "tmpfs") }},
		"ext4":  {unix.ENOSPC, func(t *testing.T) string { return made(t, "mkfs.ext4", "-q") }},
		"btrfs": {unix.ENOSPC, func(t *testing.T) string { return made(t, "mkfs.btrfs", "-q") }},
		"btrfs with a quota": {unix.EDQUOT, func(t *testing.T) string {
			dir := made(t, "mkfs.btrfs", "-q")
			sub := filepath.Join(dir, "sub")
			for _, args := range [][]string{{"quota", "enable", dir}, {"subvolume", "create", sub}, {"qgroup", "limit", "200M", sub}} {
				if out, err := exec.Command("btrfs", args...).CombinedOutput(); err != nil {
					t.Skipf("btrfs %s: %v %s", args, err, out)
				}
			}
			return sub
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() || raceDetector {
				t.Skip("writes 1 GB")
			}
			if strings.HasPrefix(name, "btrfs") && os.Getenv("KILLS") == "" {
				t.Skip("the system may write a page back between the check and the commit, and the next write to it is a SIGBUS: set KILLS")
			}
			dir := fs.dir(t)
			db := filepath.Join(dir, "db")
			s, err := Open(db, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var want []storage.Write
			commit := func(size int) error {
				w := storage.Write{Key: fmt.Sprintf("%06d", len(want)), Value: bytes.Repeat([]byte{byte(len(want))}, size)}
				err := s.Commit([]storage.Write{w})
				if err == nil {
					want = append(want, w)
				}
				return err
			}
			all := func() {
				t.Helper()
				for _, w := range want {
					if value, found, err := s.Get(w.Key); !found || err != nil || !bytes.Equal(value, w.Value) {
						t.Fatalf("row %s: %d bytes, %t, %v", w.Key, len(value), found, err)
					}
				}
				if key, _, found, err := s.Next("", want[len(want)-1].Key); found || err != nil {
					t.Fatalf("row %q of a commit that failed, %v", key, err)
				}
			}
			for _, size := range []int{20_000, 200_000, largeValue} { // of the commit that meets the full disk
				for range 3 {
					if err := errors.Join(commit(100), commit(largeValue)); err != nil {
						t.Fatal(err)
					}
				}
				free := fill(t, dir)
				n := 0
				for ; err == nil && n < 10_000; n++ {
					err = commit(size)
				}
				if !errors.Is(err, storage.ErrNoRoom) || !errors.Is(err, fs.lacks) && !errors.Is(err, errPage) {
					t.Fatalf("after %d commits without room: %v", n, err)
				}
				t.Logf("%d commits of %d bytes, then: %v", n-1, size, err)
				all()
				free()
				if err = commit(size); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(db, Options{}); err != nil {
				t.Fatal(err)
			}
			all()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
