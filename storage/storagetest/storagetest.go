// Package storagetest is the suite that every [storage.Store] passes. It is the contract in running form: a new
// store is right when it passes [Run].
package storagetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ocapkernel.dev/storage"
)

// Open returns an empty store for a test, and a function that opens it again after it was closed. The suite
// closes the stores.
type Open func(t *testing.T) (store storage.Store, reopen func() (storage.Store, error))

// Run runs the suite against the stores that open makes.
func Run(t *testing.T, open Open) {
	t.Run("rows", func(t *testing.T) { rows(t, open) })
	t.Run("order", func(t *testing.T) { order(t, open) })
	t.Run("deleted rows", func(t *testing.T) { deletedRows(t, open) })
	t.Run("limits", func(t *testing.T) { limits(t, open) })
	t.Run("reopen", func(t *testing.T) { reopen(t, open) })
	t.Run("concurrent reads", func(t *testing.T) { concurrentReads(t, open) })
	t.Run("frozen", func(t *testing.T) { frozen(t, open) })
	t.Run("model", func(t *testing.T) { model(t, open) })
}

func rows(t *testing.T, open Open) {
	s, _ := open(t)
	defer closeStore(t, s)
	wantRow(t, s, "a", nil)
	commit(t, s)
	commit(t, s, set("a", "1"), set("b", ""))
	wantRow(t, s, "a", []byte("1"))
	wantRow(t, s, "b", []byte{})
	if key, value, found, err := s.Next("b", ""); key != "b" || value == nil || !found || err != nil {
		t.Errorf("Next of an empty value: got %q, %v, %t, %v", key, value, found, err)
	}
	wantRow(t, s, "ab", nil)
	wantRow(t, s, "", nil)
	// Writes to the same key in one commit: the last one wins.
	commit(t, s, set("a", "2"), set("c", "1"), del("c"), del("b"), set("b", "3"), set("a", "4"))
	wantRow(t, s, "a", []byte("4"))
	wantRow(t, s, "b", []byte("3"))
	wantRow(t, s, "c", nil)
	commit(t, s, del("a"), del("never was"))
	wantRow(t, s, "a", nil)
}

// What is frozen stays as it was, whatever is committed meanwhile.
func frozen(t *testing.T, open Open) {
	s, _ := open(t)
	defer closeStore(t, s)
	commit(t, s, set("a", "1"), set("b", "1"), set("d", "1"))
	f := s.Freeze()
	defer f.Close()
	commit(t, s, set("a", "2"), del("b"), set("c", "2"))
	later := s.Freeze()
	defer later.Close()
	commit(t, s, del("a"), del("d"))
	for _, want := range []struct {
		r    storage.Reader
		rows string
	}{{f, "a=1 b=1 d=1"}, {later, "a=2 c=2 d=1"}, {s, "c=2"}} {
		var got []string
		for after := ""; ; {
			key, value, found, err := want.r.Next("", after)
			if err != nil {
				t.Fatal(err)
			}
			if !found {
				if stepped := stepTo(t, want.r, after); stepped != "" {
					t.Errorf("in steps there is a row %q", stepped)
				}
				break
			}
			if stepped := stepTo(t, want.r, after); stepped != key {
				t.Errorf("in steps the row after %q is %q, and not %q", after, stepped, key)
			}
			if v, found, err := want.r.Get(key); !found || err != nil || string(v) != string(value) {
				t.Errorf("row %s is %q, %t, %v, and %q in the order of the rows", key, v, found, err, value)
			}
			got = append(got, key+"="+string(value))
			after = key
		}
		if rows := strings.Join(got, " "); rows != want.rows {
			t.Errorf("got %s, want %s", rows, want.rows)
		}
	}
	if _, found, err := f.Get("c"); found || err != nil {
		t.Errorf("a row of later: got %t, %v", found, err)
	}
}

// stepTo returns the key of the row after another, found in the smallest steps; empty if there is none.
func stepTo(t *testing.T, r storage.Reader, after string) string {
	t.Helper()
	for {
		key, _, found, ready, err := storage.Step(r, "", after, 1)
		switch {
		case err != nil:
			t.Fatal(err)
		case ready && !found:
			return ""
		case ready:
			return key
		}
		after = key
	}
}

