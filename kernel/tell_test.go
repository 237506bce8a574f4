package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// audience is a world of n vats, in which v2 to the last wait for the promise p+1 of v1. Each has kept its name for the
// promise as $p. The kernel's name for it is returned.
func audience(t *testing.T, n int) (*world, kernel.KRef) {
	t.Helper()
	w := newWorld(t)
	w.unchecked = true
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("n%04d", i)
	}
	w.cluster(nil, names...)
	w.goes("v1", "send o+0 keep p+1\nresolve $r=(p+1)")
	w.deliver("v1", "")
	p := kernel.KRef("")
	for _, row := range w.mem.Snapshot() {
		if k, ok := strings.CutPrefix(row.Key, "d.v1."); ok {
			p = kernel.KRef(k)
		}
	}
	for i := 2; i <= n; i++ {
		v := kernel.VatID(fmt.Sprintf("v%d", i))
		w.call(fmt.Sprintf("E1.listen%d", i), kernel.KRef(fmt.Sprintf("ko%d", i+3)), "listen", p)
		w.deliver(v, "let p $0\nsubscribe $0\nresolve $r=null")
	}
	w.run(nil)
	return w, p
}

// again is the same world over a copy of its state.
func (w *world) again(t *testing.T) *world {
	t.Helper()
	c := &world{t: t, mem: storage.NewMem(), now: w.now, kept: w.kept, unchecked: true}
	var writes []storage.Write
	for _, row := range w.mem.Snapshot() {
		writes = append(writes, storage.Write{Key: row.Key, Value: row.Value})
	}
	if err := c.mem.Commit(writes); err != nil {
		t.Fatal(err)
	}
	c.open()
	return c
}

// A promise with thousands of subscribers tells them in slices. Between these a subscriber ends, one subscribes once
// more, and one sends to the promise; the kernel is killed after each of these acts. Each subscriber that lives is told
// once, and is told later of the rejections that follow from the promise.
func TestThousandsOfSubscribersAreToldInSlices(t *testing.T) {
	t.Parallel()
	const n = 1300 // two slices
	before, p := audience(t, n)
	last, repeats, ends := kernel.VatID(fmt.Sprintf("v%d", n)), kernel.VatID(fmt.Sprintf("v%d", n-1)), kernel.VatID(fmt.Sprintf("v%d", n-2))
	for name, test := range map[string]struct {
		value string
		kills []int // after which slices; 0: not at all
	}{
		"rejected":                 {"p+1!=no", []int{0, 1, 2}},
		"fulfilled with no object": {"p+1=5", []int{1}},
		"fulfilled with an object": {"p+1=o+0", []int{1}},
	} {
		for _, kill := range test.kills {
			t.Run(fmt.Sprintf("%s, kill %d", name, kill), func(t *testing.T) {
				w := before.again(t)
				told := map[kernel.VatID]int{}
				var order []string // the promises that the last subscriber heard of
				hear := func(v kernel.VatID, d wire.Deliver) string {
					if n, ok := d.Delivery.(wire.Notify); ok {
						for _, r := range n.Resolutions {
							if string(r.Promise) == w.kept[string(v)+" p"] {
								told[v]++
							}
							if v == last {
								order = append(order, string(r.Promise))
							}
						}
					}
					return answer(d)
				}
				w.goes("v1", "resolve "+test.value+" $r=null")
				most, slices := 0, 0
				w.after = func(c kernel.Commit) {
					most = max(most, len(c.Writes))
					w.out.Reset()
				}
				slice := func() {
					w.do(work(w))
					if slices++; slices == kill {
						w.reopen()
					}
				}
				slice()
				w.do(w.m.TerminateVat(ends))
				w.goes(last, "send $p late -> p+1\nsubscribe p+1\nresolve $r=null")
				if v := must2(w.m.Vat(last)); name != "fulfilled with an object" && v.Queue > 0 {
					t.Error("the last subscriber hears of the rejection first")
				}
				slice()
				w.goes(repeats, "subscribe $p\nresolve $r=null")
				for slices < 5 {
					slice()
				}
				w.run(hear)
				if most > 2200 {
					t.Errorf("the largest commit has %d rows", most)
				}
				for i := 2; i <= n; i++ {
					v, want := kernel.VatID(fmt.Sprintf("v%d", i)), 1
					if v == ends {
						want = 0
					}
					if told[v] != want {
						t.Errorf("%s is told %d times, want %d", v, told[v], want)
					}
				}
				want := w.kept[string(last)+" p"] + " p+1"
				if got := strings.Join(order, " "); got != want {
					t.Errorf("the last subscriber heard of %s, want %s", got, want)
				}
				w.check()
				for { // the answers of host calls, some of which hold the promise
					if c, _, err := w.m.Expire(1 << 40); !w.do(c, err) {
						break
					}
				}
				if _, found, _ := w.mem.Get("p." + string(p)); found {
					t.Error("the promise is kept though nobody knows it any more")
				}
			})
		}
	}
	t.Run("order", func(t *testing.T) { toldInTheOrderOfSettlement(t, before.again(t), p, last) })
}

// toldInTheOrderOfSettlement shows that promises which are settled in one crank are told of in that order, however many
// wait for the first of them, p.
func toldInTheOrderOfSettlement(t *testing.T, w *world, p kernel.KRef, last kernel.VatID) {
	w.goes("v1", "send o+0 keep p+2\nresolve $r=(p+2)")
	w.deliver("v1", "let second $0")
	second := kernel.KRef("")
	for _, row := range w.mem.Snapshot() {
		if k, ok := strings.CutPrefix(row.Key, "d.v1."); ok && kernel.KRef(k) != p {
			second = kernel.KRef(k)
		}
	}
	w.call("E1.second", must2(w.m.Vat(last)).Root, "listen", second)
	w.deliver(last, "let second $0\nsubscribe $0\nresolve $r=null")
	w.goes("v1", "resolve p+1=null p+2=null $r=null")
	var order []string
	w.run(func(v kernel.VatID, d wire.Deliver) string {
		if n, ok := d.Delivery.(wire.Notify); ok && v == last {
			order = append(order, string(n.Resolutions[0].Promise))
		}
		return answer(d)
	})
	want := w.kept[string(last)+" p"] + " " + w.kept[string(last)+" second"]
	if got := strings.Join(order, " "); got != want {
		t.Errorf("heard of %s, want %s", got, want)
	}
	w.check()
}
