package model_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/worker"
	"ocapkernel.dev/workers"
	"ocapkernel.dev/workers/inproc"
)

// system is a kernel whose store and vats are in memory. It is driven: one crank follows the other, and the same program has
// the same cranks. Kernels die and follow each other.
type system struct {
	program worker.Program
	mem     *storage.Mem
	store   *mortal
	vats    *inproc.Starter
	shell   *host.Shell
	ended   chan error
	// clock has milliseconds, seeds the number of random numbers so far.
	clock atomic.Int64
	seeds atomic.Uint64
	// ids and roots are those of the vats, by name.
	ids   map[string]kernel.VatID
	roots map[string]kernel.KRef
	// subs are the subclusters of vats that are alone in theirs.
	subs map[string]kernel.SubID
	// tickets are the full names of tickets.
	tickets map[string]string

	// said has the errors that vats have logged.
	said text

	cranks, kernels, kills int
}

// text is written by several goroutines.
type text struct {
	mu struct {
		sync.Mutex
		strings.Builder
	}
}

// Write is part of being an [io.Writer].
func (t *text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.Builder.Write(b)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.Builder.String()
}

// forever is a deadline that nothing meets.
const forever = 100 * 365 * 24 * time.Hour

// mortal is a store that is dead after some more commits, and keeps nothing then.
type mortal struct {
	storage.Store
	left atomic.Int64 // commits until the end; below 0 for none
}

var errDead = errors.New("the kernel is dead")

// Commit is part of being a [storage.Store].
func (m *mortal) Commit(writes []storage.Write) error {
	if n := m.left.Load(); n == 0 {
		return errDead
	} else if n > 0 {
		m.left.Add(-1)
	}
	return m.Store.Commit(writes)
}

// starter starts vats in memory, which have no deadline.
type starter struct{ *inproc.Starter }

// AfterRunning is part of being a [workers.Starter].
func (starter) AfterRunning(time.Duration, func()) (stop func()) { return func() {} }

var _ workers.Starter = starter{}

func (s *system) ctx() context.Context { return context.Background() }

func newSystem(program worker.Program) (*system, error) {
	s := &system{program: program, mem: storage.NewMem(), ids: map[string]kernel.VatID{}, roots: map[string]kernel.KRef{}, subs: map[string]kernel.SubID{}, tickets: map[string]string{}}
	return s, s.boot()
}

// boot starts a kernel on what the last one has stored.
func (s *system) boot() error {
	s.kernels++
	s.store = &mortal{Store: s.mem}
	s.store.left.Store(-1)
	s.vats = inproc.New(inproc.Config{Program: s.program, Logger: slog.New(slog.NewTextHandler(&s.said, &slog.HandlerOptions{Level: slog.LevelError}))})
	shell, err := host.Open(host.Config{
		Store: s.store, Workers: starter{s.vats}, KeepAnswers: forever, Driven: &host.Driven{
			Now:  func() time.Time { return time.UnixMilli(1_700_000_000_000 + s.clock.Load()) },
			Seed: func() uint64 { return s.seeds.Add(1) },
		},
	})
	if err != nil {
		return err
	}
	s.shell, s.ended = shell, make(chan error, 1)
	ended := s.ended
	go func() { ended <- shell.Run(s.ctx()) }()
	_, err = shell.Settle(s.ctx())
	return err
}

// stop ends the kernel in order, and checks what it has left.
func (s *system) stop() error {
	s.shell.Stop()
	if err := <-s.ended; err != nil {
		return fmt.Errorf("the end of the kernel: %w", err)
	}
	if err := s.mem.Reopen(); err != nil {
		return err
	}
	return s.check()
}

// check checks the kernel's invariants.
func (s *system) check() error {
	problems, err := kernel.Check(s.mem)
	if err != nil || len(problems) > 0 {
		return fmt.Errorf("invariants: %w %q", err, problems)
	}
	return nil
}

// killKernel has the kernel die, and starts another one.
func (s *system) killKernel() error {
	s.store.left.Store(0)
	s.shell.Stop()
	return s.revive()
}

// revive starts a kernel after the death of one.
func (s *system) revive() error {
	if err := <-s.ended; err != nil && !errors.Is(err, errDead) {
		return fmt.Errorf("the kernel ended: %w", err)
	}
	s.kills++
	if err := s.mem.Reopen(); err != nil {
		return err
	}
	return s.boot()
}

// again reports whether something is to be done again, by another kernel: the one that did it died meanwhile.
func (s *system) again(err error) (bool, error) {
	isDeath, err := died(err)
	if isDeath {
		err = s.revive()
	}
	return isDeath, err
}

