package statedir_test

import (
	"os"
	"path/filepath"
	"testing"

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
