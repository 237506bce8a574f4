package host_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/errcode"
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

// Damaged rows of one subcluster, of its service objects, or of a call cost that subcluster. The kernel starts, reports the
// damage, and goes on for the others.
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
			// A question of a person ends nothing.
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
				if err := k.Reset(t.Context()); err != nil {
					t.Error(err)
				}
			}()
			<-cleared
			if st, err := k.Status(t.Context()); err != nil || len(st.Subclusters) > 0 {
				t.Errorf("after the state was cleared there are %+v, %v", st.Subclusters, err)
			}
			k.end(t)
		})
	}
}

// The hint of a held vat is true: kernel terminate removes a subcluster with unreadable rows, whichever they are. The
// others answer, before and after, and the next kernel starts and can read every row.
func TestADamagedSubclusterCanBeTerminated(t *testing.T) {
	t.Parallel()
	base := storage.NewMem()
	k := start(t, base, channelsOf(patient{}))
	launch(t, k, "repl")
	launch(t, k, "pingpong")
	k.end(t)
	reopen(t, base)
	rows := base.Snapshot()
	tried := map[string]bool{}
	for _, row := range rows {
		kind, rest, _ := strings.Cut(row.Key, ".")
		name, _, _ := strings.Cut(rest, ".")
		of := name == "s1" || name == "v1" || name == "v2" && !strings.Contains(string(row.Value), "pingpong") ||
			strings.HasPrefix(kind, "k") && bytes.Contains(row.Value, []byte("io:s1:")) || kind == "a" || kind == "p" || kind == "f"
		if !of || tried[kind] {
			continue
		}
		tried[kind] = true
		t.Run(row.Key, func(t *testing.T) {
			mem := storage.NewMem()
			if err := mem.Commit(append(slices.Clone(rows), storage.Write{Key: row.Key, Value: []byte{0xc1}})); err != nil {
				t.Fatal(err)
			}
			k := start(t, mem, channelsOf(prompt{}))
			if a, err := send(t.Context(), k, "other", "s2", "play", 3.0); err != nil || a.Value.Body != "#3" {
				t.Errorf("another subcluster answers %+v, %v", a, err)
			}
			if err := k.Terminate(t.Context(), "s1"); err != nil {
				t.Fatal(err)
			}
			st, err := k.Status(t.Context())
			if err != nil || len(st.Subclusters) != 1 || len(st.Held) > 0 {
				t.Errorf("after the termination there are %+v, and held are %v, %v", st.Subclusters, st.Held, err)
			}
			k.end(t)
			reopen(t, mem)
			problems, err := host.CheckRows(mem)
			if err != nil || slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, "cannot be read") }) {
				t.Errorf("check: %q, %v", problems, err)
			}
			k = start(t, mem, channelsOf(prompt{}))
			if a, err := send(t.Context(), k, "next", "s2", "play", 2.0); err != nil || a.Value.Body != "#5" {
				t.Errorf("another subcluster answers the next kernel %+v, %v", a, err)
			}
			k.end(t)
		})
	}
	for _, kind := range strings.Fields("u h v r c k l a p f") {
		if !tried[kind] {
			t.Errorf("no row of kind %s was damaged: %v", kind, tried)
		}
	}
}

// An answer that cannot be read is forgotten in its time like the others, and ends nothing.
func TestADamagedAnswerIsForgotten(t *testing.T) {
	t.Parallel()
	for _, value := range [][]byte{{0xc1}, {}, []byte("no row")} {
		mem := storage.NewMem()
		k := start(t, mem, nil)
		launch(t, k, "pingpong")
		for _, id := range []string{"a", "b", "c"} {
			if a, err := send(t.Context(), k, id, "s1", "play", 1.0); err != nil || a.Rejected {
				t.Fatalf("%+v, %v", a, err)
			}
		}
		k.end(t)
		reopen(t, mem)
		tickets := garbage("t.", value)(mem)
		if err := mem.Commit(tickets[1:2]); err != nil {
			t.Fatal(err)
		}
		k = start(t, mem, func(c *host.Config) { c.KeepAnswers = time.Millisecond })
		waitFor(t, func() bool {
			return !slices.ContainsFunc(mem.Snapshot(), func(row storage.Write) bool { return strings.HasPrefix(row.Key, "t.") })
		})
		if a, err := send(t.Context(), k, "d", "s1", "play", 1.0); err != nil || a.Rejected {
			t.Errorf("%+v, %v", a, err)
		}
		k.end(t)
	}
}

// A launch with a row that goes bad while its channel is opened fails, and its rows are removed. The others go on.
func TestALaunchThatCannotBeReadFails(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"u.s2", "r.v", "v.v", "k.", "result.s2", "unstarted.s2", "q.v", "c.v"} {
		for _, opened := range []error{nil, errors.New("it cannot be opened")} {
			mem := storage.NewMem()
			k := start(t, mem, func(c *host.Config) {
				c.CacheBytes = 1
				c.Kinds = map[string]service.Kind{host.KindIO: {Open: func(o service.Opening) (service.Object, error) {
					var writes []storage.Write
					for _, row := range mem.Snapshot() {
						own := strings.HasPrefix(row.Key, "k.") && bytes.Contains(row.Value, []byte(o.Name)) ||
							!strings.HasPrefix(row.Key, "k.") && !strings.Contains(row.Key, ".v1") && !strings.Contains(row.Key, ".v2")
						if strings.HasPrefix(row.Key, prefix) && own {
							writes = append(writes, storage.Write{Key: row.Key, Value: []byte{0xc1}})
						}
					}
					return patient{}, errors.Join(opened, mem.Commit(writes))
				}}}
			})
			launch(t, k, "pingpong")
			ctx, cancel := context.WithCancel(t.Context())
			launched := make(chan error, 1)
			go func() {
				_, err := k.Launch(ctx, example(t, "repl"))
				launched <- err
			}()
			if opened != nil {
				if err := <-launched; err == nil {
					t.Errorf("%s: a launch whose channel cannot be opened succeeds", prefix)
				}
			}
			if a, err := send(t.Context(), k, "other", "s1", "play", 3.0); err != nil || a.Value.Body != "#3" {
				t.Errorf("%s: another subcluster answers %+v, %v", prefix, a, err)
			}
			cancel()
			refusal := (*kernel.Refusal)(nil)
			if err := k.Terminate(t.Context(), "s2"); err != nil && !(errors.As(err, &refusal) && refusal.Code == errcode.NotFound) {
				t.Errorf("%s: terminate: %v", prefix, err)
			}
			if st, err := k.Status(t.Context()); err != nil || len(st.Subclusters) != 1 {
				t.Errorf("%s: there are %+v, %v", prefix, st.Subclusters, err)
			}
			k.end(t)
		}
	}
}

// garbleOne replaces the values of the rows with a prefix by garbage.
func garbleOne(prefix string) func(*testing.T, *storage.Mem) []storage.Write {
	return func(t *testing.T, mem *storage.Mem) []storage.Write {
		writes := garbage(prefix, []byte{0xc1})(mem)
		if len(writes) == 0 {
			t.Fatalf("there is no row %s", prefix)
		}
		return writes
	}
}
