package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// most is the largest commit since it was last set to zero.
type most struct{ rows, bytes int }

func watch(w *world) *most {
	w.unchecked = true
	m := &most{}
	w.after = func(c kernel.Commit) {
		if err := w.mem.Limits().Check(c.Writes); err != nil {
			w.t.Errorf("commit %d: %v", c.Number, err)
		}
		size := 0
		for _, x := range c.Writes {
			size += x.Size()
		}
		m.rows, m.bytes = max(m.rows, len(c.Writes)), max(m.bytes, size)
		w.out.Reset()
	}
	return m
}

// repeat is n lines, each with its number from first.
func repeat(first, n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+"\n", first+i)
	}
	return b.String()
}

// list is n references, numbered from first.
func list(prefix string, first, n int) string {
	return strings.ReplaceAll(repeat(first, n, " "+prefix+"%d"), "\n", "")
}

// Work that one commit leaves to others goes in slices far below the bound of one commit.
func TestCommitsAreBounded(t *testing.T) {
	t.Parallel()
	const sliceRows = 3000
	t.Run("termination", func(t *testing.T) {
		w := newWorld(t)
		m := watch(w)
		w.cluster(func(l *kernel.LaunchVat) { l.MaxQueue = 20_000 }, "a")
		w.cluster(nil, "b")
		w.call("E1.know", "ko4", "know", "ko5")
		w.deliver("v1", "let b $0\nresolve $r=null")
		for i := range 5 { // promises that it decides, objects that it exports, rows of its store
			w.call(fmt.Sprintf("E1.%d", i), "ko4", "go")
			w.deliver("v1", "send $b keep"+list("p+", 1000*i+1, 1000)+"\nsend $b keep"+list("o+", 1000*i+1, 1000)+"\nresolve $r=null\n"+
				repeat(4000*i, 4000, "set key%d value"))
		}
		w.run(nil) // b listens to all of them
		for i := range 4 {
			w.call(fmt.Sprintf("E1.s%d", i), "ko4", "go")
			w.begin("v1")
			w.finish("v1", w.parse("v1", repeat(10_000+2500*i, 2500, "send o+0 queued -> p+%d")+"resolve $r=null"))
		}
		if v, _, _ := w.m.Vat("v1"); v.Queue < 10_000 {
			t.Fatalf("%d items are queued", v.Queue)
		}
		*m = most{}
		w.do(w.m.Terminate("s1"))
		if m.rows > 20 {
			t.Errorf("termination itself writes %d rows", m.rows)
		}
		w.run(nil)
		if m.rows > sliceRows {
			t.Errorf("the largest slice has %d rows", m.rows)
		}
		w.check()
		w.leftovers()
		w.check()
	})
	t.Run("restart", func(t *testing.T) {
		w := newWorld(t)
		m := watch(w)
		w.cluster(func(l *kernel.LaunchVat) { l.MaxQueue = 20_000 }, "a", "b")
		w.call("E1.know", "ko4", "know", "ko5")
		w.deliver("v1", "let b $0\nresolve $r=null")
		for i := range 4 {
			w.call(fmt.Sprintf("E1.%d", i), "ko4", "go")
			w.deliver("v1", "send $b keep"+list("p+", 1000*i+1, 1000)+"\nsend $b keep"+list("o+", 1000*i+1, 1000)+"\nresolve $r=null")
		}
		w.run(nil)
		for i := range 20 { // queued, with the promises that it decides as arguments
			w.call(fmt.Sprintf("E1.s%d", i), "ko4", "go")
		}
		*m = most{}
		w.died("v1", kernel.CauseCrash, "")
		if m.rows > 20 {
			t.Errorf("the death itself writes %d rows", m.rows)
		}
		w.run(nil)
		if m.rows > sliceRows {
			t.Errorf("the largest slice has %d rows", m.rows)
		}
		w.check()
	})
	t.Run("stop", func(t *testing.T) {
		w := newWorld(t)
		m := watch(w)
		w.cluster(func(l *kernel.LaunchVat) { l.MaxQueue, l.Never = 20_000, true }, "a")
		for i := range 4 {
			w.call(fmt.Sprintf("E1.s%d", i), "ko4", "go")
			w.begin("v1")
			w.finish("v1", w.parse("v1", repeat(2500*i+1, 2500, "send o+0 queued -> p+%d")+"resolve $r=null"))
		}
		*m = most{}
		w.begin("v1")
		w.died("v1", kernel.CauseCrash, "")
		if m.rows > 20 {
			t.Errorf("the stop itself writes %d rows", m.rows)
		}
		w.run(nil)
		if m.rows > sliceRows {
			t.Errorf("the largest slice has %d rows", m.rows)
		}
		w.check()
		if v, _, _ := w.m.Vat("v1"); v.Queue != 0 || v.Stopped == "" {
			t.Errorf("at rest: %+v", v)
		}
	})
	t.Run("promise", func(t *testing.T) { // many subscribers, many parked messages
		for _, value := range []string{"p+1!=no", "p+1=o+0"} {
			w := newWorld(t)
			m := watch(w)
			var names []string
			for i := range 1100 {
				names = append(names, fmt.Sprintf("n%04d", i))
			}
			w.cluster(nil, names...)
			w.call("E1.go", "ko4", "go")
			w.deliver("v1", "send o+0 keep p+1\nresolve $r=(p+1)")
			p := must(w.m.Ticket("E1.go")).Value.Slots[0]
			var vats []kernel.VatID
			for i := range names {
				v := kernel.VatID(fmt.Sprintf("v%d", i+1))
				vats = append(vats, v)
				w.call(fmt.Sprintf("E1.l%d", i), kernel.KRef(fmt.Sprintf("ko%d", i+4)), "listen", p)
			}
			for _, v := range vats {
				for w.begin(v) {
					w.finish(v, w.parse(v, answer(w.flights[v].Deliver)))
				}
			}
			for i := range kernel.MaxParked / 5000 {
				w.call(fmt.Sprintf("E1.s%d", i), "ko4", "go")
				w.begin("v1")
				w.finish("v1", w.parse("v1", repeat(5000*i+2, 5000, "send p+1 parked -> p+%d")+"resolve $r=null"))
			}
			if w.call("E1.more", p, "parked"); must(w.m.Ticket("E1.more")).Found {
				t.Error("more than the bound is parked")
			}
			w.call("E1.vat", "ko4", "go")
			w.deliver("v1", "send p+1 more -> p+20001\nsend p+1 dropped\nsubscribe p+20001\nresolve $r=null")
			w.begin("v1")
			if d := deliveryText(w.flights["v1"].Deliver); w.parked(p) != kernel.MaxParked || !strings.Contains(d, "p+20001!=error [KERNEL:QUEUE_FULL]") {
				t.Errorf("%d are parked, the sender of one more %s", w.parked(p), d)
			}
			w.finish("v1", wire.Done{})
			w.call("E1.settle", "ko4", "settle")
			*m = most{}
			w.deliver("v1", "resolve "+value+" $r=null")
			if m.rows > 200 {
				t.Errorf("%s: settling writes %d rows", value, m.rows)
			}
			told := 0
			after := w.after
			w.after = func(c kernel.Commit) {
				for _, e := range c.Trace {
					if e, ok := e.(kernel.Delivered); ok && strings.HasPrefix(e.What, "notify") {
						told++
					}
				}
				after(c)
			}
			w.run(nil)
			if m.rows > 2*sliceRows {
				t.Errorf("%s: the largest slice has %d rows", value, m.rows)
			}
			if told < 1099 { // v1 resolved it
				t.Errorf("%s: %d were told", value, told)
			}
			w.check()
		}
	})
}

