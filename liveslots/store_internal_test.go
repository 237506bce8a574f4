package liveslots

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ocapkernel.dev/wire"
)

// plain is a store as it should be.
type plain map[string]string

func (p plain) Get(key string) ([]byte, bool, error) {
	v, ok := p[key]
	return []byte(v), ok, nil
}

func (p plain) Next(prefix, after string) (string, []byte, bool, error) {
	for _, k := range slices.Sorted(maps.Keys(p)) {
		if k > after && strings.HasPrefix(k, prefix) {
			return k, []byte(p[k]), true, nil
		}
	}
	return "", nil, false, nil
}

// Rows during cranks read as a store to which every write went at once.
func TestRowsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model, below := plain{}, plain{}
		s := newRows(below)
		key := rapid.StringMatching(`[ab]{0,2}[abc]`)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), rapid.StringN(0, 3, 3).Draw(t, "value")
				s.set(k, []byte(v))
				model[k] = v
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "key")
				s.delete(k)
				delete(model, k)
			},
			"get": func(t *rapid.T) {
				k := key.Draw(t, "key")
				v, found := s.get(k)
				want, ok := model[k]
				if found != ok || string(v) != want {
					t.Fatalf("get %q: got %q, %t, want %q, %t", k, v, found, want, ok)
				}
			},
			"next": func(t *rapid.T) {
				prefix, after := rapid.StringMatching(`[ab]{0,2}`).Draw(t, "prefix"), rapid.StringMatching(`[ab]{0,3}`).Draw(t, "after")
				k, v, found := s.next(prefix, after)
				wantKey, wantValue, ok, _ := model.Next(prefix, after)
				if k != wantKey || string(v) != string(wantValue) || found != ok {
					t.Fatalf("next %q after %q: got %q, %q, %t, want %q, %q, %t", prefix, after, k, v, found, wantKey, wantValue, ok)
				}
			},
			"commit": func(t *rapid.T) {
				s.flush(func(x wire.Syscall) {
					switch x := x.(type) {
					case wire.StoreSet:
						below[x.Key] = string(x.Value)
					case wire.StoreDelete:
						delete(below, x.Key)
					}
				})
			},
			"": func(t *rapid.T) {},
		})
	})
}

// counted is a store that counts how often it is asked for the next row.
type counted struct {
	sorted []string
	next   int
}

func (c *counted) Get(string) ([]byte, bool, error) { return nil, true, nil }

func (c *counted) Next(prefix, after string) (string, []byte, bool, error) {
	c.next++
	i, found := slices.BinarySearch(c.sorted, after)
	if found {
		i++
	}
	if i == len(c.sorted) || !strings.HasPrefix(c.sorted[i], prefix) {
		return "", nil, false, nil
	}
	return c.sorted[i], nil, true, nil
}

// The cost of a loop over rows is in proportion to the rows, also if the loop writes. The steps are counted:
// one read below for each row, and no sort after the first.
func TestLoopThatWritesIsLinear(t *testing.T) {
	const n = 2000
	key := func(prefix string, i int) string { return fmt.Sprintf("%s.%06d", prefix, i) }
	below := func() *counted {
		c := &counted{}
		for i := range n {
			c.sorted = append(c.sorted, key("a", i))
		}
		return c
	}
	t.Run("a copy into another map", func(t *testing.T) {
		c := below()
		s := newRows(c)
		after, i := "a.", 0
		for k, _, found := s.next("a.", after); found; k, _, found = s.next("a.", k) {
			s.set(key("b", n-i), nil)
			if i++; s.sorted == nil {
				t.Fatalf("the write after row %d has all keys sorted again", i)
			}
		}
		if i != n || c.next > n+1 {
			t.Errorf("%d rows, %d reads", i, c.next)
		}
	})
	t.Run("a queue that is emptied", func(t *testing.T) {
		c := below()
		s := newRows(c)
		i := 0
		for k, _, found := s.next("a.", "a."); found; k, _, found = s.next("a.", "a.") {
			s.delete(k)
			i++
		}
		if i != n || c.next > 2*n {
			t.Errorf("%d rows, %d reads", i, c.next)
		}
	})
	t.Run("a queue that gets back what was taken", func(t *testing.T) {
		c := below()
		s := newRows(c)
		for i := range 2 * n {
			k, _, found := s.next("a.", "a.")
			if want := key("a", i); !found || k != want {
				t.Fatalf("got %q, want %q", k, want)
			}
			s.delete(k)
			s.set(key("a", n+i), nil)
			for q := range 3 { // others are looked at meanwhile
				s.next(key("q", q), "")
			}
		}
		if c.next > 10*n {
			t.Errorf("%d reads", c.next)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	below := plain{}
	s := newRows(below)
	for i := range 100 {
		key := "k" + utoa(uint64(i))
		below[key] = strings.Repeat("x", maxCacheBytes/10)
		s.get(key)
	}
	size := 0
	for _, generation := range []map[string]row{s.young, s.old} {
		for _, r := range generation {
			size += len(r.value)
		}
	}
	if size > 2*maxCacheBytes {
		t.Errorf("the cache holds %d bytes", size)
	}
}
