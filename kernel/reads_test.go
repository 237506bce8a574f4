package kernel_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
)

// counting counts the rows and bytes read from a store.
type counting struct {
	storage.Reader
	reads, bytes int
}

func (c *counting) Get(key string) ([]byte, bool, error) {
	v, found, err := c.Reader.Get(key)
	c.reads++
	c.bytes += len(v)
	return v, found, err
}

func (c *counting) Next(prefix, after string) (string, []byte, bool, error) {
	key, v, found, err := c.Reader.Next(prefix, after)
	c.reads++
	c.bytes += len(v)
	return key, v, found, err
}

// count gives the world a machine whose reads are counted.
func count(w *world) *counting {
	w.t.Helper()
	r := &counting{Reader: w.mem}
	m, _, err := kernel.Open(r, w.mem.Limits(), "E1")
	if err != nil {
		w.t.Fatal(err)
	}
	w.m = m
	return r
}

// A step reads as little as it writes, also where it passes over rows that are to stay, and does not start over: the
// reads of all slices together grow with the number of rows, not with its square.
func TestStepsBoundWhatTheyRead(t *testing.T) {
	t.Parallel()
	const n = 6000
	keeps := func(w *world) { // promises that the vat's store decides
		for i := range n / 1000 {
			w.goes("v1", "resolve $r=("+list("p+", 1000*i+1, 1000)+")\n"+repeat(1000*i+1, 1000, "keep p+%d stored"))
		}
	}
	waits := func(w *world) { // results of calls that the vat's store waits for
		for i := range n / 1000 {
			w.goes("v1", repeat(1000*i+1, 1000, "send $in read -> p+%d")+repeat(1000*i+1, 1000, "subscribe p+%d stored")+"resolve $r=null")
		}
	}
	for name, test := range map[string]struct {
		before, run func(w *world)
	}{
		"memory lost, promises stay": {keeps, func(w *world) { w.do(w.m.Restart("v1", true)) }},
		"memory lost, calls stay":    {waits, func(w *world) { w.do(w.m.Restart("v1", true)) }},
		"termination, with promises": {keeps, func(w *world) { w.do(w.m.Terminate("s1")) }},
		"termination, with calls":    {waits, func(w *world) { w.do(w.m.Terminate("s1")) }},
		"termination, with large rows": {func(w *world) {
			for i := range 40 {
				w.call(fmt.Sprintf("E1.%d", i), must2(w.m.Vat("v1")).Root, "go")
				w.begin("v1")
				done := w.parse("v1", "resolve $r=null")
				done.Syscalls = append(done.Syscalls, wire.StoreSet{Key: fmt.Sprint(i), Value: make([]byte, 300<<10)})
				w.finish("v1", done)
			}
		}, func(w *world) { w.do(w.m.Terminate("s1")) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := reader(t)
			w.unchecked = true
			test.before(w)
			r := count(w)
			most, bytes, all := 0, 0, 0
			w.after = func(kernel.Commit) {
				most, bytes, all = max(most, r.reads), max(bytes, r.bytes), all+r.reads
				r.reads, r.bytes = 0, 0
				w.out.Reset()
			}
			test.run(w)
			w.run(nil)
			if most > 2500 || bytes > 4<<20 {
				t.Errorf("one step reads %d rows, %d bytes", most, bytes)
			}
			if all > 40*n {
				t.Errorf("all steps read %d rows", all)
			}
			w.check()
		})
	}
}

// Questions of each launch and each end cost the same, however many vats there are.
func TestLaunchAndReloadsReadLittle(t *testing.T) {
	w := newWorld(t)
	w.unchecked = true
	for i := range 300 {
		w.launch(nil, fmt.Sprintf("a%d", i))
	}
	r := count(w)
	r.reads = 0
	w.launch(nil, "one")
	if r.reads > 60 {
		t.Errorf("a launch reads %d rows", r.reads)
	}
	if r.reads = 0; len(must(w.m.Reloads())) > 0 || r.reads > 5 {
		t.Errorf("what is to be launched again: %d reads", r.reads)
	}
	w.check()
}

