package kernel_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// Legal frames, and inputs from outside, that could make something large, slow or dead. See TestStepsBoundWhatTheyRead,
// too.

// text is a value of n bytes that refers to nothing.
func text(n int) wire.CapData { return wire.CapData{Body: `#"` + strings.Repeat("x", n) + `"`} }

// settled has a vat make n promises with values of so many bytes, and know them. It returns their names.
func settled(w *world, v kernel.VatID, n, bytes int) string {
	w.t.Helper()
	names := ""
	for i := range n {
		w.call(fmt.Sprintf("E1.settled%d.%d", w.m.CommitNumber(), i), must2(w.m.Vat(v)).Root, "go")
		w.begin(v)
		p := wire.Ref(fmt.Sprintf("p+%d", w.m.CommitNumber()*10))
		done := w.parse(v, fmt.Sprintf("send o+0 hold %s\nresolve $r=null", p))
		done.Syscalls = append(done.Syscalls, wire.Resolve{Resolutions: []wire.Resolution{{Promise: p, Value: text(bytes)}}})
		w.finish(v, done)
		w.deliver(v, "let x $0")
		names += " " + w.kept[string(v)+" x"]
	}
	return names
}

func must2[T any](v T, found bool, err error) T {
	if err != nil || !found {
		panic(fmt.Sprint(found, err))
	}
	return v
}

// However often a vat subscribes to a settled promise, it is told once: one item, and one name in the promise's row.
func TestSubscribingAgainQueuesNothing(t *testing.T) {
	for _, how := range []string{"settled", "a unit of input"} {
		w := reader(t)
		w.unchecked = true
		p := ""
		if how == "settled" {
			p = strings.TrimSpace(settled(w, "v1", 1, 10))
		} else {
			w.goes("v1", "send $in read -> p+1\nresolve $r=null")
			w.unit("ko6", 0, "line")
			p = "p+1"
		}
		for range 5 {
			w.goes("v1", strings.Repeat("subscribe "+p+"\n", 2000)+"resolve $r=null")
		}
		if n := must2(w.m.Vat("v1")).Queue; n > 6 {
			t.Errorf("%s: %d items are queued", how, n)
		}
		for _, r := range w.mem.Snapshot() {
			if strings.HasPrefix(r.Key, "p.") && len(r.Value) > 200 {
				t.Errorf("%s: row %s has %d bytes", how, r.Key, len(r.Value))
			}
		}
		w.check()
		w.run(nil)
		w.check()
	}
}

// A vat that was told, and gets the promise again, is told again.
func TestVatIsToldAgainOfAPromiseThatItGetsAgain(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a", "b")
	w.call("E1.p", "ko4", "go")
	w.deliver("v1", "send o+0 keep p+1\nresolve $r=(p+1)")
	w.deliver("v1", "resolve p+1=o+0")
	p := must(w.m.Ticket("E1.p")).Value.Slots[0]
	told := 0
	for i := range 3 {
		w.call(fmt.Sprintf("E1.%d", i), "ko5", "listen", p)
		w.run(func(v kernel.VatID, d wire.Deliver) string {
			if _, ok := d.Delivery.(wire.Notify); ok && v == "v2" {
				told++
			}
			return answer(d)
		})
	}
	if told != 3 {
		t.Errorf("told %d times, want 3", told)
	}
}

// A message from outside is bounded as that of a vat is, before its references are read, and leaves no trace.
func TestHostCallIsBounded(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	r := &counting{Reader: w.mem}
	m, _, err := kernel.Open(r, w.mem.Limits(), "E1")
	if err != nil {
		t.Fatal(err)
	}
	before := m.Hash()
	for what, data := range map[string]kernel.Data{
		"bytes":      {Body: `#["go",["` + strings.Repeat("x", 5<<20) + `"]]`},
		"references": {Body: `#["go",[]]`, Slots: make([]kernel.KRef, 500_000)},
	} {
		r.reads = 0
		_, _, err := m.Call(kernel.HostCall{Ticket: "E1." + what, Hash: "h", Target: "ko4", MethArgs: data}, 1)
		var refusal *kernel.Refusal
		if !errors.As(err, &refusal) || refusal.Code != errcode.Limit {
			t.Errorf("%s: got %v, want LIMIT", what, err)
		}
		if r.reads > 20 || m.Hash() != before {
			t.Errorf("%s: refused after %d reads, hash %x, was %x", what, r.reads, m.Hash(), before)
		}
	}
	data := kernel.Data{Body: `#["go",["` + strings.Repeat("x", 3<<20) + `"]]`}
	if _, c, err := m.Call(kernel.HostCall{Ticket: "E1.fits", Hash: "h", Target: "ko4", MethArgs: data}, 1); err != nil || c.Number == 0 {
		t.Errorf("a call of 3 MiB: %v", err)
	}
}