func order(t *testing.T, open Open) {
	s, _ := open(t)
	defer closeStore(t, s)
	keys := []string{"\x00", " ", "a", "a.", "a.\x00", "a.1", "a.1.1", "a.10", "a.2", "a.\xff", "a.\xff\xff", "a/", "b", "\xff", "\xff\xff"}
	var writes []storage.Write
	for i, key := range keys {
		writes = append(writes, set(key, fmt.Sprint(i)))
	}
	slices.Reverse(writes)
	commit(t, s, writes...)
	prefixes := append([]string{"", "a.1", "a.3", "zz", "\xff\xff\xff"}, keys...)
	for _, prefix := range prefixes {
		for _, after := range prefixes {
			var want string
			for _, key := range keys {
				if key > after && strings.HasPrefix(key, prefix) {
					want = key
					break
				}
			}
			got, _, found, err := s.Next(prefix, after)
			if got != want || found != (want != "") || err != nil {
				t.Errorf("Next(%q, %q): got %q, %t, %v, want %q", prefix, after, got, found, err, want)
			}
		}
	}
}

// deletedRows has many dead rows before the living one.
func deletedRows(t *testing.T, open Open) {
	s, _ := open(t)
	defer closeStore(t, s)
	const n = 1200
	key := func(i int) string { return fmt.Sprintf("q.%06d", i) }
	for i := range n {
		writes := []storage.Write{set(key(i), "x")}
		if i > 0 {
			writes = append(writes, del(key(i-1)))
		}
		commit(t, s, writes...)
		if i%200 == 0 {
			if got, _, _, err := s.Next("q.", ""); got != key(i) || err != nil {
				t.Fatalf("head of the queue: got %q, %v, want %q", got, err, key(i))
			}
		}
	}
	if diff := cmp.Diff(map[string]string{key(n - 1): "x"}, Dump(t, s)); diff != "" {
		t.Error(diff)
	}
}

func limits(t *testing.T, open Open) {
	s, _ := open(t)
	defer closeStore(t, s)
	commit(t, s, set("kept", "1"))
	l := s.Limits()
	full := func(rows, bytes int) []storage.Write {
		writes := make([]storage.Write, rows)
		rest := bytes
		for i := range writes {
			w := set(fmt.Sprintf("%06d", i), "")
			size := max(rest/(rows-i)-len(w.Key), 0)
			if i == rows-1 {
				size = max(rest-len(w.Key), 0)
			}
			w.Value = make([]byte, size)
			rest -= w.Size()
			writes[i] = w
		}
		return writes
	}
	refused := map[string][]storage.Write{
		"empty key":      {set("kept", "2"), set("", "1")},
		"reserved key":   {set("kept", "2"), set("!badger!x", "1")},
		"long key":       {set("kept", "2"), set(strings.Repeat("k", storage.MaxKeyBytes+1), "1")},
		"too many rows":  append(full(l.Rows, 0), set("kept", "2")),
		"too many bytes": append(full(10, l.Bytes), set("kept", "2")),
	}
	for name, writes := range refused {
		if err := s.Commit(writes); err == nil {
			t.Errorf("%s: commit was accepted", name)
		}
	}
	if diff := cmp.Diff(map[string]string{"kept": "1"}, Dump(t, s)); diff != "" {
		t.Errorf("refused commits changed something: %s", diff)
	}
	commit(t, s, set(strings.Repeat("k", storage.MaxKeyBytes), "1"))
	for _, rows := range []int{1, 3, 1000, l.Rows} {
		commit(t, s, full(rows, l.Bytes)...)
	}
	if _, found, err := s.Get(fmt.Sprintf("%06d", l.Rows-1)); !found || err != nil {
		t.Errorf("last row of a full commit: got %t, %v", found, err)
	}
}

func reopen(t *testing.T, open Open) {
	s, again := open(t)
	want := map[string]string{}
	for i := range 5 {
		key, gone := fmt.Sprint("k", i), fmt.Sprint("gone", i)
		commit(t, s, set(key, fmt.Sprint(i)), set(gone, "x"), set("n", fmt.Sprint(i)))
		commit(t, s, del(gone))
		want[key], want["n"] = fmt.Sprint(i), fmt.Sprint(i)
		closeStore(t, s)
		var err error
		if s, err = again(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, Dump(t, s)); diff != "" {
			t.Fatalf("after opening %d: %s", i+1, diff)
		}
	}
	closeStore(t, s)
}

