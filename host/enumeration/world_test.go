package enumeration_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/worker"
)

// A play is one run of a scenario: a whole shell over a store and workers in memory, with one crank in flight and each
// commit a group of its own, so that everything happens in the same order each time. The faults of its schedule happen at
// commits and at frames. When a kernel has died, the next one opens the store, and the client, which is the scenario, does
// again what it was not told to be done.
type play struct {
	t        *testing.T
	scenario *scenario
	sched    *schedule
	out      *outside
	mem      *storage.Mem
	ctx      context.Context

	program worker.Program
	// change, if not nil, changes the configuration of each later kernel.
	change func(*host.Config)
	seeds  atomic.Uint64

	k     *host.Shell
	store *mortalStore
	lines *lines
	stop  context.CancelFunc
	ended chan error

	name            string
	kernels, cranks int
	crashed         bool // the last kernel did
	// failures are what went wrong so far.
	failures []string
	// said are the outcomes, by the names that the scenario gives them.
	said map[string]string
}

// errUndone is the error of an operation that is not done although nothing is left to do.
var errUndone = errors.New("it is not done, and nothing is left to do")

func newPlay(t *testing.T, s *scenario, points []point) *play {
	p := &play{
		t: t, name: s.name + "/" + join(points), scenario: s, sched: &schedule{points: points}, out: newOutside(), mem: storage.NewMem(), said: map[string]string{},
	}
	p.program = actors()
	return p
}

// errorf notes that something went wrong. It is for the goroutine of the scenario.
func (p *play) errorf(format string, args ...any) {
	p.failures = append(p.failures, fmt.Sprintf(format, args...))
}

// fatalf ends the test: the run cannot go on.
func (p *play) fatalf(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s: %s\n%s", again(p.name), fmt.Sprintf(format, args...), strings.Join(p.failures, "\n"))
}

// again says how a run is made again.
func again(name string) string {
	return fmt.Sprintf("TORTURE_POINT='%s' go test ./host/enumeration -run TestTortureCrashEnumeration -v", name)
}

// program compiles modules.
func program(modules vat.Modules) worker.Program {
	p, err := vat.Program(modules)
	if err != nil {
		panic(err)
	}
	return p
}

// errDead is the error of a commit of a kernel that is dead.
var errDead = errors.New("the kernel is dead")

// boot starts a kernel on what is stored, as often as it dies in the middle of that.
func (p *play) boot() {
	for {
		p.kernels++
		if p.kernels > 20 {
			p.fatalf("one kernel after the other dies")
		}
		p.store = &mortalStore{Store: p.mem, play: p}
		p.lines = newLines(p, p.store)
		cfg := host.Config{
			Store: p.store, Workers: p.lines, Kinds: p.out.kinds(), Services: p.out.services(p.store),
			Driven: &host.Driven{Now: time.Now, Seed: func() uint64 { return p.seeds.Add(1) }, Single: true},
		}
		if os.Getenv("TORTURE_POINT") != "" {
			cfg.Logger = logging.NewText(p.t.Output(), slog.LevelDebug)
		}
		if p.change != nil {
			p.change(&cfg)
		}
		p.out.kernel(p.store)
		k, err := host.Open(cfg)
		if err != nil {
			p.lines.Abandon()
			if p.store.isDead() {
				continue
			}
			p.fatalf("open: %v", err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx) }()
		p.k, p.stop, p.ended = k, stop, ended
		if p.settle(); !p.store.isDead() {
			if p.crashed {
				p.crashed = false
				<-time.After(time.Second) // what waits for time, by the next kernel, may end
			}
			return
		}
		p.bury()
	}
}

// bury waits until the kernel that is dead has ended.
func (p *play) bury() {
	p.stop()
	if err := <-p.ended; err != nil && !errors.Is(err, errDead) {
		p.errorf("the kernel ends by itself: %v", err)
	}
	p.crashed = p.crashed || p.store.isDead()
	p.lines.Abandon()
	if err := p.mem.Reopen(); err != nil {
		p.fatalf("%v", err)
	}
}

// reboot ends the kernel in order, and starts another one.
func (p *play) reboot() {
	p.bury()
	p.boot()
}

// settle lets the kernel do what it does without another crank. A kernel that is dead does nothing.
func (p *play) settle() {
	synctest.Wait()
	if _, err := p.k.Settle(p.ctx); err != nil && !p.store.isDead() {
		p.fatalf("settle: %v", err)
	}
	synctest.Wait()
}

// run has the kernels do whatever there is to do.
func (p *play) run() {
	for !p.drive(nil) {
		p.bury()
		p.boot()
	}
}

// drive takes steps until nothing is left to do, or done is closed. It returns false if the kernel has died.
func (p *play) drive(done <-chan struct{}) bool {
	for steps := 0; ; steps++ {
		if steps > 10_000 {
			p.fatalf("the kernel does not come to rest")
		}
		synctest.Wait()
		if done != nil && isClosed(done) {
			return !p.store.isDead()
		}
		progress, err := p.k.Step(p.ctx)
		if err != nil {
			if !p.store.isDead() {
				p.fatalf("step: %v", err)
			}
			return false
		}
		if progress.Vat != "" {
			p.cranks++
		}
		if !progress.More {
			synctest.Wait()
			return !p.store.isDead()
		}
	}
}