// A launch is bounded by the size of its rows.
func TestLaunchIsBounded(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	before := w.m.Hash()
	config := make([]byte, 2500<<10)
	var many []kernel.LaunchService
	for i := range 30_000 {
		many = append(many, kernel.LaunchService{Name: fmt.Sprintf("s%d", i), New: kernel.NewService{Kind: "io"}})
	}
	for what, l := range map[string]kernel.Launch{
		"configuration": {Bootstrap: "b", Config: config, Vats: []kernel.LaunchVat{{Name: "b", Config: config}}},
		"services":      {Bootstrap: "b", Vats: []kernel.LaunchVat{{Name: "b"}}, Services: many},
	} {
		_, _, err := w.m.Launch(l)
		var refusal *kernel.Refusal
		if !errors.As(err, &refusal) || refusal.Code != errcode.Limit || w.m.Hash() != before {
			t.Errorf("%s: got %v, want LIMIT and nothing changed", what, err)
		}
	}
	w.cluster(nil, "c")
}

// The reason why a vat was stopped is long, and its own. It is repeated to some of the callers that wait for the vat.
func TestReasonOfAStoppedVatIsNotMultiplied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := watch(w)
	w.cluster(func(l *kernel.LaunchVat) { l.StopOnFault, l.MaxQueue = true, 20_000 }, "a")
	w.cluster(func(l *kernel.LaunchVat) { l.MaxQueue = 20_000 }, "b")
	w.call("E1.know", "ko5", "know", "ko4")
	w.deliver("v2", "let a $0\nresolve $r=null")
	const n = 9000
	subscribe := ""
	for i := range n / 1000 { // promises that a decides, known to b
		w.call(fmt.Sprintf("E1.%d", i), "ko4", "go", "ko5")
		w.deliver("v1", "send $0 keep"+list("p+", 1000*i+1, 1000)+"\nresolve $r=null")
		w.begin("v2")
		for _, p := range w.flights["v2"].Deliver.Delivery.(wire.Call).Message.MethArgs.Slots {
			subscribe += fmt.Sprintf("subscribe %s\n", p)
		}
		w.finish("v2", wire.Done{})
	}
	w.call("E1.end", "ko4", "end")
	w.call("E1.subscribe", "ko5", "go")
	w.call("E1.send", "ko5", "go")
	w.begin("v1")
	w.died("v1", kernel.CauseFault, strings.Repeat("why ", 1000))
	*m = most{}
	w.deliver("v2", subscribe+"resolve $r=null")
	if m.rows == 0 || m.bytes > 3<<20 {
		t.Errorf("a crank that subscribes writes %d rows, %d bytes", m.rows, m.bytes)
	}
	*m = most{}
	w.deliver("v2", repeat(1, 5000, "send $a hello -> p+%d")+"resolve $r=null")
	if m.rows == 0 || m.bytes > 4<<20 {
		t.Errorf("a crank that sends writes %d rows, %d bytes", m.rows, m.bytes)
	}
	told := 0
	w.run(func(v kernel.VatID, d wire.Deliver) string {
		if n, ok := d.Delivery.(wire.Notify); ok && strings.Contains(n.Resolutions[0].Value.Body, "VAT_TERMINATED") {
			told++
		}
		return answer(d)
	})
	if told != n {
		t.Errorf("%d of %d subscriptions were answered", told, n)
	}
	w.check()
}

// A crank whose consequences exceed one commit is its vat's own fault, and ends nothing else.
func TestCrankWithTooLargeConsequencesIsAFault(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	w.call("E1.p", "ko4", "go")
	w.begin("v1")
	done := w.parse("v1", "send o+0 hold p+1\nresolve $r=null")
	done.Syscalls = append(done.Syscalls, wire.Resolve{Resolutions: []wire.Resolution{{Promise: "p+1", Rejected: true, Value: text(2000)}}})
	w.finish("v1", done)
	w.deliver("v1", "let p $0")
	w.call("E1.many", "ko4", "go")
	m, _, err := kernel.Open(w.mem, storage.Limits{Rows: 90_000, Bytes: 60_000}, "E1")
	if err != nil {
		t.Fatal(err)
	}
	w.m = m
	w.begin("v1")
	cranks, hash := m.Cranks(), m.Hash()
	_, err = m.Finish(w.flights["v1"], w.parse("v1", repeat(10, 100, "send $p hello -> p+%d")), nil, 1)
	var fault *kernel.Fault
	if !errors.As(err, &fault) || fault.Cause != kernel.CauseLimit || m.Cranks() != cranks || m.Hash() != hash {
		t.Errorf("got %v, %d cranks (were %d)", err, m.Cranks(), cranks)
	}
}

