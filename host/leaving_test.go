package host_test

import (
	"errors"
	"strings"
	"testing"

	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// terminated has the state of a kernel that died when it had begun to remove the controller, s1.
func terminated(t *testing.T, mem *storage.Mem) {
	t.Helper()
	m, _, err := kernel.Open(mem, mem.Limits(), "E1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Terminate("s1")
	if err != nil {
		t.Fatal(err)
	}
	if err := mem.Commit(c.Writes); err != nil {
		t.Fatal(err)
	}
}

// Damaged rows of a system subcluster that is being removed, or a name that is that of no subcluster, do not keep the
// declared subcluster away.
func TestDamageThatBlocksNoName(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*testing.T, *storage.Mem) []storage.Write{
		"a leaving vat that does not run": func(t *testing.T, mem *storage.Mem) []storage.Write {
			terminated(t, mem)
			return []storage.Write{{Key: "r.v1"}}
		},
		"a leaving vat of another": func(t *testing.T, mem *storage.Mem) []storage.Write {
			terminated(t, mem)
			row, _, _ := mem.Get("v.v1")
			return []storage.Write{{Key: "v.v1", Value: []byte(strings.Replace(string(row), "\xa2s1", "\xa2s9", 1))}}
		},
		"a leaving vat that is not listed": func(t *testing.T, mem *storage.Mem) []storage.Write {
			terminated(t, mem)
			row, _, _ := mem.Get("v.v1")
			return []storage.Write{{Key: "v.v9", Value: row}}
		},
		"a leaving subcluster without a root": func(t *testing.T, mem *storage.Mem) []storage.Write {
			terminated(t, mem)
			row, _, _ := mem.Get("u.s1")
			return []storage.Write{{Key: "u.s1", Value: []byte(strings.Replace(string(row), "\xa2v1\xa3ko4", "\xa2v1\xa0", 1))}}
		},
		"a name that is no id": func(t *testing.T, mem *storage.Mem) []storage.Write {
			terminated(t, mem)
			return []storage.Write{{Key: "g.controller", Value: []byte("?")}}
		},
		"an empty name": func(t *testing.T, mem *storage.Mem) []storage.Write {
			terminated(t, mem)
			return []storage.Write{{Key: "g.controller", Value: []byte{}}}
		},
		"another name that is no id": func(t *testing.T, mem *storage.Mem) []storage.Write {
			terminated(t, mem)
			return []storage.Write{{Key: "g.undeclared", Value: []byte("v1")}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := storage.NewMem()
			k := start(t, mem, withController(t))
			there(t, k, 1)
			launch(t, k, "pingpong")
			k.end(t)
			reopen(t, mem)
			if err := mem.Commit(damage(t, mem)); err != nil {
				t.Fatal(err)
			}
			k = start(t, mem, withController(t))
			if err := k.SystemReady(t.Context()); err != nil {
				t.Errorf("the name is blocked: %v", err)
			}
			if a, err := send(t.Context(), k, "other", "s2", "play", 3.0); err != nil || a.Value.Body != "#3" {
				t.Errorf("another subcluster answers %+v, %v", a, err)
			}
			k.end(t)
		})
	}
}

// A name that is no id, and a name that leads to a subcluster that is being removed, are told with an advice that helps.
func TestDamagedNameIsToldWithAnAdviceThatHelps(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*testing.T, *storage.Mem) storage.Write{
		"no id": func(*testing.T, *storage.Mem) storage.Write {
			return storage.Write{Key: "g.controller", Value: []byte("s0")}
		},
		"a leaving subcluster": func(t *testing.T, mem *storage.Mem) storage.Write {
			terminated(t, mem)
			return storage.Write{Key: "g.controller", Value: []byte("s1")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := storage.NewMem()
			k := start(t, mem, withController(t))
			there(t, k, 1)
			k.end(t)
			reopen(t, mem)
			if err := mem.Commit([]storage.Write{damage(t, mem)}); err != nil {
				t.Fatal(err)
			}
			k = start(t, mem, withController(t))
			var failed *host.SystemError
			if err := k.SystemReady(t.Context()); !errors.As(err, &failed) || !strings.Contains(failed.Failed[0].Why, "kernel terminate s1 ") {
				t.Fatalf("got %v, want the advice to terminate s1", err)
			}
			if err := k.Terminate(t.Context(), "s1"); err != nil && !strings.Contains(err.Error(), "no subcluster") {
				t.Error(err)
			}
			if _, err := k.Reload(t.Context(), "controller"); err != nil {
				t.Errorf("the declared subcluster is not launched: %v", err)
			}
			if err := k.SystemReady(t.Context()); err != nil {
				t.Error(err)
			}
			k.end(t)
		})
	}
}
