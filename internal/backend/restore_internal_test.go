package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/statedir"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/backup"
	"ocapkernel.dev/storage/badgerstore"
)

var quiet = slog.New(slog.DiscardHandler)

// filled makes a store hold a state with so many further rows, of 10 KB each.
func filled(t *testing.T, s storage.Store, rows int) {
	t.Helper()
	_, first, err := kernel.Open(s, s.Limits(), "former")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(first.Writes); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		w := storage.Write{Key: fmt.Sprintf("s.v1.%04d", i), Value: bytes.Repeat([]byte{byte(i)}, 10_000)}
		if err := s.Commit([]storage.Write{w}); err != nil {
			t.Fatal(err)
		}
	}
}

// backupOf returns a backup of a state with so many rows.
func backupOf(t *testing.T, rows int) []byte {
	t.Helper()
	s := storage.NewMem()
	filled(t, s, rows)
	in, err := BackupOf(s, "v1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRestoredStateBeginsAnotherEpoch(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	r, err := Restore(t.Context(), dir, bytes.NewReader(backupOf(t, 1200)), nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if r.From.Epoch != "former" || r.Head.Epoch == "former" || r.Head.Epoch == "" || r.Head.Commit != r.From.Commit+1 {
		t.Errorf("got %+v", r)
	}
	s, err := badgerstore.Examine(filepath.Join(dir, databaseName))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := host.CheckState(s, storage.NewWitness(filepath.Join(dir, witnessName))); err != nil {
		t.Error(err)
	}
	for i := range 1200 {
		value, found, err := s.Get(fmt.Sprintf("s.v1.%04d", i))
		if err != nil || !found || len(value) != 10_000 || value[0] != byte(i) {
			t.Fatalf("row %d: %d bytes, %v, %v", i, len(value), found, err)
		}
	}
	if _, err := Restore(t.Context(), dir, bytes.NewReader(backupOf(t, 1)), nil, quiet); control.CodeOf(err) != errcode.Conflict {
		t.Errorf("a restore over it: got %v, want CONFLICT", err)
	}
}

// at calls do when the reader has come to an offset.
type at struct {
	io.Reader
	left int
	do   func() error
}

func (a *at) Read(p []byte) (int, error) {
	if a.left <= 0 && a.do != nil {
		do := a.do
		a.do = nil
		if err := do(); err != nil {
			return 0, err
		}
	}
	n, err := a.Reader.Read(p[:min(len(p), 1000)])
	a.left -= n
	return n, err
}

// A restore that fails leaves an empty directory, in which the next one succeeds.
func TestFailedRestoreLeavesNothing(t *testing.T) {
	t.Parallel()
	whole := backupOf(t, 800)
	dir := filepath.Join(t.TempDir(), "state")
	bad := errors.New("bad disk")
	ctx, cancel := context.WithCancel(t.Context())
	changed := bytes.Clone(whole)
	changed[len(changed)-40_000] ^= 1
	for what, attempt := range map[string]func() error{
		"a backup that is cut": func() error {
			_, err := Restore(t.Context(), dir, bytes.NewReader(whole[:len(whole)-10_000]), nil, quiet)
			return wants(err, backup.ErrDamaged)
		},
		"a backup that was changed": func() error {
			_, err := Restore(t.Context(), dir, bytes.NewReader(changed), nil, quiet)
			return wants(err, backup.ErrDamaged)
		},
		"no backup": func() error {
			_, err := Restore(t.Context(), dir, strings.NewReader("hello"), nil, quiet)
			return wants(err, backup.ErrDamaged)
		},
		"a disk that cannot be read": func() error {
			_, err := Restore(t.Context(), dir, &at{bytes.NewReader(whole), len(whole) / 2, func() error { return bad }}, nil, quiet)
			return wants(err, bad)
		},
		"an end of the command": func() error {
			_, err := Restore(ctx, dir, &at{bytes.NewReader(whole), len(whole) / 2, func() error { cancel(); return nil }}, nil, quiet)
			return wants(err, context.Canceled)
		},
	} {
		if err := attempt(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if entries, _ := os.ReadDir(dir); slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() != "kernel.lock" }) {
			t.Errorf("%s leaves %v", what, entries)
		}
	}
	if _, err := Restore(t.Context(), dir, bytes.NewReader(whole), nil, quiet); err != nil {
		t.Error(err)
	}
}

func wants(err, want error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("got %v, want %v", err, want)
	}
	return nil
}

