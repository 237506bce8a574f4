package kernel_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/wire/wiretest"
)

// world is a machine over a store in memory, with the least that a shell must do around it: it makes each commit
// durable, checks the invariants, remembers cranks in flight, and writes a log.
type world struct {
	t       testing.TB
	mem     *storage.Mem
	m       *kernel.Machine
	flights map[kernel.VatID]*kernel.Crank
	kept    map[string]string // the references that a vat's script keeps by names of its own, see expand
	woken   []kernel.VatID
	now     int64
	out     strings.Builder
	applied int // commits
	// crashAt, if not 0, is the number of commits after which the kernel is killed: see crash.
	crashAt int
	// unchecked leaves the invariants to the test, for states too large to check after each commit.
	unchecked bool
	// endGlobals has leftovers end the service objects of the kernel too.
	endGlobals bool
	// after, if set, is called after each commit.
	after func(kernel.Commit)
}

// crash is the value with which apply panics at crashAt.
type crash struct{}

func newWorld(t testing.TB) *world {
	w := &world{t: t, mem: storage.NewMem(), now: 1000, kept: map[string]string{}}
	w.open()
	w.flush()
	return w
}

// open opens a kernel over the stored state.
func (w *world) open() {
	w.t.Helper()
	w.flights = map[kernel.VatID]*kernel.Crank{}
	m, first, err := kernel.Open(w.mem, w.mem.Limits(), "E1")
	if err != nil {
		w.t.Fatal(err)
	}
	w.m = m
	w.apply(first)
	w.woken = nil
	for _, v := range must(m.Vats()) {
		if v.HasWork {
			w.woken = append(w.woken, v.ID)
		}
	}
}