// died reports whether an error only says that the kernel is dead.
func died(err error) (bool, error) {
	if errors.Is(err, host.ErrStopping) || errors.Is(err, errDead) {
		return true, nil
	}
	return false, err
}

// step runs a crank, and reports whether there was something to do.
func (s *system) step() (more bool, err error) {
	s.clock.Add(1)
	p, err := s.shell.Step(s.ctx())
	if died, err := s.again(err); died || err != nil {
		return true, err
	}
	if p.Vat != "" {
		s.cranks++
	}
	for _, e := range p.Trace {
		switch e := e.(type) {
		case kernel.MemoryLost:
			if e.Why != "a person said so" {
				return false, fmt.Errorf("vat %s lost its memory: %s", e.Vat, e.Why)
			}
		case kernel.Poisoned, kernel.Dropped, kernel.VatStopped, kernel.Unreadable, kernel.TranscriptFull:
			return false, fmt.Errorf("%T: %+v\n%s", e, e, s.said.String())
		}
	}
	return p.More, nil
}

// maxCranks is how many cranks are enough for any program to come to rest.
const maxCranks = 100_000

// rest runs cranks until nothing is left to do.
func (s *system) rest() error {
	for range maxCranks {
		if more, err := s.step(); err != nil || !more {
			return err
		}
	}
	return errors.New("it does not come to rest")
}

// during runs cranks until f is over, and does it again if the kernel dies meanwhile.
func (s *system) during(f func(k *host.Shell) error) error {
	for {
		done, k := make(chan error, 1), s.shell
		go func() { done <- f(k) }()
		for over := false; !over; {
			select {
			case err := <-done:
				if s.shell == k {
					if died, err := s.again(err); err != nil || !died {
						return err
					}
				} else if isDeath, err := died(err); !isDeath {
					return err
				}
				over = true
			default:
				more, err := s.step()
				if err != nil {
					return err
				}
				if !more {
					<-time.After(time.Millisecond) // of virtual time
				}
			}
		}
	}
}

// launch starts the vats. All but the first have no bootstrap.
func (s *system) launch(reapInterval int, names ...string) error {
	var vats []string
	for _, name := range names {
		vats = append(vats, fmt.Sprintf(`%q: {"module": "actor", "reapInterval": %d, "maxRestarts": 1000}`, name, reapInterval))
	}
	cfg, err := cluster.Parse("model.json", fmt.Appendf(nil, `{"bootstrap": %q, "vats": {%s}}`, names[0], strings.Join(vats, ", ")))
	if err != nil {
		return err
	}
	var sub kernel.Subcluster
	if err := s.during(func(k *host.Shell) (err error) {
		sub, err = k.Launch(s.ctx(), cfg)
		return err
	}); err != nil {
		return err
	}
	if len(names) == 1 {
		s.subs[names[0]] = sub.ID
	}
	view := kernel.NewView(s.mem)
	for _, v := range sub.Vats {
		info, _, err := view.Vat(v.Vat)
		if err != nil {
			return err
		}
		s.ids[v.Name], s.roots[v.Name] = v.Vat, info.Root
	}
	return nil
}

// ref is an object as an argument of a call from outside.
type ref kernel.KRef

// send has the kernel accept a call.
func (s *system) send(ticket string, target kernel.KRef, method string, args ...any) error {
	var data kernel.Data
	for i, a := range args {
		text, err := json.Marshal(a)
		if err != nil {
			return err
		}
		if args[i], err = capdata.FromJSON(text, func(ref string) (int, error) {
			data.Slots = append(data.Slots, kernel.KRef(ref))
			return len(data.Slots) - 1, nil
		}); err != nil {
			return err
		}
	}
	var err error
	if data.Body, err = capdata.EncodeCall(method, args); err != nil {
		return err
	}
	for {
		a, err := s.shell.Call(s.ctx(), "", ticket, string(target), data, false)
		if died, err := s.again(err); err != nil || !died {
			if err == nil {
				s.tickets[ticket] = a.Ticket
			}
			return err
		}
	}
}

// MarshalJSON writes a reference as the kernel's command line does.
func (r ref) MarshalJSON() ([]byte, error) { return json.Marshal(map[string]string{"$ref": string(r)}) }

// outcome is the answer of a call: an object, a list of texts, or a reason.
type outcome struct {
	pending bool
	object  kernel.KRef
	list    []string
	reason  string
}

