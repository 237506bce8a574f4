package storage_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/storagetest"
)

// The writes of each crank of one group, the store before it, and the group after it.
func TestLayersApply(t *testing.T) {
	set := func(key, value string) storage.Write { return storage.Write{Key: key, Value: []byte(value)} }
	fresh := func(key, value string) storage.Write {
		return storage.Write{Key: key, Value: []byte(value), Fresh: true}
	}
	del := func(key string) storage.Write { return storage.Write{Key: key} }
	type crank []storage.Write
	tests := []struct {
		name   string
		stored []storage.Write
		// sealed is the group being committed meanwhile.
		sealed crank
		cranks []crank
		want   []storage.Write
	}{
		{name: "nothing"},
		{name: "last write wins", cranks: []crank{{set("a", "1")}, {set("a", "2")}}, want: []storage.Write{set("a", "2")}},
		{
			name: "sorted", cranks: []crank{{set("b", "1"), set("a", "1")}, {set("aa", "1")}},
			want: []storage.Write{set("a", "1"), set("aa", "1"), set("b", "1")},
		},
		{name: "born and dead", cranks: []crank{{fresh("a", "1")}, {del("a")}}},
		{name: "born and dead in one crank", cranks: []crank{{fresh("a", "1"), del("a")}}},
		{name: "born, changed and dead", cranks: []crank{{fresh("a", "1")}, {set("a", "2")}, {del("a")}}},
		{
			name: "born, dead and born", cranks: []crank{{fresh("a", "1")}, {del("a")}, {fresh("a", "2")}},
			want: []storage.Write{fresh("a", "2")},
		},
		{name: "not known to be fresh", cranks: []crank{{set("a", "1")}, {del("a")}}, want: []storage.Write{del("a")}},
		{name: "dead", stored: []storage.Write{set("a", "0")}, cranks: []crank{{del("a")}}, want: []storage.Write{del("a")}},
		{
			name: "dead, born and dead: the tombstone stays", stored: []storage.Write{set("a", "0")},
			cranks: []crank{{del("a")}, {fresh("a", "1")}, {del("a")}}, want: []storage.Write{del("a")},
		},
		{
			name: "dead and born: not fresh", stored: []storage.Write{set("a", "0")},
			cranks: []crank{{del("a")}, {fresh("a", "1")}}, want: []storage.Write{set("a", "1")},
		},
		{
			name: "sealed, then dead: it exists below", sealed: crank{fresh("a", "1")},
			cranks: []crank{{set("a", "2")}, {del("a")}}, want: []storage.Write{del("a")},
		},
		{
			name: "sealed, then dead, born and dead", sealed: crank{fresh("a", "1")},
			cranks: []crank{{del("a")}, {fresh("a", "2")}, {del("a")}}, want: []storage.Write{del("a")},
		},
		{
			name: "dead in the sealed group, then born and dead", stored: []storage.Write{set("a", "0")},
			sealed: crank{del("a")}, cranks: []crank{{fresh("a", "1")}, {del("a")}},
		},
		{
			name: "a lie about a sealed row", sealed: crank{fresh("a", "1")},
			cranks: []crank{{fresh("a", "2")}, {del("a")}}, want: []storage.Write{del("a")},
		},
		{name: "empty values are values", cranks: []crank{{set("a", "")}}, want: []storage.Write{set("a", "")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mem := storage.NewMem()
			if err := mem.Commit(test.stored); err != nil {
				t.Fatal(err)
			}
			l := storage.NewLayers(mem, 1<<20)
			if test.sealed != nil {
				l.Apply(test.sealed)
				sealed := l.Seal()
				if err := mem.Commit(sealed); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range test.cranks {
				l.Apply(c)
			}
			wantBytes := 0
			for _, w := range test.want {
				wantBytes += w.Size()
			}
			if rows, bytes := l.Size(); rows != len(test.want) || bytes != wantBytes {
				t.Errorf("Size: got %d, %d, want %d, %d", rows, bytes, len(test.want), wantBytes)
			}
			if test.sealed != nil {
				l.Committed()
			}
			if got := l.Seal(); len(got) != len(test.want) || len(got) > 0 && !cmp.Equal(test.want, got) {
				t.Errorf("Seal: %s", cmp.Diff(test.want, got))
			}
			if rows, bytes := l.Size(); rows != 0 || bytes != 0 {
				t.Errorf("Size after Seal: got %d, %d", rows, bytes)
			}
		})
	}
}

// The layers, in any state, are one map.
func TestLayersModel(t *testing.T) {
	key := rapid.StringMatching(`[ab.]{1,3}`)
	word := rapid.StringMatching(`[ab.]{0,3}`)
	rapid.Check(t, func(t *rapid.T) {
		mem := storage.NewMem()
		cacheBytes := rapid.SampledFrom([]int{0, 300, 2000, 1 << 20}).Draw(t, "cache")
		// Exact cranks set Fresh wherever it is true, and delete only rows that exist.
		exact := rapid.Bool().Draw(t, "exact")
		l := storage.NewLayers(mem, cacheBytes)
		state, stored := map[string]string{}, map[string]string{}
		var sealed []storage.Write
		committing, committed := false, false

		t.Repeat(map[string]func(*rapid.T){
			"crank": func(t *rapid.T) {
				var writes []storage.Write
				for range rapid.IntRange(0, 5).Draw(t, "writes") {
					k := key.Draw(t, "key")
					_, exists := state[k]
					switch rapid.IntRange(0, 2).Draw(t, "what") {
					case 0:
						if exists || !exact {
							writes = append(writes, storage.Write{Key: k})
							delete(state, k)
						}
					default:
						v := word.Draw(t, "value")
						fresh := !exists && (exact || rapid.Bool().Draw(t, "say fresh"))
						writes = append(writes, storage.Write{Key: k, Value: []byte(v), Fresh: fresh})
						state[k] = v
					}
				}
				l.Apply(writes)
			},
			"seal": func(t *rapid.T) {
				if committing {
					t.Skip("committing")
				}
				rows, bytes := l.Size()
				sealed = l.Seal()
				committing, committed = true, false
				for i, w := range sealed {
					bytes -= w.Size()
					if i > 0 && w.Key <= sealed[i-1].Key {
						t.Fatalf("keys out of order: %q, %q", sealed[i-1].Key, w.Key)
					}
					_, existed := stored[w.Key]
					if exact && (w.Value == nil && !existed || w.Value != nil && w.Fresh == existed) {
						t.Fatalf("write %+v of a row that existed: %t", w, existed)
					}
					if w.Value == nil {
						delete(stored, w.Key)
					} else {
						stored[w.Key] = string(w.Value)
					}
				}
				if rows != len(sealed) || bytes != 0 {
					t.Fatalf("Size: got %d, %d more bytes, want %d", rows, bytes, len(sealed))
				}
				if diff := cmp.Diff(state, stored); diff != "" {
					t.Fatalf("what the groups make of the store: %s", diff)
				}
			},
			"commit": func(t *rapid.T) {
				if !committing || committed {
					t.Skip("nothing to commit")
				}
				committed = true
				if err := mem.Commit(sealed); err != nil {
					t.Fatal(err)
				}
			},
			"committed": func(t *rapid.T) {
				if !committed || !committing {
					t.Skip("not committed")
				}
				committing = false
				l.Committed()
			},
			"get": func(t *rapid.T) {
				k := key.Draw(t, "key")
				v, found := state[k]
				got, gotFound, err := l.Get(k)
				if string(got) != v || gotFound != found || (got != nil) != found || err != nil {
					t.Fatalf("Get(%q): got %q, %t, %v, want %q, %t", k, got, gotFound, err, v, found)
				}
			},
			"next": func(t *rapid.T) {
				storagetest.WantNext(t, l, state, word.Draw(t, "prefix"), word.Draw(t, "after"))
			},
		})
		if diff := cmp.Diff(state, storagetest.Dump(t, l)); diff != "" {
			t.Fatal(diff)
		}
		for _, k := range slices.Sorted(maps.Keys(state)) {
			if got, _, err := l.Get(k); string(got) != state[k] || err != nil {
				t.Fatalf("Get(%q): got %q, %v", k, got, err)
			}
		}
	})
}

func TestLayersPassOnErrors(t *testing.T) {
	l := storage.NewLayers(storage.NewFaulty(storage.NewMem(), storage.Faults{Read: 1}), 1<<20)
	if _, _, err := l.Get("a"); !errors.Is(err, storage.ErrInjected) {
		t.Errorf("Get: %v", err)
	}
	if _, _, _, err := l.Next("", ""); !errors.Is(err, storage.ErrInjected) {
		t.Errorf("Next: %v", err)
	}
	l.Apply([]storage.Write{{Key: "a", Value: []byte("1")}})
	if got, found, err := l.Get("a"); string(got) != "1" || !found || err != nil {
		t.Errorf("Get of the group: %q, %t, %v", got, found, err)
	}
}

// A row that was read once, present or absent, is read from the store once.
func TestLayersCache(t *testing.T) {
	mem := storage.NewMem()
	if err := mem.Commit([]storage.Write{{Key: "a", Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	reads := func(cacheBytes int) int {
		f := storage.NewFaulty(mem, storage.Faults{})
		l := storage.NewLayers(f, cacheBytes)
		for range 10 {
			for _, k := range []string{"a", "absent"} {
				if _, _, err := l.Get(k); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, n := f.Calls()
		return n
	}
	if got := reads(1 << 20); got != 2 {
		t.Errorf("with a cache: got %d reads, want 2", got)
	}
	if got := reads(0); got != 20 {
		t.Errorf("without a cache: got %d reads, want 20", got)
	}
}

func TestLayersMisuse(t *testing.T) {
	for name, f := range map[string]func(*storage.Layers){
		"Seal twice":             func(l *storage.Layers) { l.Seal(); l.Seal() },
		"Committed without Seal": func(l *storage.Layers) { l.Committed() },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f(storage.NewLayers(storage.NewMem(), 0))
		}()
	}
}

// A group that goes by: the cost of a crank beside the machine and the store.
func BenchmarkLayersCrank(b *testing.B) {
	mem := storage.NewMem()
	l := storage.NewLayers(mem, 64<<20)
	value := make([]byte, 100)
	const group = 256
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		// Ten rows: six counters and tables that stay, a queue item and a promise that come and go.
		writes := make([]storage.Write, 0, 10)
		for i := range 6 {
			writes = append(writes, storage.Write{Key: fmt.Sprint("table.", (n+i)%1000), Value: value})
		}
		for _, q := range []string{"queue.", "promise."} {
			writes = append(writes,
				storage.Write{Key: fmt.Sprint(q, n), Value: value, Fresh: true},
				storage.Write{Key: fmt.Sprint(q, n-3)})
		}
		for _, w := range writes {
			if _, _, err := l.Get(w.Key); err != nil {
				b.Fatal(err)
			}
		}
		l.Apply(writes)
		n++
		if n%group == 0 {
			if err := mem.Commit(l.Seal()); err != nil {
				b.Fatal(err)
			}
			l.Committed()
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "cranks/s")
}

func BenchmarkLayersGet(b *testing.B) {
	for _, layer := range []string{"current", "sealed", "cache", "store"} {
		b.Run(layer, func(b *testing.B) {
			mem := storage.NewMem()
			cacheBytes := 64 << 20
			if layer == "store" {
				cacheBytes = 0
			}
			l := storage.NewLayers(mem, cacheBytes)
			keys := make([]string, 10_000)
			var writes []storage.Write
			for i := range keys {
				keys[i] = fmt.Sprint("table.", i)
				writes = append(writes, storage.Write{Key: keys[i], Value: make([]byte, 100)})
			}
			l.Apply(writes)
			if layer != "current" {
				sealed := l.Seal()
				if layer != "sealed" {
					if err := mem.Commit(sealed); err != nil {
						b.Fatal(err)
					}
					l.Committed()
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, found, err := l.Get(keys[i%len(keys)]); !found || err != nil {
					b.Fatal(found, err)
				}
			}
		})
	}
}

func BenchmarkLayersApply(b *testing.B) {
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprint("table.", i)
	}
	value := make([]byte, 100)
	l := storage.NewLayers(storage.NewMem(), 64<<20)
	writes := make([]storage.Write, 10)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		for i := range writes {
			writes[i] = storage.Write{Key: keys[(n*10+i)%len(keys)], Value: value}
		}
		l.Apply(writes)
	}
}

// Next while the group grows: a vat that iterates and writes.
func BenchmarkLayersNext(b *testing.B) {
	l := storage.NewLayers(storage.NewMem(), 64<<20)
	for i := range 10_000 {
		l.Apply([]storage.Write{{Key: fmt.Sprintf("row.%06d", i), Value: []byte("x"), Fresh: true}})
	}
	b.ReportAllocs()
	after := ""
	for n := 0; b.Loop(); n++ {
		l.Apply([]storage.Write{{Key: fmt.Sprintf("other.%09d", n), Value: []byte("x"), Fresh: true}})
		key, _, found, err := l.Next("row.", after)
		if err != nil {
			b.Fatal(err)
		}
		after = key
		if !found {
			after = ""
		}
	}
}