// reopen opens the next kernel after a kill: nothing of the old one is alive.
func (w *world) reopen() {
	w.t.Helper()
	w.open()
	for _, v := range must(w.m.Vats()) {
		if v.Live && !v.Terminated {
			w.do(w.m.Died(kernel.Death{Vat: v.ID, Incarnation: v.Incarnation, Cause: kernel.CauseKernel}, w.now))
		}
	}
	for _, s := range must(w.m.Subclusters()) {
		if s.State == kernel.SubLaunching {
			w.do(w.m.FailLaunch(s.ID, "the kernel ended"))
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (w *world) printf(format string, args ...any) { fmt.Fprintf(&w.out, format+"\n", args...) }

// flush returns the log written since the last flush.
func (w *world) flush() string {
	s := w.out.String()
	w.out.Reset()
	return s
}

// do applies a commit, or writes down why there is none. It says whether there was one.
func (w *world) do(c kernel.Commit, err error) bool {
	w.t.Helper()
	var refusal *kernel.Refusal
	if errors.As(err, &refusal) {
		w.printf("refused %v", err)
		return false
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if c.Number == 0 {
		w.printf("nothing")
		return false
	}
	w.apply(c)
	return true
}

func (w *world) apply(c kernel.Commit) {
	w.t.Helper()
	if c.Number == 0 {
		return
	}
	if err := w.mem.Commit(c.Writes); err != nil {
		w.t.Fatalf("commit %d: %v", c.Number, err)
	}
	w.printf("commit %d", c.Number)
	for _, e := range c.Trace {
		w.printf("  %s", e)
	}
	var woken []string
	for _, e := range c.Effects {
		switch e := e.(type) {
		case kernel.Wake:
			if !slices.Contains(woken, string(e.Vat)) {
				woken = append(woken, string(e.Vat))
			}
			if !slices.Contains(w.woken, e.Vat) {
				w.woken = append(w.woken, e.Vat)
			}
		case kernel.StopWorker:
			delete(w.flights, e.Vat)
			w.printf("  > stop worker of %s", e.Vat)
		case kernel.Answer:
			w.printf("  > answer %s: %s", e.Ticket, ticketText(must(w.m.Ticket(e.Ticket))))
		case kernel.LaunchSettled:
			if e.Failure != "" {
				w.printf("  > launch of %s failed: %s", e.Sub, e.Failure)
			} else {
				w.printf("  > launch of %s succeeded", e.Sub)
			}
		case kernel.Gone:
			w.printf("  > %s is gone", e.Sub)
		default:
			w.serviceEffect(e)
		}
	}
	if len(woken) > 0 {
		w.printf("  > wake %s", strings.Join(woken, " "))
	}
	if !w.unchecked {
		w.check()
	}
	if w.after != nil {
		w.after(c)
	}
	if w.applied++; w.applied == w.crashAt {
		panic(crash{})
	}
}

func (w *world) check() {
	w.t.Helper()
	problems, err := kernel.Check(w.mem)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range append(problems, kernel.CheckMore(w.mem)...) {
		w.printf("VIOLATION %s", p)
		w.t.Errorf("commit %d: %s", w.m.CommitNumber(), p)
	}
}

func ticketText(t kernel.TicketState) string {
	switch {
	case !t.Found:
		return "unknown"
	case t.Pending:
		return "pending"
	case t.Acknowledged:
		return "acknowledged"
	case t.Rejected:
		return "rejected " + valueText(t.Value)
	}
	return "fulfilled " + valueText(t.Value)
}

// begin begins the next step of a vat and starts its worker if it needs one: the delivery is logged. It returns whether
// a crank is in flight then.
func (w *world) begin(v kernel.VatID) bool {
	w.t.Helper()
	for {
		s, err := w.m.Begin(v, w.now, 7, false)
		switch {
		case err != nil:
			w.t.Fatal(err)
		case s.Commit != nil:
			w.apply(*s.Commit)
		case s.NeedsWorker:
			start, c, err := w.m.StartWorker(v)
			if err != nil {
				w.t.Fatal(err)
			}
			w.apply(c)
			start = must(wiretest.Down(start))
			w.printf("  worker %d of %s, names above o+%d p+%d", start.Incarnation, v, start.HighObject, start.HighPromise)
		case s.Crank != nil:
			w.flights[v] = s.Crank
			w.printf("%s %s", v, deliveryText(must(wiretest.Down(s.Crank.Deliver))))
			return true
		default:
			return false
		}
	}
}

// finish passes the answer of a vat to the kernel. A fault is followed by the death that the shell reports.
func (w *world) finish(v kernel.VatID, done wire.Done) {
	w.t.Helper()
	c := w.flights[v]
	if c == nil {
		w.printf("%s has no crank in flight", v)
		return
	}
	done, frame := up(w.t, done)
	commit, err := w.m.Finish(c, done, frame, w.now)
	var fault *kernel.Fault
	if errors.As(err, &fault) {
		w.printf("fault of %v", err)
		w.died(v, fault.Cause, fault.Reason)
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	delete(w.flights, v)
	w.apply(commit)
}

// up takes an answer over the wire, and returns it as the kernel gets it: the answer, and its frame.
func up(t testing.TB, done wire.Done) (wire.Done, []byte) {
	t.Helper()
	done, frame, err := wiretest.Up(done, wire.Limits{FrameBytes: 64 << 20, Syscalls: 100_000}) // as a configuration may allow
	if err != nil {
		t.Fatal(err)
	}
	return done, frame
}

// past reads a store as a worker does that is given its past.
type past struct {
	t testing.TB
	r *kernel.Replay
}

func (p past) get(key string) wire.Row {
	p.t.Helper()
	ask, _, err := wiretest.Up(wire.Get{Key: key}, wire.Limits{})
	if err != nil {
		p.t.Fatal(err)
	}
	row, err := p.r.Get(ask.Key)
	return p.down(row, err)
}

func (p past) after(prefix, after string) wire.Row {
	p.t.Helper()
	ask, _, err := wiretest.Up(wire.Next{Prefix: prefix, After: after}, wire.Limits{})
	if err != nil {
		p.t.Fatal(err)
	}
	row, ready, err := p.r.After(ask.Prefix, ask.After)
	for !ready && err == nil {
		row, ready, err = p.r.After(ask.Prefix, ask.After)
	}
	return p.down(row, err)
}

func (p past) down(row wire.Row, err error) wire.Row {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	if row, err = wiretest.Down(row); err != nil {
		p.t.Fatal(err)
	}
	return row
}

// next takes the next delivery of a replay, and answer an answer to it, over the wire.
func (p past) next() (d wire.Deliver, ready bool) {
	p.t.Helper()
	d, ready, err := p.r.Next()
	if err == nil && ready {
		d, err = wiretest.Down(d)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return d, ready
}

func (p past) answer(done wire.Done) error {
	p.t.Helper()
	done, frame := up(p.t, done)
	return p.r.Answer(done, frame)
}

// try returns the words of finish for an answer, and leaves everything as it was, the crank in flight. A fault must
// have changed nothing by itself.
func (w *world) try(v kernel.VatID, words string) string {
	w.t.Helper()
	number, hash := w.m.CommitNumber(), w.m.Hash()
	done, frame := up(w.t, w.parse(v, words))
	c, err := w.m.Finish(w.flights[v], done, frame, w.now)
	var fault *kernel.Fault
	switch {
	case errors.As(err, &fault):
		if w.m.CommitNumber() != number || w.m.Hash() != hash || c.Number != 0 {
			w.t.Errorf("the fault %q left a trace", fault.Reason)
		}
		return fault.Error()
	case err != nil:
		w.t.Fatal(err)
	}
	m, _, err := kernel.Open(w.mem, w.mem.Limits(), "E1")
	if err != nil {
		w.t.Fatal(err)
	}
	w.m = m
	return "legal"
}

// died reports the death of a vat's worker.
func (w *world) died(v kernel.VatID, cause kernel.Cause, detail string) {
	w.t.Helper()
	vat, found, err := w.m.Vat(v)
	if err != nil || !found {
		w.t.Fatalf("vat %s: found %t, %v", v, found, err)
	}
	d := kernel.Death{Vat: v, Incarnation: vat.Incarnation, Cause: cause, Detail: detail, Crank: w.flights[v]}
	delete(w.flights, v)
	w.do(w.m.Died(d, w.now))
}

// deliver is a whole crank, its answer given in words. It says whether there was one.
func (w *world) deliver(v kernel.VatID, words string) bool {
	w.t.Helper()
	if !w.begin(v) {
		return false
	}
	w.finish(v, w.parse(v, words))
	return true
}

// parse reads the answer of a vat to the delivery in flight, see parseDone.
func (w *world) parse(v kernel.VatID, words string) wire.Done {
	w.t.Helper()
	if strings.ContainsAny(words, "$") || strings.Contains(words, "let ") {
		words = w.expand(v, words)
	}
	done, err := parseDone(words)
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// expand replaces in a vat's words $r by the result of the delivery in flight, $0, $1, … by its slots (of the value of
// the first promise, if it is a notification), and $name by the reference that a line "let name $1" in an answer of the
// same vat kept.
func (w *world) expand(v kernel.VatID, words string) string {
	var pairs []string
	if c := w.flights[v]; c != nil {
		var slots []wire.Ref
		switch d := c.Deliver.Delivery.(type) {
		case wire.Call:
			slots = d.Message.MethArgs.Slots
			pairs = append(pairs, "$r", string(d.Message.Result))
		case wire.Notify:
			slots = d.Resolutions[0].Value.Slots
			pairs = append(pairs, "$r", string(d.Resolutions[0].Promise))
		}
		for i := len(slots) - 1; i >= 0; i-- { // $12 before $1
			pairs = append(pairs, fmt.Sprintf("$%d", i), string(slots[i]))
		}
	}
	names := slices.Sorted(maps.Keys(w.kept))
	slices.Reverse(names) // $pay2 before $pay
	for _, name := range names {
		if vat, name, _ := strings.Cut(name, " "); vat == string(v) {
			pairs = append(pairs, "$"+name, w.kept[string(v)+" "+name])
		}
	}
	words = strings.NewReplacer(pairs...).Replace(words)
	var out []string
	for line := range strings.SplitSeq(words, "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "let" {
			w.kept[string(v)+" "+f[1]] = f[2]
			continue
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func (w *world) call(ticket string, target kernel.KRef, method string, slots ...kernel.KRef) bool {
	w.t.Helper()
	data := kernel.Data{Body: callBody(method, slots), Slots: slots}
	st, c, err := w.m.Call(kernel.HostCall{Ticket: ticket, Hash: method + fmt.Sprint(target, slots), Target: target, MethArgs: data}, w.now)
	if err == nil && c.Number == 0 {
		w.printf("%s is %s", ticket, ticketText(st))
		return true
	}
	return w.do(c, err)
}

// answer is the answer of a vat of few words: it fulfils results with null and listens to every promise.
func answer(d wire.Deliver) string {
	var out strings.Builder
	listen := func(refs []wire.Ref) {
		for _, r := range refs {
			if r[0] == 'p' {
				fmt.Fprintf(&out, "subscribe %s\n", r)
			}
		}
	}
	switch d := d.Delivery.(type) {
	case wire.Call:
		r := d.Message.Result
		listen(slices.DeleteFunc(slices.Clone(d.Message.MethArgs.Slots), func(s wire.Ref) bool { return s == r }))
		if r != "" {
			fmt.Fprintf(&out, "resolve %s=null\n", r)
		}
	case wire.Notify:
		told := map[wire.Ref]bool{}
		for _, r := range d.Resolutions {
			told[r.Promise] = true
		}
		for _, r := range d.Resolutions {
			listen(slices.DeleteFunc(slices.Clone(r.Value.Slots), func(s wire.Ref) bool { return told[s] }))
		}
	}
	return out.String()
}

// run lets the kernel and the vats that were woken work until there is no more work. The vats answer as how says, or in
// few words.
func (w *world) run(how func(v kernel.VatID, d wire.Deliver) string) {
	w.t.Helper()
	for {
		for {
			c, _, err := w.m.Work(w.now)
			if err != nil {
				w.t.Fatal(err)
			}
			if c.Number == 0 {
				break
			}
			w.apply(c)
		}
		v := kernel.VatID("")
		switch flying := slices.Sorted(maps.Keys(w.flights)); {
		case len(flying) > 0:
			v = flying[0]
		case len(w.woken) > 0:
			v, w.woken = w.woken[0], w.woken[1:]
			if !w.begin(v) {
				continue
			}
		default:
			return
		}
		words := ""
		if crank := w.flights[v]; how != nil {
			words = how(v, crank.Deliver)
		} else {
			words = answer(crank.Deliver)
		}
		w.finish(v, w.parse(v, words))
	}
}

// cluster launches vats, the first of which is the bootstrap vat, and runs them until they are up.
func (w *world) cluster(edit func(*kernel.LaunchVat), names ...string) kernel.SubID {
	w.t.Helper()
	s := w.launch(edit, names...)
	w.run(nil)
	return s
}

func (w *world) launch(edit func(*kernel.LaunchVat), names ...string) kernel.SubID {
	w.t.Helper()
	l := kernel.Launch{Bootstrap: names[0]}
	for _, n := range names {
		lv := kernel.LaunchVat{Name: n, MaxQueue: 100, MaxRestarts: 5, Config: []byte("{}")}
		if edit != nil {
			edit(&lv)
		}
		l.Vats = append(l.Vats, lv)
	}
	s, c, err := w.m.Launch(l)
	w.do(c, err)
	return s
}

// settleAll runs the world to rest, terminates everything, and returns the rows that are left over.
func (w *world) leftovers() (keys []string) {
	w.t.Helper()
	for _, s := range must(w.m.Subclusters()) {
		w.do(w.m.Terminate(s.ID))
	}
	w.run(nil)
	for _, s := range must(w.m.Services()) { // those of the kernel
		if w.endGlobals {
			w.do(w.m.EndService(s.KRef))
		}
	}
	w.run(nil)
	for {
		c, _, err := w.m.Expire(w.now + 1)
		if !w.do(c, err) {
			break
		}
	}
	for _, row := range w.mem.Snapshot() {
		switch {
		case row.Key == "schema", row.Key == "epoch", row.Key == "commit", row.Key == "work", row.Key == "count.v", row.Key == "swept", row.Key == "expired", strings.HasPrefix(row.Key, "next."):
		default:
			keys = append(keys, row.Key)
		}
	}
	return keys
}
