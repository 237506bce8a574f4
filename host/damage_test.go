package host_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/storage"
)

// patient is a channel whose calls wait, and can be begun again.
type patient struct{}

func (patient) Idempotent(string) bool { return true }

func (patient) Begin(context.Context, service.Call, func(service.Reply)) {}

// prompt is a channel that answers each call at once.
type prompt struct{}

func (prompt) Idempotent(string) bool { return true }

func (prompt) Begin(_ context.Context, _ service.Call, reply func(service.Reply)) {
	reply(service.Fulfil("line"))
}

func channelsOf(o service.Object) func(*host.Config) {
	return func(c *host.Config) {
		c.Kinds = map[string]service.Kind{host.KindIO: {Open: func(service.Opening) (service.Object, error) { return o, nil }}}
	}
}

// rowWith returns the key and value of the first row with a prefix whose value the text is in.
func rowWith(t *testing.T, mem *storage.Mem, prefix, text string) storage.Write {
	t.Helper()
	for _, row := range mem.Snapshot() {
		if strings.HasPrefix(row.Key, prefix) && bytes.Contains(row.Value, []byte(text)) {
			return row
		}
	}
	t.Fatalf("there is no row %s with %s", prefix, text)
	return storage.Write{}
}

// What is wrong with the rows of one subcluster, of its service objects, or of a call costs that subcluster. The kernel
// starts, says so, and goes on for the others.
func TestDamageOfOneSubclusterIsNoneOfTheOthers(t *testing.T) {
	t.Parallel()
	const garbled = "\xc1"
	for _, c := range []struct {
		name   string
		damage func(*testing.T, *storage.Mem) []storage.Write
		// held are the vats that are held back.
		held []string
	}{
		{"a service object", func(t *testing.T, mem *storage.Mem) []storage.Write {
			return []storage.Write{{Key: rowWith(t, mem, "k.", "io:s1:").Key, Value: []byte(garbled)}}
		}, []string{"v1"}},
		{"a call that was begun", func(t *testing.T, mem *storage.Mem) []storage.Write {
			return []storage.Write{{Key: rowWith(t, mem, "a.", "read").Key, Value: []byte(garbled)}}
		}, []string{"v1"}},
		{"what the answer of a call is for", func(t *testing.T, mem *storage.Mem) []storage.Write {
			channel := strings.TrimPrefix(rowWith(t, mem, "k.", "io:s1:").Key, "k.")
			return []storage.Write{{Key: rowWith(t, mem, "p.", channel).Key, Value: []byte(garbled)}}
		}, []string{"v1"}},
		{"that is missing", func(t *testing.T, mem *storage.Mem) []storage.Write {
			channel := strings.TrimPrefix(rowWith(t, mem, "k.", "io:s1:").Key, "k.")
			return []storage.Write{{Key: rowWith(t, mem, "p.", channel).Key}}
		}, []string{"v1"}},
		{"a subcluster", garbleOne("u.s1"), []string{"v1"}},
		{"a subcluster and its vats", func(t *testing.T, mem *storage.Mem) []storage.Write {
			return slices.Concat(garbleOne("u.s1")(t, mem), garbleOne("v.v1")(t, mem))
		}, []string{"v1"}},
		{"the configuration", garbleOne("h.s1"), nil},
		{"what is to be loaded anew", func(*testing.T, *storage.Mem) []storage.Write {
			return []storage.Write{{Key: "h.s9", Value: []byte(garbled)}, {Key: "reload.s9", Value: []byte{}}}
		}, nil},
		{"the configuration of what is to be loaded anew", func(t *testing.T, mem *storage.Mem) []storage.Write {
			row := rowWith(t, mem, "h.s1", `{"v":1,`)
			b := bytes.Replace(row.Value, []byte(`{"v":1,`), []byte(`{"v":9,`), 1)
			at := bytes.LastIndexByte(b, 0xc2) // the first boolean, which says whether it is to be loaded anew
			if bytes.IndexByte(b, 0xc2) != at {
				t.Fatal("it is not clear which boolean it is")
			}
			b[at] = 0xc3
			return []storage.Write{{Key: "h.s9", Value: b}, {Key: "reload.s9", Value: []byte{}}}
		}, nil},
		{"an answer", garbleOne("t."), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mem := storage.NewMem()
			k := start(t, mem, channelsOf(patient{}))
			launch(t, k, "repl")
			launch(t, k, "pingpong")
			if a, err := send(t.Context(), k, "before", "s2", "play", 2.0); err != nil || a.Rejected {
				t.Fatalf("%+v, %v", a, err)
			}
			k.end(t)
			reopen(t, mem)
			if err := mem.Commit(c.damage(t, mem)); err != nil {
				t.Fatal(err)
			}
			problems, err := host.CheckRows(mem)
			if err == nil && len(problems) == 0 && c.name != "the configuration of what is to be loaded anew" {
				t.Error("check finds nothing")
			}

			k = start(t, mem, channelsOf(prompt{}))
			if a, err := send(t.Context(), k, "other", "s2", "play", 3.0); err != nil || a.Value.Body != "#5" {
				t.Errorf("another subcluster answers %+v, %v", a, err)
			}
			_, _ = k.Await(t.Context(), "", "before") // an answer, or that it cannot be read
			for _, id := range c.held {
				waitFor(t, func() bool {
					st, err := k.Status(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					return st.Held[kernel.VatID(id)] != ""
				})
			}
			// Whatever a person asks: it ends nothing.
			_, _ = k.ServiceList(t.Context())
			_, _ = k.Vats(t.Context())
			_ = k.Restart(t.Context(), "v1", false)
			_, _ = k.Reload(t.Context(), "s2")
			_, _ = k.FindSubcluster(t.Context(), "s1")
			if a, err := send(t.Context(), k, "after", "s3", "play", 2.0); err != nil || a.Value.Body != "#2" {
				t.Errorf("another subcluster answers %+v, %v", a, err)
			}
			cleared := make(chan struct{})
			go func() {
				defer close(cleared)
				_ = k.Reset(t.Context()) // done, or it waits for what cannot be removed
			}()
			waitFor(t, func() bool {
				st, err := k.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return !slices.ContainsFunc(st.Subclusters, func(s kernel.Subcluster) bool { return s.ID == "s2" || s.ID == "s3" })
			})
			k.end(t)
			<-cleared
		})
	}
}

// garbleOne replaces the rows with a prefix by what is no row.
func garbleOne(prefix string) func(*testing.T, *storage.Mem) []storage.Write {
	return func(t *testing.T, mem *storage.Mem) []storage.Write {
		writes := garbage(prefix, []byte{0xc1})(mem)
		if len(writes) == 0 {
			t.Fatalf("there is no row %s", prefix)
		}
		return writes
	}
}