// answer returns the answer of a call.
func (s *system) answer(ticket string) (o outcome, err error) {
	st, err := kernel.NewView(s.mem).Ticket(s.tickets[ticket])
	if err != nil || st.Pending {
		return outcome{pending: true}, err
	}
	v, err := capdata.Decode(st.Value.Body, len(st.Value.Slots))
	switch v := v.(type) {
	case *capdata.Error:
		o.reason = reasonOf(v.Message)
	case capdata.Remotable:
		o.object = st.Value.Slots[v.Slot]
	case []any:
		for _, x := range v {
			o.list = append(o.list, fmt.Sprint(x))
		}
	}
	if st.Rejected != (o.reason != "") {
		return o, fmt.Errorf("ticket %s: rejected %t, with %#v", ticket, st.Rejected, v)
	}
	return o, err
}

// reasonOf is told, for the text of an error.
func reasonOf(text string) string {
	for code, reason := range map[string]string{"OBJECT_DELETED": "gone", "VAT_TERMINATED": "gone", "VAT_RESTARTED": "restarted", "BAD_TARGET": "no target"} {
		if strings.HasPrefix(text, "[KERNEL:"+code+"]") {
			return reason
		}
	}
	return text
}

// ask makes a call, runs until nothing is left to do, and forgets the answer.
func (s *system) ask(ticket string, target kernel.KRef, method string, args ...any) (o outcome, err error) {
	if err := s.send(ticket, target, method, args...); err != nil {
		return o, err
	}
	if err := s.rest(); err != nil {
		return o, err
	}
	if o, err = s.answer(ticket); err != nil {
		return o, err
	}
	if o.pending {
		return o, fmt.Errorf("%s: no answer, and nothing is left to do", method)
	}
	return o, s.acknowledge(ticket)
}

func (s *system) acknowledge(ticket string) error {
	for {
		err := s.shell.Acknowledge(s.ctx(), "", ticket)
		if died, err := s.again(err); err != nil || !died {
			return err
		}
	}
}

// rows counts the kernel's rows by kind, up to the first dot of their keys.
func (s *system) rows() map[string]int {
	n := map[string]int{}
	for _, w := range s.mem.Snapshot() {
		kind, _, _ := strings.Cut(w.Key, ".")
		n[kind]++
	}
	return n
}

// storeRows counts the rows of a vat's store by kind.
func (s *system) storeRows(v kernel.VatID) map[string]int {
	n := map[string]int{}
	for _, w := range s.mem.Snapshot() {
		if rest, ok := strings.CutPrefix(w.Key, "s."+string(v)+"."); ok {
			if kind, _, dotted := strings.Cut(rest, "."); dotted { // others are the vat's own bookkeeping
				n[kind]++
			}
		}
	}
	return n
}

// counts are the counts of what there is.
func (s *system) counts() (c counts, err error) {
	var t kernel.Tally
	view := kernel.NewView(s.mem)
	for after, first := "", true; first || after != ""; first = false {
		if after, err = view.TallyAfter(&t, after); err != nil {
			return c, err
		}
	}
	c = counts{Objects: t.Objects, Promises: t.Promises, Vats: map[string]vatCounts{}}
	for name, id := range s.ids {
		n, found := t.Vats[id]
		if !found {
			continue // it is gone
		}
		rows := s.storeRows(id)
		c.Promises += n.Promises
		c.Vats[name] = vatCounts{Held: n.Held, Exported: n.Exported, Things: rows["o"], Entries: rows["m"], Counts: rows["c"]}
	}
	return c, nil
}

// leftovers are kinds of rows that nothing leaves when all is at rest.
func (s *system) leftovers() []string {
	var left []string
	for _, kind := range []string{"q", "p", "b", "m", "d", "x", "y", "z", "look", "again", "w", "search", "suspect", "circles", "circle", "i", "a", "f", "j"} {
		if n := s.rows()[kind]; n > 0 {
			left = append(left, fmt.Sprintf("%d rows %s.", n, kind))
		}
	}
	for kind, n := range map[string]int{"t": len(s.tickets), "e": len(s.tickets)} { // answers are remembered
		if got := s.rows()[kind]; got != n {
			left = append(left, fmt.Sprintf("%d rows %s., want %d", got, kind, n))
		}
	}
	for name, id := range s.ids {
		for _, kind := range []string{"g", "j", "k", "s", "t", "u", "w", "x"} {
			if n := s.storeRows(id)[kind]; n > 0 {
				left = append(left, fmt.Sprintf("%d rows %s. of %s", n, kind, name))
			}
		}
	}
	slices.Sort(left)
	return left
}