// do has one kernel after the other do something, until one has done it. again says that an earlier kernel died in the
// middle of it. Other calls go on meanwhile.
func (p *play) do(f func(k *host.Shell, again bool) error) error { return p.doWithin(0, f) }

// doWithin is do for what may wait for time so often.
func (p *play) doWithin(waits int, f func(k *host.Shell, again bool) error) error {
	for again := false; ; again = true {
		done, k := make(chan struct{}), p.k
		err := errUndone
		go func() {
			defer close(done)
			err = f(k, again)
		}()
		alive := p.drive(done)
		for ; alive && waits > 0 && !isClosed(done); waits-- {
			<-time.After(10 * time.Millisecond)
			alive = p.drive(done)
		}
		if alive && !isClosed(done) {
			return errUndone
		}
		if !alive {
			p.bury()
			<-done
			p.boot()
		}
		if errors.Is(err, host.ErrStopping) || errors.Is(err, errDead) {
			if alive {
				p.fatalf("a kernel that lives says %v", err)
			}
			continue
		}
		return err
	}
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// must is do for what has to be done.
func (p *play) must(what string, f func(k *host.Shell, again bool) error) {
	if err := p.do(f); err != nil {
		p.errorf("%s: %v", what, err)
	}
}

// note notes an outcome.
func (p *play) note(name, outcome string) { p.said[name] = outcome }

// noteError notes that something is done, or why it is not.
func (p *play) noteError(name string, err error) {
	if err == nil {
		p.note(name, "done")
		return
	}
	p.note(name, "error: "+anonymous(err.Error()))
}

func (p *play) parse(source, config string) *cluster.Config {
	cfg, err := cluster.Parse(source+".json", []byte(config))
	if err != nil {
		p.fatalf("%v", err)
	}
	return cfg
}

// launch has a subcluster run a configuration, and returns its id.
func (p *play) launch(source, config string) string {
	cfg := p.parse(source, config)
	var sub host.Ensured
	p.must("launch "+source, func(k *host.Shell, _ bool) (err error) {
		sub, err = k.Ensure(p.ctx, cfg)
		return err
	})
	return string(sub.ID)
}

// ask has a call accepted, and goes on.
func (p *play) ask(ticket, target, method string, args ...any) {
	body, err := capdata.EncodeCall(method, pack(method, args))
	if err != nil {
		p.fatalf("%v", err)
	}
	p.askData(ticket, target, kernel.Data{Body: body})
}

func (p *play) askData(ticket, target string, data kernel.Data) {
	err := p.do(func(k *host.Shell, _ bool) error {
		_, err := k.Call(p.ctx, "", ticket, target, data, false)
		return err
	})
	if err != nil {
		p.noteError(ticket, err)
	}
}

// answer notes the outcome of a call as it is when nothing is left to do, and returns it.
func (p *play) answer(ticket string) host.Answer {
	p.run()
	a := host.Answer{Pending: true}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	err := p.do(func(k *host.Shell, _ bool) error {
		got, err := k.Await(ctx, "", ticket)
		if err == nil && ctx.Err() == nil {
			a = got
		}
		return err
	})
	if errors.Is(err, errUndone) {
		err = nil
	}
	if err != nil {
		p.noteError(ticket, err)
		return a
	}
	p.note(ticket, told(a))
	return a
}

// call is ask and answer.
func (p *play) call(ticket, target, method string, args ...any) host.Answer {
	p.ask(ticket, target, method, args...)
	return p.answer(ticket)
}

// ref makes a call whose answer is a reference, and returns its name.
func (p *play) ref(ticket, target, method string, args ...any) string {
	a := p.call(ticket, target, method, args...)
	if a.Rejected || len(a.Value.Slots) != 1 {
		p.errorf("%s: got %+v, want a reference", ticket, a)
		return "ko1"
	}
	return string(a.Value.Slots[0])
}

// forget acknowledges answers.
func (p *play) forget(tickets ...string) {
	for _, ticket := range tickets {
		p.must("acknowledge "+ticket, func(k *host.Shell, _ bool) error { return k.Acknowledge(p.ctx, "", ticket) })
	}
}

// collect has everything that nobody needs be removed. Each vat is asked by its name, too, since a collection of all asks those
// whose workers run; and twice, since a search for circles counts what it removes.
func (p *play) collect() {
	ask := func(only kernel.VatID) {
		p.run()
		if err := p.doWithin(1000, func(k *host.Shell, _ bool) error { _, err := k.Collect(p.ctx, only); return err }); err != nil {
			p.errorf("collect: %v", err)
		}
	}
	ask("")
	var vats []host.VatStatus
	p.must("list vats", func(k *host.Shell, _ bool) (err error) { vats, err = k.Vats(p.ctx); return err })
	for _, v := range slices.Concat(vats, vats) {
		if !v.Terminated && v.Stopped == "" {
			ask(v.ID)
		}
	}
	p.run()
}

// terminate removes a subcluster.
func (p *play) terminate(sub string) {
	p.must("terminate", func(k *host.Shell, again bool) error {
		err := k.Terminate(p.ctx, kernel.SubID(sub))
		if again && refused(err, errcode.NotFound) {
			return nil
		}
		return err
	})
}

// vat returns the id of a vat of a subcluster.
func (p *play) vat(sub, name string) (id kernel.VatID) {
	p.must("find "+name, func(k *host.Shell, _ bool) error {
		v, err := k.FindVat(p.ctx, sub+"/"+name)
		id = v.ID
		return err
	})
	return id
}

// pass lets time pass.
func (p *play) pass(d time.Duration) {
	for kernels := 0; kernels != p.kernels; { // until no kernel dies in that time
		kernels = p.kernels
		<-time.After(d)
		p.run()
	}
}

func refused(err error, code errcode.Code) bool {
	var r *kernel.Refusal
	return errors.As(err, &r) && r.Code == code
}

// told is an answer in words.
func told(a host.Answer) string {
	switch {
	case a.Pending:
		return "pending"
	case a.Acknowledged:
		return "acknowledged"
	}
	v, err := capdata.Decode(a.Value.Body, len(a.Value.Slots))
	if err != nil {
		return fmt.Sprintf("%q: %v", a.Value.Body, err)
	}
	if e, ok := v.(*capdata.Error); ok && a.Rejected {
		return "rejected: " + anonymous(e.Message)
	}
	text, err := capdata.ToJSON(v, func(int) string { return "a reference" })
	if err != nil {
		return err.Error()
	}
	if a.Rejected {
		return "rejected with " + anonymous(string(text))
	}
	return anonymous(string(text))
}

var (
	anyID     = regexp.MustCompile(`\b(k[op]|[vs])[0-9]+\b`)
	anyTicket = regexp.MustCompile(`\bticket [a-km-z2-9]{8}\.`)
)

// anonymous is a text without the numbers of the kernel's names, and without epochs.
func anonymous(text string) string {
	return anyTicket.ReplaceAllString(anyID.ReplaceAllString(text, "${1}N"), "ticket EPOCH.")
}

// live runs the scenario from the beginning to the end, and checks what a run must not leave.
func (p *play) live() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p.ctx = ctx
	p.boot()
	p.scenario.run(p)
	p.collect()
	p.bury()
	p.out.end()
	if live := p.lines.Live(); len(live) > 0 {
		p.errorf("the kernel has ended, and %v live", live)
	}
	problems, err := kernel.Check(p.mem)
	if err != nil || len(problems) > 0 {
		p.errorf("invariants: %v, %q", err, problems)
	}
}

