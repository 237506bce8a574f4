package statedir_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/statedir"
)

// A restore that was interrupted leaves what no reader and no kernel takes for a state, and what another restore replaces.
func TestInterruptedRestore(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	none := func(string) bool { return false }
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("a part"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := statedir.BeginRestore(dir, none); err != nil {
		t.Fatal(err)
	}
	write("witness")
	write(statedir.DeclarationName)
	for _, err := range []error{statedir.CheckRestored(dir), statedir.CheckWhole(dir)} {
		if control.CodeOf(err) != errcode.Conflict {
			t.Errorf("a part of a backup: got %v, want CONFLICT", err)
		}
	}
	if err := statedir.BeginRestore(dir, none); err != nil {
		t.Fatalf("a second attempt: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "witness")); !os.IsNotExist(err) {
		t.Errorf("the first attempt has left a file: %v", err)
	}
	write("witness")
	if err := statedir.EndRestore(dir); err != nil {
		t.Fatal(err)
	}
	if err := statedir.CheckWhole(dir); err != nil {
		t.Errorf("a state that is restored: %v", err)
	}
	if err := statedir.BeginRestore(dir, none); control.CodeOf(err) != errcode.Conflict {
		t.Errorf("a restore over a state: got %v, want CONFLICT", err)
	}
	if err := statedir.Reset(dir, none); err != nil {
		t.Fatal(err)
	}
	if err := statedir.BeginRestore(dir, none); err != nil {
		t.Errorf("a restore after a reset: %v", err)
	}
	write("witness")
	if err := statedir.AbandonRestore(dir, none); err != nil {
		t.Fatal(err)
	}
	if written, err := statedir.Written(dir, none); written || err != nil {
		t.Errorf("a restore that was given up has left something: %v, %v", written, err)
	}
}

// A reset takes what an interrupted restore has left.
func TestResetOfAnInterruptedRestore(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	none := func(string) bool { return false }
	if err := statedir.BeginRestore(dir, none); err != nil {
		t.Fatal(err)
	}
	if err := statedir.Reset(dir, none); err != nil {
		t.Fatal(err)
	}
	if err := statedir.CheckWhole(dir); err != nil {
		t.Error(err)
	}
}

// A restore that cannot begin leaves the mark of one only where it was before: an empty directory stays one.
func TestARestoreThatCannotBeginLeavesNoMark(t *testing.T) {
	for _, interrupted := range []bool{false, true} {
		dir := t.TempDir()
		open(t, dir)
		if interrupted {
			if err := statedir.BeginRestore(dir, func(string) bool { return false }); err != nil {
				t.Fatal(err)
			}
		}
		busy := filepath.Join(dir, "busy") // cannot be removed
		if err := os.Mkdir(busy, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", busy, "tmpfs", 0, "size=1m"); err != nil {
			t.Skipf("mount: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(busy, unix.MNT_DETACH) }) // else the directory of the test stays, which fails it
		asked := 0
		keep := func(name string) bool { // as if it came when the directory was found to be empty
			if name == "busy" {
				asked++
			}
			return asked == 1
		}
		if err := statedir.BeginRestore(dir, keep); err == nil {
			t.Fatal("a file that is kept from being removed is no error")
		}
		if marked := statedir.CheckRestored(dir) != nil; marked != interrupted {
			t.Errorf("marked %t, want %t", marked, interrupted)
		}
	}
}

// A mark that cannot be made is not there: neither of a restore nor of a reset, which the next start would finish.
func TestMarksThatCannotBeMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	open(t, dir)
	inodes := "nr_inodes=3,mode=700" // the root, the lock and the declaration
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, inodes); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // see above
	lock := open(t, dir)
	defer lock.Close()
	if err := os.WriteFile(filepath.Join(dir, statedir.DeclarationName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	none := func(string) bool { return false }
	if err := statedir.BeginRestore(dir, none); control.CodeOf(err) != errcode.DiskFull {
		t.Errorf("got %v", err)
	}
	if err := statedir.Reset(dir, none); err == nil {
		t.Error("a reset without a mark")
	}
	if err := statedir.CheckWhole(dir); err != nil {
		t.Error(err)
	}
}
