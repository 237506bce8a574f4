package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/disktest"
	"ocapkernel.dev/storage"
)

// Another program fills the disk, or the quota, after a commit: the pages that the next commits are written to have
// no room on a file system that copies on write, although they have blocks. The store waits, and goes on when there is room.
func TestFullFileSystems(t *testing.T) {
	for name, fs := range map[string]struct {
		lacks syscall.Errno
		dir   func(t *testing.T) string
	}{
		"tmpfs":              {unix.ENOSPC, func(t *testing.T) string { return disktest.Mounted(t, "-t", "tmpfs", "-o", "size=300m", "tmpfs") }},
		"ext4":               {unix.ENOSPC, func(t *testing.T) string { return disktest.Ext4(t, 400<<20) }},
		"btrfs":              {unix.ENOSPC, func(t *testing.T) string { return disktest.Btrfs(t, 400<<20) }},
		"btrfs with a quota": {unix.EDQUOT, func(t *testing.T) string { return disktest.BtrfsQuota(t, 400<<20, "200M") }},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() || raceDetector {
				t.Skip("writes 1 GB")
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
				hasItsTables(t, s)
				free := disktest.Fill(t, dir)
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