// A point is a moment at which something dies, counted from the point before it, or from the beginning.
type point struct {
	// what is commit, where the kernel dies, or frame, where the worker dies that the frame is from or to.
	what string
	n    int
	// how is before, after, or, of a frame, cut.
	how string
}

func (p point) String() string { return fmt.Sprintf("%s/%d/%s", p.what, p.n, p.how) }

// schedule has the points of a run. Its methods may be called from any goroutine.
type schedule struct {
	mu     sync.Mutex
	points []point
	// count is what has happened since the last point.
	commits, frames int
	// kinds are the frames since the last point.
	kinds []string
}

// next counts a commit or frame, and returns how the run dies at it, if it does.
func (s *schedule) next(what, kind string) (how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &s.commits
	if what == "frame" {
		n = &s.frames
		s.kinds = append(s.kinds, kind)
	}
	*n++
	if len(s.points) == 0 || s.points[0].what != what || s.points[0].n != *n {
		return ""
	}
	how = s.points[0].how
	s.points, s.commits, s.frames, s.kinds = s.points[1:], 0, 0, nil
	return how
}

// mortalStore is the store of one kernel, which keeps nothing more once that is dead.
type mortalStore struct {
	storage.Store
	play *play
	dead atomic.Bool
}

func (m *mortalStore) isDead() bool { return m.dead.Load() }

// Commit is part of [storage.Store].
func (m *mortalStore) Commit(writes []storage.Write) error {
	if m.isDead() {
		return errDead
	}
	how := ""
	if len(writes) > 0 {
		how = m.play.sched.next("commit", "")
	}
	if how == "before" {
		m.dead.Store(true)
		return errDead
	}
	if err := m.Store.Commit(writes); err != nil {
		return err
	}
	if how == "after" {
		m.dead.Store(true)
		return errDead
	}
	return nil
}

// sortedLines joins outcomes, sorted by their names.
func sortedLines(m map[string]string) []string {
	var out []string
	for name, text := range m { // sorted below
		out = append(out, name+": "+text)
	}
	slices.Sort(out)
	return out
}

func join(points []point) string {
	var texts []string
	for _, p := range points {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, "+")
}
