// Package disktest makes file systems of their own for tests, and fills them. A test is skipped where they cannot be made:
// mounting needs root, and an image the tools of its file system.
package disktest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Mounted mounts a file system by the arguments of mount, and returns where. It is gone after the test.
func Mounted(t *testing.T, args ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	run(t, "mount", append(args, dir)...)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return dir
}

// Ext4 makes an ext4 of so many bytes.
func Ext4(t *testing.T, size int64) (dir string) {
	t.Helper()
	return image(t, size, "mkfs.ext4")
}

// Btrfs makes a btrfs of so many bytes.
//
// A full btrfs ends a kernel in some tries: the system may write a page back between the check of the page and the commit,
// and the next write to it is a SIGBUS. So it is made only where KILLS is set.
func Btrfs(t *testing.T, size int64) (dir string) {
	t.Helper()
	if os.Getenv("KILLS") == "" {
		t.Skip("a full btrfs ends a kernel in some tries: set KILLS to try it")
	}
	return image(t, size, "mkfs.btrfs")
}

// BtrfsQuota makes a directory on a btrfs, with a quota such as 300M.
func BtrfsQuota(t *testing.T, size int64, quota string) (dir string) {
	t.Helper()
	root := Btrfs(t, size)
	dir = filepath.Join(root, "sub")
	run(t, "btrfs", "quota", "enable", root)
	run(t, "btrfs", "subvolume", "create", dir)
	run(t, "btrfs", "qgroup", "limit", quota, dir)
	return dir
}

func image(t *testing.T, size int64, mkfs string) (dir string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size)); err != nil {
		t.Fatal(err)
	}
	run(t, mkfs, "-q", file)
	return Mounted(t, "-o", "loop", file)
}

func run(t *testing.T, command string, args ...string) {
	t.Helper()
	if out, err := exec.Command(command, args...).CombinedOutput(); err != nil {
		t.Skipf("%s %q: %v %s", command, args, err, out)
	}
}

// Fill takes all room in a directory, as another program would, and returns how to give it back.
func Fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "another program's")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	end := int64(0)
	for chunk := int64(256 << 20); chunk >= 1<<20; {
		if err := unix.Fallocate(int(f.Fd()), 0, end, chunk); err != nil {
			chunk /= 2
			continue
		}
		end += chunk
	}
	for chunk := make([]byte, 1<<20); len(chunk) > 0; { // the last pieces have no room for the notes of an allocation
		n, err := f.WriteAt(chunk, end)
		end += int64(n)
		switch {
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
			chunk = chunk[:len(chunk)/2]
		case err != nil:
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
