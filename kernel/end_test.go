package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// watcher is a world in which v1 waits, as p+1, for the end of v2, which is in another subcluster, as v3 is, which knows
// nothing.
func watcher(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.cluster(nil, "a")
	w.cluster(func(l *kernel.LaunchVat) { l.MaxRestarts = 1 }, "b")
	w.cluster(nil, "c")
	w.call("E1.know", "ko4", "know", "ko5", "ko6")
	w.deliver("v1", "let b $0\nlet c $1\nwatch $0 p+1\nsubscribe p+1\nresolve $r=null")
	w.run(nil)
	w.flush()
	return w
}

// exits ends a vat by a syscall with a value of its own.
func (w *world) exits(v kernel.VatID, words string, failure bool, info wire.CapData) {
	w.t.Helper()
	vat, _, _ := w.m.Vat(v)
	w.call(fmt.Sprintf("E1.exits%d", w.m.CommitNumber()), vat.Root, "go")
	w.begin(v)
	done := w.parse(v, words)
	done.Syscalls = append(done.Syscalls, wire.Exit{Failure: failure, Info: info})
	w.finish(v, done)
}

func TestTheEndOfAVatIsHeardOf(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(w *world)
		want string // in the notification
	}{
		"exit":       {func(w *world) { w.goes("v2", "exit") }, `p+1="bye"`},
		"failure":    {func(w *world) { w.goes("v2", "exit failure") }, `p+1!="bye"`},
		"terminated": {func(w *world) { w.do(w.m.Terminate("s2")) }, "p+1!=error [KERNEL:VAT_TERMINATED]"},
		"exit with an object of its own": {func(w *world) {
			w.exits("v2", "resolve $r=null", false, wire.CapData{Body: `#"$0"`, Slots: []wire.Ref{"o+1"}})
		}, "p+1=o-"},
		"exit with its promise in a list": {func(w *world) {
			w.exits("v2", "resolve $r=null", false, wire.CapData{Body: `#["&0"]`, Slots: []wire.Ref{"p+1"}})
		}, "p+1="},
		"exit with a promise": {func(w *world) {
			w.exits("v2", "resolve $r=null", false, wire.CapData{Body: `#"&0"`, Slots: []wire.Ref{"p+1"}})
		}, "p+1!=error [KERNEL:VAT_TERMINATED]"},
		"exit with what is too large": {func(w *world) {
			w.exits("v2", "resolve $r=null", false, wire.CapData{Body: `#"` + strings.Repeat("x", 70<<10) + `"`})
		}, "p+1!=error [KERNEL:VAT_TERMINATED]"},
		"failure with a new object": {func(w *world) {
			w.exits("v2", "resolve $r=null", true, wire.CapData{Body: `#"$0"`, Slots: []wire.Ref{"o+1"}})
		}, "p+1!=error [KERNEL:VAT_TERMINATED]"},
		"exit twice in a crank": {func(w *world) {
			w.exits("v2", "exit", false, wire.CapData{Body: `#"later"`})
		}, `p+1="later"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := watcher(t)
			test.end(w)
			w.run(nil)
			if out := w.flush(); strings.Count(out, "notify p+1") != 1 || !strings.Contains(out, "notify "+test.want) {
				t.Errorf("want one notification %s, got\n%s", test.want, out)
			}
			if left := w.leftovers(); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

// The death of a worker, lost memory and a stop are no ends, and are not told.
func TestWhatIsNoEndIsNotHeardOf(t *testing.T) {
	t.Parallel()
	w := watcher(t)
	w.goes("v2", "send o+0 later -> p+1\nresolve $r=null")
	w.died("v2", kernel.CauseCrash, "")
	w.run(nil)
	w.do(w.m.Restart("v2", true))
	w.run(nil)
	for i := range 30 { // stopped in the end
		w.call(fmt.Sprintf("E1.crash%d", i), "ko5", "go")
		if must2(w.m.Vat("v2")).Stopped != "" {
			break
		}
		if w.begin("v2") {
			w.died("v2", kernel.CauseCrash, "")
		}
	}
	if must2(w.m.Vat("v2")).Stopped == "" {
		t.Fatal("the vat is not stopped")
	}
	w.run(nil)
	w.reopen()
	w.run(nil)
	if out := w.flush(); strings.Contains(out, "notify p+1") {
		t.Errorf("told too early:\n%s", out)
	}
	w.do(w.m.Restart("v2", true))
	w.run(nil)
	w.goes("v2", "exit")
	w.run(nil)
	if out := w.flush(); !strings.Contains(out, `notify p+1="bye"`) {
		t.Errorf("not told:\n%s", out)
	}
}

// The promise is the kernel's: no vat can settle it, give it away as a result, or say that it keeps it; not even the
// vat whose end it is, nor one that waits for its own end.
func TestNobodySettlesAnEnd(t *testing.T) {
	t.Parallel()
	w := watcher(t)
	w.goes("v1", "send $b take p+1\nwatch o+0 p+2\nsubscribe p+2\nresolve $r=null")
	w.begin("v2")
	for _, words := range []string{"resolve $0=null", "resolve $0!=null", "keep $0 stored", "send o+0 x -> $0", "watch o+0 $0"} {
		if got := w.try("v2", words); !strings.Contains(got, "not this vat's") {
			t.Errorf("%s: got %s", words, got)
		}
	}
	w.finish("v2", w.parse("v2", ""))
	w.call("E1.own", "ko4", "own")
	w.begin("v1")
	for _, words := range []string{"resolve p+1=null", "resolve p+2=null", "keep p+2", "watch p+1 p+3", "watch o-99 p+3", "watch $b o+3", "watch $b p+1", "watch $b"} {
		if got := w.try("v1", words); got == "legal" {
			t.Errorf("%s is legal", words)
		}
	}
	w.finish("v1", w.parse("v1", "resolve $r=null"))
	w.run(nil)
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// A watch of a target without a vat is rejected at once. A watch of an object whose vat has ended already is settled at
// once with how that vat has ended.
func TestWatchingWhatHasNoVat(t *testing.T) {
	t.Parallel()
	w := watcher(t)
	w.do(w.m.Revoke("ko6"))
	w.goes("v1", "watch $c p+2\nsubscribe p+2\nresolve $r=null")
	w.run(nil)
	if out := w.flush(); !strings.Contains(out, "notify p+2!=error [KERNEL:REVOKED]") {
		t.Errorf("a revoked object: got\n%s", out)
	}
	w.goes("v2", "exit")
	w.goes("v1", "watch $b p+3\nsubscribe p+3\nresolve $r=null")
	w.run(nil)
	if out := w.flush(); !strings.Contains(out, `notify p+3="bye"`) {
		t.Errorf("a vat that has just ended: got\n%s", out)
	}
	w.goes("v1", "watch $b p+4\nsubscribe p+4\nresolve $r=null")
	w.run(nil)
	if out := w.flush(); !strings.Contains(out, "notify p+4!=error [KERNEL:OBJECT_DELETED]") {
		t.Errorf("a vat that is gone: got\n%s", out)
	}
	w = reader(t)
	w.goes("v1", "watch $in p+1\nsubscribe p+1\nresolve $r=null")
	w.run(nil)
	if out := w.flush(); !strings.Contains(out, "notify p+1!=error [KERNEL:BAD_TARGET]") {
		t.Errorf("a service object: got\n%s", out)
	}
}

// A watcher holds nothing for longer than the promise is held. A watcher that passes the promise on, or waits for it by
// its store, is treated like any other subscriber.
func TestAWatchGoesWithItsHolders(t *testing.T) {
	t.Parallel()
	w := watcher(t)
	rows := func() (n int) {
		for _, r := range w.mem.Snapshot() {
			if strings.HasPrefix(r.Key, "d.v2.") {
				n++
			}
		}
		return n
	}
	w.goes("v1", "send $c take p+1\nwatch $b p+2\nsubscribe p+2 stored\nsend p+1 parked -> p+3\nsubscribe p+3\nresolve $r=null")
	w.run(nil)
	if n := rows(); n != 2 {
		t.Fatalf("two watches are %d rows", n)
	}
	w.do(w.m.Terminate("s1"))
	w.run(nil)
	if n := rows(); n != 1 { // that which v3 holds
		t.Errorf("one watch is %d rows", n)
	}
	w.flush()
	w.goes("v2", "exit")
	w.run(nil)
	if out := w.flush(); !strings.Contains(out, `notify p-2="bye"`) {
		t.Errorf("v3 is not told:\n%s", out)
	}
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// A vat that thousands wait for ends in slices: each is told, with a value as large as is told at all.
func TestTheEndOfAVatThatManyWaitForIsBounded(t *testing.T) {
	t.Parallel()
	const n = 400
	w := watcher(t)
	m := watch(w)
	for i := 0; i < n; i += 100 {
		w.goes("v1", repeat(i+2, 100, "watch $b p+%d")+repeat(i+2, 100, "subscribe p+%d")+"resolve $r=null")
	}
	w.run(nil)
	*m = most{}
	w.exits("v2", "resolve $r=null", false, wire.CapData{Body: `#"` + strings.Repeat("x", 60<<10) + `"`})
	told := 0
	w.run(func(v kernel.VatID, d wire.Deliver) string {
		if n, ok := d.Delivery.(wire.Notify); ok && v == "v1" {
			told += len(n.Resolutions)
		}
		return answer(d)
	})
	if told != n+1 {
		t.Errorf("%d are told, want %d", told, n+1)
	}
	if m.rows > 3000 || m.bytes > 2<<20 {
		t.Errorf("the largest commit has %d rows, %d bytes", m.rows, m.bytes)
	}
	w.check()
}

// Whenever the kernel is killed, each subscriber of the end of a vat is told of it once, with the same value.
func TestKillAtEveryCommitOfAnEnd(t *testing.T) {
	t.Parallel()
	killAtEveryCommit(t, 20, func(w *world, made map[string]bool) {
		w.launch(nil, "a")
		w.run(nil)
		w.launch(nil, "b")
		w.run(nil)
		if w.call("E1.know", "ko4", "know", "ko5") {
			made["E1.know"] = true
		}
		w.deliver("v1", "let b $0\nwatch $0 p+1\nsubscribe p+1 stored\nwatch $0 p+2\nsend p+2 on -> p+3\nlet r $r")
		if w.call("E1.go", "ko5", "go") {
			made["E1.go"] = true
		}
		w.begin("v2")
		done := w.parse("v2", "resolve $r=null")
		done.Syscalls = append(done.Syscalls, wire.Exit{Info: wire.CapData{Body: `#["$0","&1"]`, Slots: []wire.Ref{"o+1", "p+1"}}})
		w.finish("v2", done)
		w.run(func(v kernel.VatID, d wire.Deliver) string {
			if n, ok := d.Delivery.(wire.Notify); ok && v == "v1" && n.Resolutions[0].Promise == "p+1" {
				return "resolve $r=null"
			}
			return answer(d)
		})
	}, func(w *world, _ map[string]bool) { w.run(nil) })
}

// The watches of one vat are bounded while they are held, over all its cranks, and no other vat pays for them.
func TestWatchesOfOneVatAreBounded(t *testing.T) {
	t.Parallel()
	w := watcher(t)
	const most, each = 10_000, 500
	asked := 1
	for asked < most {
		n := min(each, most-asked)
		w.goes("v1", repeat(asked+1, n, "watch $b p+%d")+"resolve $r=null")
		asked += n
	}
	w.flush()
	beyond := func(when, want string) {
		t.Helper()
		asked++
		w.goes("v1", fmt.Sprintf("watch $b p+%d\nsubscribe p+%d\nresolve $r=null", asked, asked))
		w.run(nil)
		out := w.flush()
		if got := strings.Contains(out, fmt.Sprintf("notify p+%d!=error [KERNEL:LIMIT]", asked)); got != (want == "refused") {
			t.Errorf("%s: want it %s, got\n%s", when, want, out)
		}
	}
	beyond("beyond the bound", "refused")
	beyond("once more", "refused")
	w.goes("v3", "resolve $r=null")
	w.call("E1.know3", "ko6", "know", "ko5")
	w.deliver("v3", "watch $0 p+1\nsubscribe p+1\nresolve $r=null")
	w.run(nil)
	if out := w.flush(); strings.Contains(out, "LIMIT") {
		t.Errorf("another vat is refused:\n%s", out)
	}
	w.reopen()
	beyond("in the next kernel", "refused")
	w.goes("v2", "exit")
	w.run(nil)
	w.flush()
	w.check()
	beyond("after the end of what it waited for", "taken")
}

// The values of the ends that a vat is told of are bounded in bytes, too, while they are held: the vat hears of each
// end, but not with every value.
func TestTheValuesOfEndsThatOneVatHoldsAreBounded(t *testing.T) {
	t.Parallel()
	w := watcher(t)
	const n, size = 400, 60 << 10
	for i := 0; i < n; i += 100 {
		w.goes("v1", repeat(i+2, 100, "watch $b p+%d")+repeat(i+2, 100, "subscribe p+%d")+"resolve $r=null")
	}
	w.run(nil)
	w.exits("v2", "resolve $r=null", false, wire.CapData{Body: `#"` + strings.Repeat("x", size) + `"`})
	for { // before anything is told
		c, worked, err := w.m.Work(w.now)
		if err != nil {
			t.Fatal(err)
		}
		if !worked {
			break
		}
		w.do(c, nil)
	}
	held := 0
	for _, r := range w.mem.Snapshot() {
		if strings.HasPrefix(r.Key, "b.") {
			held += len(r.Value)
		}
	}
	if held > 17<<20 || held < 10<<20 {
		t.Errorf("%d bytes are held", held)
	}
	values, told := 0, 0
	w.run(func(v kernel.VatID, d wire.Deliver) string {
		if n, ok := d.Delivery.(wire.Notify); ok && v == "v1" {
			for _, r := range n.Resolutions {
				told++
				if !r.Rejected {
					values++
				}
			}
		}
		return answer(d)
	})
	if told != n+1 || values < 200 || values == told {
		t.Errorf("%d are told, %d of them with the value", told, values)
	}
	w.check()
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}
