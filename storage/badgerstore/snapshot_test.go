package badgerstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
)

// files returns the content of the files of a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		used := bytes.TrimRight(content, "\x00")
		out[path] = fmt.Sprintf("%d bytes: %s", len(content), used)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// rows returns all rows of a store, read one by one.
func rows(t *testing.T, r storage.Reader) map[string]string {
	t.Helper()
	out, err := readRows(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func readRows(r storage.Reader) (map[string]string, error) {
	out := map[string]string{}
	for after := ""; ; {
		key, value, found, err := r.Next("", after)
		if err != nil || !found {
			return out, err
		}
		same, found, err := r.Get(key)
		if err != nil || !found || !bytes.Equal(value, same) {
			return out, fmt.Errorf("row %q: Next says %.20q, Get %.20q, %v, %v", key, value, same, found, err)
		}
		out[key], after = string(value), key
	}
}

// written makes a database with tables on several levels, a log that was not closed, and values in value logs,
// and returns its rows. The number of its last commit is in the row "commit".
func written(t *testing.T, dir string, rounds int) map[string]string {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	want := map[string]string{}
	n := 0
	for round := range rounds {
		s, err := badgerstore.Open(dir, badgerstore.Options{Durability: badgerstore.Process})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			n++
			writes := []storage.Write{{Key: "commit", Value: fmt.Append(nil, n)}}
			for range 5 {
				key := fmt.Sprint("row.", random.IntN(100))
				switch random.IntN(8) {
				case 0:
					writes = append(writes, storage.Write{Key: key})
				case 1:
					writes = append(writes, storage.Write{Key: key, Value: []byte{}})
				default:
					writes = append(writes, storage.Write{Key: key, Value: bytes.Repeat([]byte{byte(n)}, random.IntN(2000))})
				}
			}
			if n%35 == 0 {
				writes = append(writes, storage.Write{Key: fmt.Sprint("large.", n%2), Value: bytes.Repeat([]byte{byte(n)}, 1<<20+n)})
			}
			for _, w := range writes {
				if want[w.Key] = string(w.Value); w.Value == nil {
					delete(want, w.Key)
				}
			}
			if err := s.Commit(writes); err != nil {
				t.Fatal(err)
			}
		}
		// Deletions alone, which a compaction may forget.
		if err := s.Commit([]storage.Write{{Key: "row.1"}}); err != nil {
			t.Fatal(err)
		}
		delete(want, "row.1")
		if round == rounds-1 {
			copyTo(t, dir, dir+".killed")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return want
}

// copyTo copies the files of a database. A copy of one that is open equals the remains of a kill, if no
// compaction comes between.
func copyTo(t *testing.T, from, to string) {
	t.Helper()
	for {
		before := tables(t, from)
		copyOnce(t, from, to)
		if before == tables(t, from) {
			return
		}
	}
}

// tables tells two moments apart between which the database has replaced files.
func tables(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	manifest, _ := os.ReadFile(filepath.Join(dir, "MANIFEST")) // it may be the one that is missing
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%q %q", names, manifest)
}

func copyOnce(t *testing.T, from, to string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(to), os.MkdirAll(to, 0o700)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(from, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the caller looks
		}
		if err != nil {
			t.Fatal(err)
		}
		// Logs are maps with 100 MB of zeros at their end; some of them do.
		used := bytes.TrimRight(content, "\x00")
		size := len(content)
		if ext := filepath.Ext(e.Name()); ext == ".mem" || ext == ".vlog" {
			size = min(size, len(used)+100)
		}
		path := filepath.Join(to, e.Name())
		if err := errors.Join(os.WriteFile(path, used, 0o600), os.Truncate(path, int64(size))); err != nil {
			t.Fatal(err)
		}
	}
}

// The examination sees the same rows as Badger, after a close and after a kill, and it changes nothing.
func TestExamineSeesWhatOpenSees(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	want := written(t, dir, 8)
	for _, dir := range []string{dir, dir + ".killed"} {
		before := files(t, dir)
		s, err := badgerstore.Examine(dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, rows(t, s)); diff != "" {
			t.Errorf("%s: the snapshot differs: %s", filepath.Base(dir), diff)
		}
		if _, found, err := s.Get("row.none"); found || err != nil {
			t.Errorf("a row that is not there: %v, %v", found, err)
		}
		if key, _, found, err := s.Next("large.", "large.0"); key != "large.1" || !found || err != nil {
			t.Errorf("got %q, %v, %v", key, found, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, files(t, dir)); diff != "" {
			t.Errorf("%s: the examination has changed files: %.2000s", filepath.Base(dir), diff)
		}
		opened, err := badgerstore.Open(dir, badgerstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, rows(t, opened)); diff != "" {
			t.Errorf("%s: the store differs: %s", filepath.Base(dir), diff)
		}
		if err := opened.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// damages are the changes made to each file.
var damages = []struct {
	name string
	do   func(path string, size int64, used int) error
}{
	{"missing", func(path string, _ int64, _ int) error { return os.Remove(path) }},
	{"empty", func(path string, _ int64, _ int) error { return os.Truncate(path, 0) }},
	{"a byte short", func(path string, _ int64, used int) error { return os.Truncate(path, int64(used)-1) }},
	{"cut by half", func(path string, _ int64, used int) error { return os.Truncate(path, int64(used)/2) }},
	{"a bit at the start", func(path string, _ int64, _ int) error { return flip(path, 1) }},
	{"a bit of the first entry", func(path string, _ int64, _ int) error { return flip(path, 40) }},
	{"a bit in the middle", func(path string, _ int64, used int) error { return flip(path, int64(used)/2) }},
	{"a bit before the end", func(path string, _ int64, used int) error { return flip(path, int64(used)-20) }},
	{"a bit at the end", func(path string, _ int64, used int) error { return flip(path, int64(used)-1) }},
}

func flip(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	b[0] ^= 4
	if err == nil {
		_, err = f.WriteAt(b, at)
	}
	return errors.Join(err, f.Close())
}

// After any change of a file, the database is refused with every byte as it was, or it is whole. Only where a
// log has lost its end does the number of the last commit tell.
func TestDamageIsRefusedOrHarmless(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "db")
	want := written(t, dir, 3)
	refused := map[string]int{}
	copyTo(t, dir, dir+".closed")
	for _, from := range []string{dir + ".closed", dir + ".killed"} {
		for path := range maps.Keys(files(t, from)) {
			name := filepath.Base(path)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			used := len(bytes.TrimRight(content, "\x00"))
			if used < 60 && (strings.HasSuffix(name, ".vlog") || name == "LOCK" || name == "DISCARD") {
				continue // nothing is in it
			}
			for _, d := range damages {
				if name == "KEYREGISTRY" && d.name == "a bit of the first entry" || used <= 40 && strings.HasPrefix(d.name, "a bit") && d.name != "a bit at the end" {
					continue // it is short
				}
				what := fmt.Sprintf("%s of %s: %s", name, filepath.Base(from), d.name)
				damaged := filepath.Join(root, "damaged")
				copyTo(t, from, damaged)
				if err := d.do(filepath.Join(damaged, name), info.Size(), used); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				before := files(t, damaged)
				s, err := badgerstore.Open(damaged, badgerstore.Options{Durability: badgerstore.Process, Examined: func(r storage.Reader) error {
					if last, _, err := r.Get("commit"); err != nil || string(last) != want["commit"] {
						return errors.Join(err, storage.ErrRolledBack)
					}
					return nil
				}})
				if err != nil {
					if !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, storage.ErrRolledBack) {
						t.Errorf("%s: refused with %v", what, err)
					}
					if diff := cmp.Diff(before, files(t, damaged)); diff != "" {
						t.Errorf("%s: refused, and changed: %.2000s", what, diff)
					}
					refused[filepath.Ext(name)]++
					continue
				}
				got, err := readRows(s)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("%s: it opens, with other rows: %v %.2000s", what, err, diff)
				}
				if err := s.Close(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		}
	}
	for _, ext := range []string{".sst", ".mem", ".vlog", ""} {
		if refused[ext] == 0 {
			t.Errorf("no damage of a %s was refused: the test damages nothing", ext)
		}
	}
}

// A MANIFEST that has lost its last lines is in itself whole. The missing rows show that it has.
func TestManifestWithoutItsLastTable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	s, err := badgerstore.Open(dir, badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(filepath.Join(dir, "MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	commit := func(close bool) {
		s, err := badgerstore.Open(dir, badgerstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit([]storage.Write{{Key: "commit", Value: []byte("last")}}); err != nil {
			t.Fatal(err)
		}
		if !close {
			copyTo(t, dir, dir+".killed")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	commit(true)  // makes a table
	commit(false) // makes a log that goes on behind it
	if err := os.WriteFile(filepath.Join(dir+".killed", "MANIFEST"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir+".killed")
	_, err = badgerstore.Open(dir+".killed", badgerstore.Options{})
	if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "a table or a log is missing") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, files(t, dir+".killed")); diff != "" {
		t.Errorf("refused, and changed: %.2000s", diff)
	}
}

// A first open can be killed at any of its files.
func TestOpenAfterAKillDuringTheFirstOpen(t *testing.T) {
	root := t.TempDir()
	whole := filepath.Join(root, "whole")
	s, err := badgerstore.Open(whole, badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(root, "fresh")
	copyTo(t, whole, fresh)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// In the order of their making, the empty ones are followed by the steps that fill them.
	steps := []struct{ name, from string }{
		{"LOCK", ""},
		{"MANIFEST-REWRITE", "MANIFEST"},
		{"MANIFEST", "MANIFEST"},
		{"REWRITE-KEYREGISTRY", "KEYREGISTRY"},
		{"KEYREGISTRY", "KEYREGISTRY"},
		{"00001.mem", ""},
		{"00001.mem", "00001.mem"},
		{"DISCARD", ""},
		{"DISCARD", "DISCARD"},
		{"000001.vlog", ""},
		{"000001.vlog", "000001.vlog"},
	}
	for n := range len(steps) + 1 {
		dir := filepath.Join(root, fmt.Sprint("step", n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for i, step := range steps[:n] {
			var content []byte
			if step.from != "" {
				if content, err = os.ReadFile(filepath.Join(fresh, step.from)); err != nil {
					t.Fatal(err)
				}
			}
			if strings.Contains(step.name, "REWRITE") && i < n-1 {
				continue // it was renamed
			}
			if err := os.WriteFile(filepath.Join(dir, step.name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := badgerstore.Open(dir, badgerstore.Options{})
		if err != nil {
			t.Errorf("killed before step %d (%v): %v", n, steps[min(n, len(steps)-1)], err)
			continue
		}
		if err := errors.Join(s.Commit([]storage.Write{{Key: "k", Value: []byte("v")}}), s.Close()); err != nil {
			t.Errorf("killed before step %d: %v", n, err)
		}
	}
}

// A link in the database leads to files that are not the database's.
func TestLinksInTheDatabaseAreRefused(t *testing.T) {
	for _, name := range []string{"LOCK", "MANIFEST-REWRITE", "00099.mem", "000099.vlog", "DISCARD"} {
		dir := t.TempDir()
		precious := filepath.Join(t.TempDir(), "precious")
		if err := errors.Join(os.WriteFile(precious, []byte("precious"), 0o600), os.Symlink(precious, filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
		if _, err := badgerstore.Open(dir, badgerstore.Options{}); err == nil || !strings.Contains(err.Error(), "symbolic link") {
			t.Errorf("%s: got %v", name, err)
		}
		if text, err := os.ReadFile(precious); err != nil || string(text) != "precious" {
			t.Errorf("%s: what it leads to is %q, %v", name, text, err)
		}
	}
}

// A log whose end was torn by a power loss may hold any bytes there, also a length for which Badger would ask
// for all memory.
func TestATornEndIsCut(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "db")
	want := written(t, dir, 2)
	logs, err := filepath.Glob(filepath.Join(dir+".killed", "*.mem"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	content, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(content, "\x00"))
	for _, garbage := range [][]byte{
		{0x40, 0, 10, 0xfa, 0xff, 0xff, 0xff, 0x0f, 0}, // lengths whose sum is above 32 bits
		{0x40, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		bytes.Repeat([]byte{1}, 5000),
		content[20:200], // an entry from before
	} {
		torn := filepath.Join(root, "torn")
		copyTo(t, dir+".killed", torn)
		log := filepath.Join(torn, filepath.Base(logs[0]))
		if err := os.WriteFile(log, slices.Concat(content[:used], garbage, make([]byte, 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := badgerstore.Open(torn, badgerstore.Options{})
		if err != nil {
			t.Errorf("%x: %v", garbage[:8], err)
			continue
		}
		if diff := cmp.Diff(want, rows(t, s)); diff != "" {
			t.Errorf("%x: %.2000s", garbage[:8], diff)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
