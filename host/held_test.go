package host_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// busy makes a state in which v1 (of s1, with v2) is in the middle of a call and has a memory of more than that many
// deliveries, and s2 has nothing to do. The call is under ticket "long".
func busy(t *testing.T, records uint64) *storage.Mem {
	t.Helper()
	mem := storage.NewMem()
	k := start(t, mem, nil)
	sub := launch(t, k, "pingpong")
	launch(t, k, "pingpong")
	poke(t, k, "long", string(sub.ID), 1e9)
	waitFor(t, func() bool { return status(t, k, "v1").Records > records })
	k.end(t)
	reopen(t, mem)
	return mem
}

func reopen(t *testing.T, mem *storage.Mem) {
	t.Helper()
	if err := mem.Reopen(); err != nil {
		t.Fatal(err)
	}
}

// poke makes a call and does not wait for the answer.
func poke(t *testing.T, k *running, id, target string, n float64) {
	t.Helper()
	body, err := capdata.EncodeCall("play", []any{n})
	if err == nil {
		_, err = k.Call(t.Context(), "", id, target, kernel.Data{Body: body}, false)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// status returns a vat's line of ps.
func status(t *testing.T, k *running, id kernel.VatID) host.VatStatus {
	t.Helper()
	vats, err := k.Vats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(vats, func(v host.VatStatus) bool { return v.ID == id })
	if i < 0 {
		t.Fatalf("there is no vat %s", id)
	}
	return vats[i]
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !done() {
		select {
		case <-deadline:
			t.Fatal("it does not happen")
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// garbage replaces the rows with a prefix.
func garbage(prefix string, value []byte) func(*storage.Mem) []storage.Write {
	return func(mem *storage.Mem) (writes []storage.Write) {
		for _, row := range mem.Snapshot() {
			if strings.HasPrefix(row.Key, prefix) {
				writes = append(writes, storage.Write{Key: row.Key, Value: value})
			}
		}
		return writes
	}
}

// Damaged rows of one vat cost that vat its memory, or hold it back. The kernel starts, and goes on for the others.
func TestDamageOfOneVatIsNoneOfTheOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		damage func(*storage.Mem) []storage.Write
		// held is a part of the reason; empty if the vat loses its memory instead.
		held string
		// call says that only a further call meets the damage.
		call bool
	}{
		{"a record that is no row", garbage("y.v1.", []byte{0xc1}), "", false},
		{"records that are missing", garbage("y.v1.", nil), "", false},
		{"a record of no frame", garbage("y.v1.", []byte{0x93, 0xc4, 1, 7, 0xc3, 0xc4, 0}), "", false},
		{"how the vat runs is no row", garbage("r.v1", []byte{0xc1}), "row r.v1", false},
		{"how the vat runs is missing", garbage("r.v1", nil), "row r.v1", false},
		{"what the vat is is no row", garbage("v.v1", []byte{0xc1}), "row v.v1", false},
		{"names are missing", garbage("c.v1.", nil), "invariant broken", true},
		{"queued items that are no rows", garbage("q.v1.", []byte{0xc1}), "row q.v1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var mem *storage.Mem
			var writes []storage.Write
			for range 50 { // a queue may happen to be empty
				mem = busy(t, 2)
				if writes = c.damage(mem); len(writes) > 0 {
					break
				}
			}
			if len(writes) == 0 {
				t.Fatal("the state has no such row")
			}
			if err := mem.Commit(writes); err != nil {
				t.Fatal(err)
			}
			k := start(t, mem, nil)
			if a, err := send(t.Context(), k, "other", "s2", "play", 3.0); err != nil || a.Value.Body != "#3" {
				t.Errorf("another vat answers %+v, %v", a, err)
			}
			if c.held == "" {
				a, err := k.Await(t.Context(), "", "long")
				if err != nil || !strings.Contains(a.Value.Body, "VAT_RESTARTED") {
					t.Errorf("who waits for the memory hears %+v, %v", a, err)
				}
				if a, err := send(t.Context(), k, "again", "s1", "play", 2.0); err != nil || a.Rejected {
					t.Errorf("afterwards the vat answers %+v, %v", a, err)
				}
				if v := status(t, k, "v1"); v.Held {
					t.Errorf("the vat is held: %s", v.Why)
				}
			} else {
				if c.call {
					poke(t, k, "poke", "s1", 1)
				}
				waitFor(t, func() bool { return status(t, k, "v1").Held })
				if v := status(t, k, "v1"); !strings.Contains(v.Why, c.held) {
					t.Errorf("the vat is held for %q, want %q", v.Why, c.held)
				}
				st, err := k.Status(t.Context())
				if err != nil || st.Held["v1"] == "" {
					t.Errorf("status says %v, %v", st.Held, err)
				}
				// A person may try: that ends nothing either.
				_ = k.Restart(t.Context(), "v1", false) // refused, or in vain
				waitFor(t, func() bool { return status(t, k, "v1").Held })
			}
			if a, err := send(t.Context(), k, "other2", "s2", "play", 2.0); err != nil || a.Value.Body != "#5" {
				t.Errorf("another vat answers %+v, %v", a, err)
			}
			k.end(t)
		})
	}
}