// parked counts the messages parked on a promise.
func (w *world) parked(k kernel.KRef) (n int) {
	prefix := "m." + string(k) + "."
	for after := ""; ; n++ {
		key, _, found, err := w.mem.Next(prefix, after)
		if err != nil {
			w.t.Fatal(err)
		}
		if !found {
			return n
		}
		after = key
	}
}

// A notification brings only so much at once: a promise beyond that arrives unresolved, and is told next.
func TestClosureIsCut(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"slots": "(" + list("o+", 1, 700) + " p+%d)", "bytes": strings.Repeat("x", 100<<10)} {
		w := newWorld(t)
		watch(w)
		w.cluster(nil, "a", "b")
		w.call("E1.t", "ko4", "go", "ko5")
		const n = 20 // p+1 leads to all others; with slots each leads to the next, too
		var b strings.Builder
		fmt.Fprintf(&b, "send $0 take p+1\nsend o+0 keep%s\nresolve p+1=(%s)", list("p+", 2, n), list("p+", 2, n-1))
		for i := 2; i <= n; i++ {
			fmt.Fprintf(&b, " p+%d="+strings.ReplaceAll(value, "%d", fmt.Sprint(i+1)), i)
		}
		w.deliver("v1", b.String()+fmt.Sprintf(" p+%d=last\nresolve $r=null", n+1))
		w.deliver("v2", "subscribe $0")
		told, notifications := map[wire.Ref]bool{}, 0
		w.run(func(v kernel.VatID, d wire.Deliver) string {
			n, ok := d.Delivery.(wire.Notify)
			if !ok || v != "v2" {
				return answer(d)
			}
			notifications++
			slots, bytes := 0, 0
			for _, r := range n.Resolutions {
				if told[r.Promise] {
					t.Errorf("%s: %s is told twice", name, r.Promise)
				}
				told[r.Promise] = true
				slots += len(r.Value.Slots)
				bytes += len(r.Value.Body)
			}
			if len(n.Resolutions) > 1 && (slots > 2000 || bytes > 256<<10) {
				t.Errorf("%s: one notification has %d slots and %d bytes", name, slots, bytes)
			}
			return answer(d)
		})
		if notifications < 3 || len(told) < n {
			t.Errorf("%s: %d promises in %d notifications", name, len(told), notifications)
		}
		w.check()
	}
}

