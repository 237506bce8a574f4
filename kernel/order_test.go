package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// stoppedSubscriber makes a world in which v2 has stopped for good, with one promise of v1 that has settled
// since v2 subscribed to it, and one that has not.
func stoppedSubscriber(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.cluster(nil, "a")
	w.cluster(func(l *kernel.LaunchVat) { l.Never = true }, "c")
	w.call("E1.t1", "ko4", "go", "ko5")
	w.deliver("v1", "let c $0\nsend $0 take p+1 p+2\nresolve $r=null")
	w.deliver("v2", "subscribe $0\nsubscribe $1")
	w.call("E1.t2", "ko4", "settle")
	w.call("E1.t3", "ko5", "die")
	w.begin("v2")
	w.deliver("v1", "resolve p+1=null $r=null")
	w.died("v2", kernel.CauseCrash, "")
	return w
}

func TestNotificationsOfAStoppedVatKeepTheirOrder(t *testing.T) {
	w := stoppedSubscriber(t)
	w.call("E1.t4", "ko4", "settle")
	w.deliver("v1", "resolve p+2=null $r=null")
	w.run(nil)
	w.do(w.m.Restart("v2", true))
	w.flush()
	w.run(nil)
	out := w.flush()
	if i, j := strings.Index(out, "notify p-2"), strings.Index(out, "notify p-3"); i < 0 || j < i {
		t.Errorf("got %s", out)
	}
}

func TestMessageAfterRestartComesAfterNotification(t *testing.T) {
	w := stoppedSubscriber(t)
	w.do(w.m.Restart("v2", true))
	w.call("E1.t4", "ko4", "after")
	w.deliver("v1", "send $c after\nresolve $r=null")
	w.flush()
	w.run(nil)
	out := w.flush()
	if i, j := strings.Index(out, "notify p-2"), strings.Index(out, "o+0.after"); i < 0 || j < i {
		t.Errorf("got %s", out)
	}
}

// heard appends to told the promises that v2 was told of, in order: the number of the name that v2 has for each.
func heard(w *world, told *[]int) func(v kernel.VatID, d wire.Deliver) string {
	return func(v kernel.VatID, d wire.Deliver) string {
		if n, ok := d.Delivery.(wire.Notify); ok && v == "v2" {
			parts, err := wire.ParseRef(string(n.Resolutions[0].Promise))
			if err != nil {
				w.t.Error(err)
			}
			*told = append(*told, int(parts.Number))
		}
		return answer(d)
	}
}

// Promises that are rejected because their decider is gone are told in the order in which they were made, over all
// slices, and whenever the kernel dies while it does the first slices.
func TestRejectionsComeInTheOrderOfThePromises(t *testing.T) {
	t.Parallel()
	const promises = 1300 // kp5 to kp1304 and beyond: in the order of keys these are thoroughly mixed
	decides := func(t *testing.T) *world {
		w := newWorld(t)
		w.unchecked = true
		w.cluster(nil, "a")
		w.cluster(nil, "b")
		w.call("E1.know", "ko4", "know", "ko5")
		w.deliver("v1", "let b $0\nresolve $r=null")
		for i := 0; i < promises; i += 100 {
			w.goes("v1", "send $b keep"+list("p+", i+1, 100)+"\nresolve $r=null")
		}
		w.run(nil)
		return w
	}
	for name, test := range map[string]struct {
		before func(t *testing.T) *world
		end    func(w *world)
	}{
		"termination": {decides, func(w *world) { w.do(w.m.Terminate("s1")) }},
		"memory lost": {decides, func(w *world) { w.do(w.m.Restart("v1", true)) }},
		"termination that an earlier version began": {decides, func(w *world) {
			w.do(w.m.Terminate("s1"))
			w.do(work(w)) // the first slice
			kernel.RemoveVatByKey(w.mem, 700)
			w.reopen()
		}},
		"end of a service object": {func(t *testing.T) *world {
			w := newWorld(t)
			w.unchecked = true
			w.withServices(own("in"), "a", "b")
			w.call("E1.know", "ko4", "know", "ko6")
			w.deliver("v1", "resolve $r=null")
			for i := 0; i < promises; i += 100 {
				w.call(fmt.Sprint("E1.go", i), "ko5", "go", "ko6")
				w.deliver("v2", repeat(i+1, 100, "send $0 write -> p+%d")+repeat(i+1, 100, "subscribe p+%d")+"resolve $r=null")
			}
			w.run(nil)
			return w
		}, func(w *world) { w.do(w.m.EndService("ko6")) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for kill := range 14 { // 0: not at all
				w := test.before(t)
				w.flush()
				var told []int
				test.end(w)
				if kill > 0 {
					w.crashAt = w.applied + kill
				}
				func() {
					defer func() {
						if p := recover(); p != nil && p != any(crash{}) {
							panic(p)
						} else if p != nil {
							w.reopen()
							w.run(heard(w, &told))
						}
					}()
					w.run(heard(w, &told))
				}()
				if len(told) != promises {
					t.Fatalf("kill after commit %d: told of %d promises", kill, len(told))
				}
				for i := 1; i < len(told); i++ {
					if told[i] != told[i-1]+1 {
						t.Fatalf("kill after commit %d: p %d is heard of after p %d", kill, told[i], told[i-1])
					}
				}
				w.check()
			}
		})
	}
}

// work is a slice of the kernel's own work.
func work(w *world) (kernel.Commit, error) {
	c, _, err := w.m.Work(w.now)
	return c, err
}