// A process that dies during a restore leaves what every kernel refuses, and another restore replaces.
func TestDeathDuringARestore(t *testing.T) {
	t.Parallel()
	whole := backupOf(t, 800)
	for _, left := range []int{2000, len(whole) - 1} {
		dir, died := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "died")
		in := &at{bytes.NewReader(whole), left, func() error { return copyDir(died, dir) }}
		if _, err := Restore(t.Context(), dir, in, nil, quiet); err != nil {
			t.Fatal(err)
		}
		before := listed(t, died)
		if _, err := New(Options{Dir: died, Worker: "/bin/true"}); control.CodeOf(err) != errcode.Conflict || !strings.Contains(err.Error(), "kernel restore") {
			t.Errorf("a kernel on what a death %d bytes before the end leaves: got %v, want CONFLICT", len(whole)-left, err)
		}
		if after := listed(t, died); !slices.Equal(before, after) {
			t.Errorf("the kernel has changed something: %q, %q", before, after)
		}
		if _, _, err := Compact(t.Context(), died, quiet); control.CodeOf(err) != errcode.Conflict {
			t.Errorf("its compaction: got %v, want CONFLICT", err)
		}
		if _, err := Restore(t.Context(), died, bytes.NewReader(whole), nil, quiet); err != nil {
			t.Errorf("another restore: %v", err)
		}
	}
}

// copyDir copies a directory, of whose files most is holes.
func copyDir(to, from string) error {
	return exec.Command("cp", "-a", "--sparse=always", from, to).Run()
}