// Queues are bounded in bytes as well: those of a vat, of a service object, of a promise.
func TestQueuesAreBoundedInBytes(t *testing.T) {
	for _, to := range []wire.Ref{"o-1", "$in", "p+1"} {
		w := reader(t)
		w.m.BoundQueues(1 << 20)
		w.goes("v1", "send $b know\nresolve $r=null")
		w.deliver("v2", "")
		if to == "$in" { // a begun call does not wait
			w.goes("v1", repeat(10, 1000, "send $in call -> p+%d")+"resolve $r=null")
		}
		if to == "p+1" {
			w.goes("v1", "send $b keep p+1\nresolve $r=null")
			w.deliver("v2", "")
		}
		target := strings.NewReplacer("$in", w.kept["v1 in"], "o-1", w.kept["v1 b"]).Replace(string(to))
		full := 0
		for i := range 8 {
			w.call(fmt.Sprintf("E1.big%d", i), must2(w.m.Vat("v1")).Root, "go")
			for w.begin("v1") {
				if c, ok := w.flights["v1"].Deliver.Delivery.(wire.Call); ok && strings.Contains(c.Message.MethArgs.Body, "go") {
					break
				}
				w.finish("v1", wire.Done{})
			}
			p := wire.Ref(fmt.Sprintf("p+%d", 2000+i))
			done := big(wire.Ref(target), 300<<10, p)
			done.Syscalls = append(done.Syscalls, wire.Subscribe{Promise: p})
			w.finish("v1", done)
		}
		for w.begin("v1") {
			w.finish("v1", wire.Done{})
		}
		full = strings.Count(w.flush(), "!=error [KERNEL:QUEUE_FULL]")
		if full != 4 {
			t.Errorf("to %s: %d of 8 messages of 300 KiB were refused, want 4", to, full)
		}
		w.leftovers()
	}
}

// Values that are too large to go along, or that lead to no object, or hold nothing, are not read to find that.
func TestLargeValuesAreNotReadForNothing(t *testing.T) {
	const n, size = 60, 200 << 10 // as little as shows it
	for _, what := range []string{"notification", "sends to each", "termination"} {
		w := newWorld(t)
		w.unchecked = true
		w.cluster(nil, "a")
		names := settled(w, "v1", n, size)
		r := &counting{Reader: w.mem}
		m, _, err := kernel.Open(r, w.mem.Limits(), "E1")
		if err != nil {
			t.Fatal(err)
		}
		w.m = m
		most := 0
		w.after = func(kernel.Commit) { most, r.bytes = max(most, r.bytes), 0 }
		switch what {
		case "notification":
			w.goes("v1", "send o+0 hold p+1\nresolve p+1=("+names+")\nresolve $r=null")
			w.deliver("v1", "subscribe $0")
			w.deliver("v1", "")
		case "sends to each":
			words := ""
			for i, p := range strings.Fields(names) {
				words += fmt.Sprintf("send %s hello -> p+%d\n", p, i+1)
			}
			w.goes("v1", words)
		case "termination":
			w.leftovers()
		}
		if most > 2<<20 {
			t.Errorf("%s: one step reads %d bytes of %d", what, most, n*size)
		}
		w.run(nil)
		w.check()
	}
}

// The rows read for the state that travels with a delivery are bounded.
func TestPrefetchReadsLittle(t *testing.T) {
	w := newWorld(t)
	w.unchecked = true
	w.cluster(nil, "a")
	const n = 40
	refs := ""
	for i := range n {
		w.call(fmt.Sprintf("E1.%d", i), "ko4", "go")
		w.begin("v1")
		o := fmt.Sprintf("o+d1/%d", i+1)
		done := w.parse("v1", "resolve $r=null")
		done.Syscalls = append(done.Syscalls, wire.StoreSet{Key: wire.StateKey(wire.Ref(o)), Value: make([]byte, 300<<10)})
		w.finish("v1", done)
		refs += " " + o
	}
	w.goes("v1", "send o+0 all"+refs+"\nresolve $r=null")
	r := &counting{Reader: w.mem}
	m, _, err := kernel.Open(r, w.mem.Limits(), "E1")
	if err != nil {
		t.Fatal(err)
	}
	w.m = m
	r.bytes = 0
	if w.begin("v1"); r.bytes > 1<<20 {
		t.Errorf("a delivery that names %d objects reads %d bytes", n, r.bytes)
	}
}