// Holding messages back reads each item once, and does not read large ones for ever.
func TestHoldingBackReadsEachItemOnce(t *testing.T) {
	for _, size := range []int{10, 40 << 10} {
		w := newWorld(t)
		w.unchecked = true
		w.cluster(func(l *kernel.LaunchVat) { l.MaxQueue = 1000 }, "a", "b")
		w.goes("v2", "send o+0 keep p+1\nresolve $r=(p+1)")
		for i := range 250 {
			data := kernel.Data{Body: `#["go",["` + strings.Repeat("x", size) + `"]]`}
			_, c, err := w.m.Call(kernel.HostCall{Ticket: fmt.Sprintf("E1.%d", i), Hash: "h", Target: "ko4", MethArgs: data}, 1)
			w.do(c, err)
		}
		r := count(w)
		r.reads, r.bytes = 0, 0
		if s, err := w.m.Begin("v1", w.now, 1, true); err != nil || s.Crank != nil {
			t.Errorf("got %+v, %v", s, err)
		}
		if r.reads > 300 || r.bytes > 2<<20 {
			t.Errorf("messages of %d bytes: %d reads, %d bytes", size, r.reads, r.bytes)
		}
	}
}

// A state that the first release wrote goes on: rows that it did not count are searched for once, or counted from now
// on.
func TestStateOfTheFirstReleaseGoesOn(t *testing.T) {
	t.Parallel()
	for n := 5; n < 90; n += 7 {
		w := newWorld(t)
		w.crashAt = n
		func() {
			defer func() {
				if p := recover(); p != nil && p != any(crash{}) {
					panic(p)
				}
			}()
			session(w, map[string]bool{})
		}()
		w.crashAt = 0
		kernel.Downgrade(w.mem)
		w.unchecked = true
		w.after = func(kernel.Commit) {
			problems, err := kernel.Check(w.mem)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range problems {
				t.Errorf("killed after commit %d: %s", n, p)
			}
		}
		w.reopen()
		w.run(nil)
		if left := w.leftovers(); len(left) > 0 {
			t.Errorf("killed after commit %d: left %q", n, left)
		}
		w.check()
	}
}

// The subclusters that were to be launched again in a state of the first release are known, before and after the state
// is indexed.
func TestReloadsOfTheFirstRelease(t *testing.T) {
	w := newWorld(t)
	s := w.cluster(nil, "a")
	w.cluster(nil, "b")
	w.do(w.m.Reload(s))
	kernel.Downgrade(w.mem)
	w.unchecked = true
	w.open()
	for range 2 {
		if list := must(w.m.Reloads()); len(list) != 1 || list[0].Sub != s {
			t.Errorf("got %+v", list)
		}
		w.run(nil)
	}
	w.check()
	w.do(w.m.DropReload(s, "enough"))
	if list := must(w.m.Reloads()); len(list) != 0 {
		t.Errorf("got %+v", list)
	}
	w.check()
}

// Questions about all that there is are answered in pages of bounded reads, which together name each thing once.
func TestQuestionsAreAnsweredInPages(t *testing.T) {
	w := newWorld(t)
	w.unchecked = true
	const subs, each = 200, 3
	for range subs {
		l := kernel.Launch{Bootstrap: "a", Services: own("x", "y")}
		for _, n := range []string{"a", "b", "c"}[:each] {
			l.Vats = append(l.Vats, launchVat(n))
		}
		_, c, err := w.m.Launch(l)
		w.do(c, err)
	}
	r := count(w)
	pages := func(what string, want int, page func() (n int, more bool, err error)) {
		t.Helper()
		all, n := 0, 0
		for more := true; more; n++ {
			r.reads = 0
			got, next, err := page()
			if err != nil {
				t.Fatal(err)
			}
			all, more = all+got, next
			if r.reads > 500 {
				t.Errorf("%s: page %d reads %d rows", what, n, r.reads)
			}
		}
		if all != want {
			t.Errorf("%s: %d on %d pages, want %d", what, all, n, want)
		}
	}
	seen := map[string]bool{}
	var vat, holder kernel.VatID
	var sub kernel.SubID
	var service kernel.KRef
	pages("vats", subs*each, func() (int, bool, error) {
		list, next, err := w.m.VatsAfter(vat)
		for _, v := range list {
			seen[string(v.ID)] = true
		}
		vat = next
		return len(list), next != "", err
	})
	if len(seen) != subs*each {
		t.Errorf("%d vats were listed, want %d", len(seen), subs*each)
	}
	pages("subclusters", subs, func() (int, bool, error) {
		list, next, err := w.m.SubclustersAfter(sub)
		sub = next
		return len(list), next != "", err
	})
	pages("service objects", 2*subs, func() (int, bool, error) {
		list, next, err := w.m.ServicesAfter(service)
		service = next
		return len(list), next != "", err
	})
	root := must2(w.m.Vat("v7")).Root
	pages("holders", 1, func() (int, bool, error) {
		list, next, err := w.m.HoldersAfter(root, holder)
		holder = next
		return len(list), next != "", err
	})
}