// The limit of a crank is the vat's, by name, and a crank within it fits a commit.
func TestCrankBeyondItsLimitIsAFault(t *testing.T) {
	t.Parallel()
	half := storage.NewMem().Limits()
	big := func(n int) []wire.Syscall {
		return []wire.Syscall{wire.StoreSet{Key: "k", Value: make([]byte, n)}}
	}
	refs := func(prefix string, n int) wire.CapData {
		d := wire.CapData{Body: "#[]"}
		for i := range n {
			d.Slots = append(d.Slots, wire.Ref(fmt.Sprintf("%s%d", prefix, i+1)))
		}
		return d
	}
	numbered := func(first, n int) wire.CapData {
		d := wire.CapData{Body: "#[]"}
		for i := range n {
			d.Slots = append(d.Slots, wire.Ref(fmt.Sprintf("p+%d", first+i)))
		}
		return d
	}
	many := func(n int, s func(i int) wire.Syscall) (out []wire.Syscall) {
		for i := range n {
			out = append(out, s(i))
		}
		return out
	}
	for name, syscalls := range map[string][]wire.Syscall{
		"a value":     big(half.Bytes/2 + 1),
		"many values": many(9, func(i int) wire.Syscall { return wire.StoreSet{Key: fmt.Sprint(i), Value: make([]byte, half.Bytes/18)} }),
		"many rows":   many(half.Rows/2+1, func(i int) wire.Syscall { return wire.StoreDelete{Key: fmt.Sprint(i)} }),
		"a body":      {wire.Send{Target: "o+0", Message: wire.Message{MethArgs: wire.CapData{Body: strings.Repeat("x", half.Bytes/2)}}}},
		"many exports": many(12, func(i int) wire.Syscall {
			return wire.Send{Target: "o+0", Message: wire.Message{MethArgs: refs(fmt.Sprintf("o+d%d/", i), 1000)}}
		}),
		"many promises": many(12, func(i int) wire.Syscall {
			return wire.Send{Target: "o+0", Message: wire.Message{MethArgs: numbered(1000*i+1, 1000)}}
		}),
		"many messages": many(10_000, func(i int) wire.Syscall {
			return wire.Send{Target: "o+0", Message: wire.Message{Result: wire.Ref(fmt.Sprintf("p+%d", i+1))}}
		}),
		"many to nothing": many(20_000, func(i int) wire.Syscall { return wire.Send{Target: "o+0"} }),
	} {
		w := newWorld(t)
		watch(w)
		w.cluster(func(l *kernel.LaunchVat) { l.MaxQueue = 100_000 }, "a")
		w.call("E1.t", "ko4", "go")
		w.begin("v1")
		w.finish("v1", wire.Done{Syscalls: syscalls})
		if v, _, _ := w.m.Vat("v1"); v.Restarts == 0 {
			t.Errorf("%s: no fault", name)
		}
		w.begin("v1")
		w.finish("v1", wire.Done{Syscalls: syscalls[:len(syscalls)/2]}) // half of it is fine
		if v, _, _ := w.m.Vat("v1"); !v.Live {
			t.Errorf("%s: half of it is a fault", name)
		}
		w.check()
	}
}