// concurrentReads reads two rows that each commit changes together: the one read later is never older.
func concurrentReads(t *testing.T, open Open) {
	s, _ := open(t)
	defer closeStore(t, s)
	commit(t, s, set("x", "000"), set("y", "000"))
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				x, _, err := s.Get("x")
				key, y, found, err2 := s.Next("y", "")
				if err != nil || err2 != nil || key != "y" || !found || string(y) < string(x) {
					t.Errorf("read x %s, %v, then %s %s, %t, %v", x, err, key, y, found, err2)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range 200 {
		n := fmt.Sprintf("%03d", i)
		commit(t, s, set("x", n), set("y", n), set("y"+n, n))
	}
	close(done)
	readers.Wait()
}

// model compares one store with a map, over many random histories.
func model(t *testing.T, open Open) {
	s, again := open(t)
	defer func() { closeStore(t, s) }()
	key := rapid.StringMatching(`[ab.]{1,3}`)
	word := rapid.StringMatching(`[ab.]{0,3}`)
	reopened := 0
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]string{}
		var clear []storage.Write
		for k := range Dump(t, s) {
			clear = append(clear, del(k))
		}
		commit(t, s, clear...)
		t.Repeat(map[string]func(*rapid.T){
			"commit": func(t *rapid.T) {
				var writes []storage.Write
				for range rapid.IntRange(0, 4).Draw(t, "writes") {
					k := key.Draw(t, "key")
					_, exists := want[k]
					if rapid.Bool().Draw(t, "delete") {
						writes = append(writes, del(k))
						delete(want, k)
						continue
					}
					v := word.Draw(t, "value")
					writes = append(writes, storage.Write{Key: k, Value: []byte(v), Fresh: !exists})
					want[k] = v
				}
				commit(t, s, writes...)
			},
			"get": func(t *rapid.T) {
				k := key.Draw(t, "key")
				v, found := want[k]
				got, gotFound, err := s.Get(k)
				if string(got) != v || gotFound != found || err != nil {
					t.Fatalf("Get(%q): got %q, %t, %v, want %q, %t", k, got, gotFound, err, v, found)
				}
			},
			"next": func(t *rapid.T) {
				prefix, after := word.Draw(t, "prefix"), word.Draw(t, "after")
				WantNext(t, s, want, prefix, after)
			},
			"reopen": func(t *rapid.T) {
				if reopened >= 20 {
					t.Skip("enough")
				}
				reopened++
				closeStore(t, s)
				var err error
				if s, err = again(); err != nil {
					t.Fatal(err)
				}
			},
		})
		if diff := cmp.Diff(want, Dump(t, s)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// WantNext fails the test unless Next of r, and its Step, answers as if r held exactly the rows of want.
func WantNext(t rapid.TB, r storage.Reader, want map[string]string, prefix, after string) {
	t.Helper()
	wantKey, wantFound := "", false
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if k > after && strings.HasPrefix(k, prefix) {
			wantKey, wantFound = k, true
			break
		}
	}
	key, value, found, err := r.Next(prefix, after)
	if key != wantKey || string(value) != want[wantKey] || found != wantFound || err != nil {
		t.Fatalf("Next(%q, %q): got %q, %q, %t, %v, want %q, %q, %t",
			prefix, after, key, value, found, err, wantKey, want[wantKey], wantFound)
	}
	for at := after; ; { // the same in the smallest steps
		key, value, found, ready, err := storage.Step(r, prefix, at, 1)
		if err == nil && !ready && key > at && strings.HasPrefix(key, prefix) && (!wantFound || key < wantKey) {
			at = key
			continue
		}
		if key != wantKey || string(value) != want[wantKey] || found != wantFound || !ready || err != nil {
			t.Fatalf("Step(%q, %q): got %q, %q, %t, %t, %v, want %q, %q, %t",
				prefix, at, key, value, found, ready, err, wantKey, want[wantKey], wantFound)
		}
		return
	}
}

// Dump reads all rows of r, one Next after the other.
func Dump(t rapid.TB, r storage.Reader) map[string]string {
	t.Helper()
	rows := map[string]string{}
	for after := ""; ; {
		key, value, found, err := r.Next("", after)
		if err != nil {
			t.Fatalf("Next after %q: %v", after, err)
		}
		if !found {
			return rows
		}
		if key <= after {
			t.Fatalf("Next after %q: got %q", after, key)
		}
		rows[key] = string(value)
		after = key
	}
}

func set(key, value string) storage.Write { return storage.Write{Key: key, Value: []byte(value)} }

func del(key string) storage.Write { return storage.Write{Key: key} }

func commit(t rapid.TB, s storage.Store, writes ...storage.Write) {
	t.Helper()
	if err := s.Commit(writes); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func closeStore(t rapid.TB, s storage.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// wantRow wants no row if value is nil.
func wantRow(t *testing.T, s storage.Store, key string, value []byte) {
	t.Helper()
	got, found, err := s.Get(key)
	if diff := cmp.Diff(value, got); diff != "" || found != (value != nil) || err != nil {
		t.Errorf("Get(%q): got %q, %t, %v, want %q", key, got, found, err, value)
	}
}
