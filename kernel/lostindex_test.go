package kernel_test

import (
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// loses removes the rows with a prefix, as damage does, and opens the next kernel on what is left.
func (w *world) loses(prefix string, n int) {
	w.t.Helper()
	w.unchecked = true
	found := 0
	for _, row := range w.mem.Snapshot() {
		if strings.HasPrefix(row.Key, prefix) {
			found++
			if err := w.mem.Commit([]storage.Write{{Key: row.Key}}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if found != n {
		w.t.Fatalf("there are %d rows %s, want %d", found, prefix, n)
	}
	w.reopen()
	w.flush()
}

// ledger is a world in which v1 waits for two ends of v2, for the results of two messages to v2, and for a promise that v2
// has made. v2 keeps them in its memory.
func ledger(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.cluster(nil, "a")
	w.cluster(func(l *kernel.LaunchVat) { l.MaxRecords = 40 }, "b")
	w.call("E1.know", "ko4", "know", "ko5")
	w.deliver("v1", "let b $0\nwatch $0 p+1\nwatch $0 p+2\nsend $0 one -> p+3\nsend $0 two -> p+4\nsubscribe p+1\nsubscribe p+2\nsubscribe p+3\nsubscribe p+4\nresolve $r=null")
	for range 2 {
		w.deliver("v2", "")
	}
	w.call("E1.made", "ko5", "make")
	w.deliver("v2", "resolve $r=(p+1)")
	w.run(nil)
	w.flush()
	return w
}

// A promise is settled when its decider ends, or loses its memory, although the index of deciders lacks the row of the
// promise, and one of another promise, too.
func TestPromisesThatTheIndexOfDecidersLacksAreSettled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lost []string // keys
		end  func(*world)
		want []string // in what v1 is told
	}{
		"a watch, the vat is terminated": {
			[]string{"d.v2.kp4"},
			func(w *world) { w.do(w.m.Terminate("s2")) },
			[]string{"p+1!=error [KERNEL:VAT_TERMINATED]", "p+2!=error [KERNEL:VAT_TERMINATED]", "p+3!=", "p+4!="},
		},
		"two watches, the vat is terminated": {
			[]string{"d.v2.kp4", "d.v2.kp5"},
			func(w *world) { w.do(w.m.Terminate("s2")) },
			[]string{"p+1!=error [KERNEL:VAT_TERMINATED]", "p+2!=error [KERNEL:VAT_TERMINATED]", "p+3!=", "p+4!="},
		},
		"two watches, the vat exits": {
			[]string{"d.v2.kp4", "d.v2.kp5"},
			func(w *world) { w.goes("v2", "exit") },
			[]string{"p+1!=error", "p+2!=error", "p+3!=", "p+4!="},
		},
		"two results, the vat loses its memory": {
			[]string{"d.v2.kp6", "d.v2.kp7"},
			func(w *world) { w.do(w.m.Restart("v2", true)) },
			[]string{"p+3!=error [KERNEL:VAT_RESTARTED]", "p+4!=error [KERNEL:VAT_RESTARTED]"},
		},
		"one result, the vat loses its memory": {
			[]string{"d.v2.kp7"},
			func(w *world) { w.do(w.m.Restart("v2", true)) },
			[]string{"p+3!=error [KERNEL:VAT_RESTARTED]", "p+4!=error [KERNEL:VAT_RESTARTED]"},
		},
		"a watch and a result, the vat loses its memory and is terminated": {
			[]string{"d.v2.kp4", "d.v2.kp6"},
			func(w *world) {
				w.do(w.m.Restart("v2", true))
				w.run(nil)
				w.do(w.m.Terminate("s2"))
			},
			[]string{"p+1!=error [KERNEL:VAT_TERMINATED]", "p+2!=error", "p+3!=error [KERNEL:VAT_RESTARTED]", "p+4!=error"},
		},
		"a result and its entry, the vat is terminated": {
			[]string{"d.v2.kp6", "c.v2.kp6"},
			func(w *world) { w.do(w.m.Terminate("s2")) },
			[]string{"p+1!=error", "p+2!=error", "p+3!=error [KERNEL:VAT_TERMINATED]", "p+4!=error"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := ledger(t)
			for _, key := range c.lost {
				w.loses(key, 1)
			}
			c.end(w)
			w.run(nil)
			out := w.flush()
			for _, want := range c.want {
				if strings.Count(out, want) != 1 {
					t.Errorf("v1 is told %s %d times", want, strings.Count(out, want))
				}
			}
			for _, row := range w.mem.Snapshot() {
				if row.Key == "search" || strings.HasPrefix(row.Key, "suspect.") || strings.HasPrefix(row.Key, "w.") {
					t.Errorf("left: %s", row.Key)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// A vat whose run row is missing has not ended: what it decides is settled when it is removed, and not before.
func TestVatWithoutItsRunRowHasNotEnded(t *testing.T) {
	t.Parallel()
	w := ledger(t)
	w.loses("r.v2", 1)
	kernel.AskForSearch(w.mem)
	w.call("E1.late", "ko4", "late")
	w.deliver("v1", "subscribe p+3\nresolve $r=null")
	w.run(nil)
	if out := w.flush(); strings.Contains(out, "p+3!=") || strings.Contains(out, "p+4!=") {
		t.Errorf("v1 is told of an end:\n%s", out)
	}
	w.apply(must(removal(w.m, func() (kernel.Commit, error) { return w.m.Terminate("s2") })))
	for more := true; more; {
		c := must(removal(w.m, func() (c kernel.Commit, err error) {
			c, more, err = w.m.Work(w.now)
			return c, err
		}))
		w.apply(c)
	}
	w.run(nil)
	out := w.flush()
	for _, want := range []string{"p+3!=error [KERNEL:VAT_TERMINATED]", "p+4!=error [KERNEL:VAT_TERMINATED]"} {
		if strings.Count(out, want) != 1 {
			t.Errorf("v1 is told %s %d times in\n%s", want, strings.Count(out, want), out)
		}
	}
}

// A memory that is to be forgotten is forgotten, though its worker died just before.
func TestMemoryIsForgottenRightAfterItsWorkerDied(t *testing.T) {
	t.Parallel()
	for name, die := range map[string]func(*world){
		"killed":   func(w *world) { w.died("v2", kernel.CauseKilled, "") },
		"crashed":  func(w *world) { w.died("v2", kernel.CauseCrash, "") },
		"stopped":  func(w *world) { w.died("v2", kernel.CauseStopped, "") },
		"deadline": func(w *world) { w.died("v2", kernel.CauseDeadline, "") },
		"killed in a delivery": func(w *world) {
			w.call("E1.more", "ko5", "more")
			w.begin("v2")
			w.died("v2", kernel.CauseKilled, "")
		},
		"killed, and the next kernel, too": func(w *world) {
			w.died("v2", kernel.CauseKilled, "")
			w.reopen()
		},
		"killed and restarted with its memory": func(w *world) {
			w.died("v2", kernel.CauseKilled, "")
			w.do(w.m.Restart("v2", false))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := ledger(t)
			die(w)
			w.do(w.m.Restart("v2", true))
			if vat, _, _ := w.m.Vat("v2"); vat.Records != 0 || vat.Live {
				t.Errorf("it has a memory: %+v", vat)
			}
			w.run(nil)
			out := w.flush()
			for _, want := range []string{"p+3!=error [KERNEL:VAT_RESTARTED]", "p+4!=error [KERNEL:VAT_RESTARTED]"} {
				if strings.Count(out, want) != 1 {
					t.Errorf("v1 is told %s %d times in\n%s", want, strings.Count(out, want), out)
				}
			}
		})
	}
}