// listed lists the files of a directory with their sizes.
func listed(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "kernel.lock" {
			info, err := e.Info()
			out = append(out, fmt.Sprintf("%s %d %v", path, info.Size(), info.ModTime()))
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBackupOfAnotherSchemaIsRefused(t *testing.T) {
	t.Parallel()
	for _, schema := range []uint64{0, kernel.SchemaVersion + 1} {
		in, err := backup.NewSource(backup.Header{Schema: schema}, storage.NewMem())
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "state")
		if _, err := Restore(t.Context(), dir, in, nil, quiet); control.CodeOf(err) != errcode.Unsupported {
			t.Errorf("schema %d: got %v, want UNSUPPORTED", schema, err)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("schema %d: the directory was made: %v", schema, err)
		}
	}
}

// compactable makes a state directory with a database that has something to give back.
func compactable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	lock, err := statedir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	s, err := badgerstore.Open(filepath.Join(dir, databaseName), badgerstore.Options{Durability: badgerstore.Process})
	if err != nil {
		t.Fatal(err)
	}
	filled(t, s, 300)
	for range 15 {
		if err := s.Commit([]storage.Write{{Key: "s.v1.large", Value: make([]byte, 2<<20)}}); err != nil {
			t.Fatal(err)
		}
	}
	m, _, err := kernel.Open(s, s.Limits(), "")
	if err != nil {
		t.Fatal(err)
	}
	w := storage.NewWitness(filepath.Join(dir, witnessName))
	if err := errors.Join(w.Accept(m.CommitNumber()), w.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// image returns the rows of the state in a directory, and fails unless its witness agrees.
func image(t *testing.T, dir string) string {
	t.Helper()
	s, err := badgerstore.Examine(filepath.Join(dir, databaseName))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := host.CheckState(s, storage.NewWitness(filepath.Join(dir, witnessName))); err != nil {
		t.Error(err)
	}
	in, err := backup.NewSource(backup.Header{}, s)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCompactGivesBackWhatIsNotNeeded(t *testing.T) {
	t.Parallel()
	dir := compactable(t)
	want := image(t, dir)
	before, after, err := Compact(t.Context(), dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if image(t, dir) != want {
		t.Error("the state is another one")
	}
	if before-after < 1<<20 || after > 6<<20 {
		t.Errorf("the database took %d bytes and takes %d, want less than 6 MiB, and that 1 MiB was given back", before, after)
	}
	if now, err := diskBytes(filepath.Join(dir, databaseName)); now != after || err != nil {
		t.Errorf("it takes %d bytes, %v, and %d were named", now, err, after)
	}
	if _, err := os.Stat(statedir.NextDatabase(dir)); !os.IsNotExist(err) {
		t.Errorf("the old database is left: %v", err)
	}
	lock, err := statedir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, _, err := Compact(t.Context(), dir, quiet); control.CodeOf(err) != errcode.AlreadyRunning {
		t.Errorf("beside a kernel: got %v, want ALREADY_RUNNING", err)
	}
}

// A death in a compaction leaves the old database or the new one, beside the other one, whole or not.
func TestDeathDuringACompaction(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"a part of the new database", "the old database", "no database"} {
		dir := compactable(t)
		want := image(t, dir)
		next := statedir.NextDatabase(dir)
		if what != "no database" {
			if err := copyDir(next, filepath.Join(dir, databaseName)); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Mkdir(next, 0o700); err != nil {
			t.Fatal(err)
		}
		if what == "a part of the new database" {
			if err := os.Remove(filepath.Join(next, "MANIFEST")); err != nil {
				t.Fatal(err)
			}
		}
		if image(t, dir) != want {
			t.Errorf("beside %s the state is another one", what)
		}
		if _, _, err := Compact(t.Context(), dir, quiet); err != nil {
			t.Errorf("beside %s: %v", what, err)
		}
		if image(t, dir) != want {
			t.Errorf("beside %s the state has become another one", what)
		}
	}
	// A start removes it, too.
	dir := compactable(t)
	if err := os.Mkdir(statedir.NextDatabase(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{Dir: dir, Worker: "/bin/true"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(statedir.NextDatabase(dir)); !os.IsNotExist(err) {
		t.Errorf("what a compaction has left is there still: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Error(err)
	}
}

// A database that is damaged may have its better half in what an interrupted compaction has left: whatever refuses the state
// changes nothing.
func TestARefusedStateKeepsWhatACompactionHasLeft(t *testing.T) {
	t.Parallel()
	for what, spoil := range map[string]func(dir string) error{
		"a damaged database": func(dir string) error { return os.Remove(filepath.Join(dir, databaseName, "MANIFEST")) },
		"no database":        func(dir string) error { return os.RemoveAll(filepath.Join(dir, databaseName)) },
		"no witness":         func(dir string) error { return os.WriteFile(filepath.Join(dir, witnessName), []byte("none"), 0o600) },
		"an older database": func(dir string) error {
			w := storage.NewWitness(filepath.Join(dir, witnessName))
			return errors.Join(w.Accept(1<<40), w.Close())
		},
	} {
		dir := compactable(t)
		next := statedir.NextDatabase(dir)
		if err := errors.Join(copyDir(next, filepath.Join(dir, databaseName)), spoil(dir)); err != nil {
			t.Fatal(err)
		}
		before := listed(t, next)
		if _, _, err := Compact(t.Context(), dir, quiet); err == nil {
			t.Errorf("%s: compacted", what)
		}
		if b, err := New(Options{Dir: dir, Worker: "/bin/true"}); err == nil {
			t.Errorf("%s: opened", what)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = b.Run(ctx) // the test has failed
		}
		if after := listed(t, next); !slices.Equal(before, after) {
			t.Errorf("%s: what the compaction has left is %q, and was %q", what, after, before)
		}
	}
}

func TestCompactRefusesWhatAKernelRefuses(t *testing.T) {
	t.Parallel()
	dir := compactable(t)
	elsewhere := filepath.Join(t.TempDir(), "db")
	database := filepath.Join(dir, databaseName)
	if err := errors.Join(os.Rename(database, elsewhere), os.Symlink(elsewhere, database)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Compact(t.Context(), dir, quiet); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a linked database: %v", err)
	}
	if _, _, err := Compact(t.Context(), filepath.Join(t.TempDir(), "none"), quiet); control.CodeOf(err) != errcode.NotFound {
		t.Errorf("no directory: %v", err)
	}
}

// The first row that differs is named, and how.
func TestSameNamesTheRow(t *testing.T) {
	store := func(rows ...string) storage.Store {
		s := storage.NewMem()
		for _, row := range rows {
			if err := s.Commit([]storage.Write{{Key: row[:1], Value: []byte(row[1:])}}); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	for _, test := range []struct {
		state, other storage.Store
		want         string
	}{
		{store("a1", "b1"), store("a1", "b1"), ""},
		{store("a1", "b1", "c1"), store("a1", "c1"), `row "b" is missing in it`},
		{store("a1", "c1"), store("a1", "b1", "c1"), `it has row "b", which the state has not`},
		{store("a1", "b1"), store("a1"), `row "b" is missing in it`},
		{store("a1"), store("a1", "b1"), `it has row "b", which the state has not`},
		{store(), store("a1"), `it has row "a", which the state has not`},
		{store("a1", "b1"), store("a1", "b2"), `row "b" has another value in it`},
	} {
		err := same(test.state, test.other)
		if (err == nil) != (test.want == "") || err != nil && !(strings.HasPrefix(err.Error(), test.want) && errors.Is(err, storage.ErrCorrupt)) {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}