// Let each of many promises lead to the one before, and let a vat be told of all of them. Each notification then brings
// a few of them, and not all of those that the vat was told of before. A promise that leads to many others at once
// brings all of them.
func TestClosureOfALongChainIsCut(t *testing.T) {
	t.Parallel()
	const n = 200
	for name, value := range map[string]func(i int) string{
		"a chain":                func(i int) string { return fmt.Sprintf("(p+%d)", i-1) },
		"a chain of large steps": func(i int) string { return fmt.Sprintf("(p+%d p+%d p+%d)", i-1, max(i-2, 1), max(i-3, 1)) },
	} {
		w := newWorld(t)
		watch(w)
		w.cluster(nil, "a", "b")
		w.call("E1.t", "ko4", "go", "ko5")
		var settle strings.Builder
		settle.WriteString("resolve p+1=end")
		for i := 2; i <= n; i++ {
			fmt.Fprintf(&settle, " p+%d=%s", i, value(i))
		}
		w.deliver("v1", "send $0 take"+list("p+", 1, n)+"\n"+settle.String()+" $r=null")
		told, members := 0, 0
		w.run(func(v kernel.VatID, d wire.Deliver) string {
			switch d := d.Delivery.(type) {
			case wire.Call:
				if v == "v2" {
					return answer(wire.Deliver{Delivery: d})
				}
			case wire.Notify:
				told++
				members += len(d.Resolutions)
				return "" // the promises that were cut off have no subscriber
			}
			return answer(d)
		})
		if told < n/17 || members < n || members > 50*n {
			t.Errorf("%s: %d notifications of %d promises", name, told, members)
		}
		w.check()
	}
	w := newWorld(t)
	w.cluster(nil, "a", "b")
	w.call("E1.t", "ko4", "go", "ko5")
	w.deliver("v1", "send $0 take p+1\nresolve p+1=("+list("p+", 2, n)+") "+strings.ReplaceAll(repeat(2, n, "p+%d=1"), "\n", " ")+"$r=null")
	w.deliver("v2", "subscribe $0")
	w.begin("v2")
	if d, ok := w.flights["v2"].Deliver.Delivery.(wire.Notify); !ok || len(d.Resolutions) != n+1 {
		t.Errorf("got %s, want one notification of %d promises", deliveryText(w.flights["v2"].Deliver), n+1)
	}
}