// The cost of a subcluster of many vats grows with their number, and not with its square: its row, which lists them
// all, is not read for each of them. That is so when they start and when they end, for every cause of the end and
// whenever the kernel is killed meanwhile.
func TestSubclusterOfManyVatsIsReadOnce(t *testing.T) {
	t.Parallel()
	const n = 800
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("n%04d", i)
	}
	launched := func(w *world) {
		w.unchecked = true
		w.cluster(nil, names...)
	}
	// A vat costs half a KB. Were the row read for each, it would be 13 KB.
	const most = n << 10
	for name, test := range map[string]struct{ before, do func(w *world) }{
		"launch":      {func(w *world) { w.unchecked = true }, launched},
		"termination": {launched, func(w *world) { w.do(w.m.Terminate("s1")) }},
		"termination, killed": {launched, func(w *world) {
			w.do(w.m.Terminate("s1"))
			for range n / 2 {
				w.do(work(w))
			}
			w.do(w.m.Terminate("s1")) // once more
			w.check()
			w.open()
		}},
		"termination of one whose first vats have ended": {func(w *world) {
			launched(w)
			for _, v := range []kernel.VatID{"v1", "v7"} {
				w.do(w.m.TerminateVat(v))
			}
			w.do(work(w))
		}, func(w *world) { w.do(w.m.Terminate("s1")) }},
		"a launch that fails": {func(w *world) {
			w.unchecked = true
			w.launch(nil, names...)
		}, func(w *world) { w.do(w.m.FailLaunch("s1", "its time is over")) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			test.before(w)
			r := count(w)
			test.do(w)
			w.run(nil)
			if r.bytes > most {
				t.Errorf("%d bytes were read", r.bytes)
			}
			w.check()
			if left := w.leftovers(); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

// The list of the subclusters that are to be launched again is read without their configurations. A row of an earlier version,
// which was empty, tells the same, with them.
func TestReloadsAreListedWithoutConfigurations(t *testing.T) {
	w := newWorld(t)
	config := bytes.Repeat([]byte("x"), 100_000)
	var subs []kernel.SubID
	for i := range 30 {
		s := w.cluster(nil, fmt.Sprintf("a%d", i))
		w.do(w.m.Replace(s, kernel.Launch{Config: config, Source: "file", Vats: []kernel.LaunchVat{{Name: "a"}}}))
		subs = append(subs, s)
	}
	w.run(nil)
	r := count(w)
	list := must(w.m.Reloads())
	if len(list) != len(subs) || r.reads > 3*len(subs) || r.bytes > 10_000 {
		t.Errorf("%d reloads, by %d rows, %d bytes", len(list), r.reads, r.bytes)
	}
	for _, l := range list {
		if l.Source != "file" || l.Config != nil || !l.Gone || l.Corrupt != nil {
			t.Errorf("got %+v", l)
		}
		if one, found, err := w.m.ReloadOf(l.Sub); !found || err != nil || !bytes.Equal(one.Config, config) || !one.Gone {
			t.Errorf("got %+v, %t, %v", one, found, err)
		}
	}
	w.unchecked = true
	if err := w.mem.Commit([]storage.Write{{Key: "reload." + string(subs[0]), Value: []byte{}}, {Key: "reload." + string(subs[1]), Value: []byte{0xc1}}}); err != nil {
		t.Fatal(err)
	}
	for _, l := range must(w.m.Reloads()) {
		switch l.Sub {
		case subs[0]:
			if !bytes.Equal(l.Config, config) || !l.Gone || l.Corrupt != nil {
				t.Errorf("of an earlier version: %+v", l)
			}
		case subs[1]: // its configuration says the same
			if !bytes.Equal(l.Config, config) || !l.Gone || l.Corrupt != nil {
				t.Errorf("of a damaged row: %+v", l)
			}
		}
	}
	if _, found, err := w.m.ReloadOf("s999"); found || err != nil {
		t.Errorf("of none: %t, %v", found, err)
	}
	if err := w.mem.Commit([]storage.Write{{Key: "h." + string(subs[2])}}); err != nil {
		t.Fatal(err)
	}
	if l, found, err := w.m.ReloadOf(subs[2]); !found || err != nil || l.Corrupt == nil {
		t.Errorf("without its configuration: %+v, %t, %v", l, found, err)
	}
	w.do(w.m.DropReload(subs[2], "it cannot be launched"))
	if n := len(must(w.m.Reloads())); n != len(subs)-1 {
		t.Errorf("%d are left", n)
	}
	w.do(w.m.DropReload(subs[1], "it cannot be read"))
	w.check()
}
