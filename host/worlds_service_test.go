package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/service/timer"
	"ocapkernel.dev/vat"
)

// clerk is a vat that reads lines all the time, and uses a ledger, a timer and other vats as its calls order.
type clerk struct {
	vat.Durable
	Line, Ledger, Timer vat.Ref
	Heard               []int
}

func (c *clerk) Bootstrap(ctx context.Context, _ map[string]vat.Ref, services struct{ Line, Ledger, Timer vat.Ref }) {
	c.Line, c.Ledger, c.Timer = services.Line, services.Ledger, services.Timer
	c.read(ctx)
}

func (c *clerk) read(ctx context.Context) { vat.When(ctx, vat.Send(ctx, c.Line, "read"), c, "Take") }

// Take takes a line.
func (c *clerk) Take(ctx context.Context, line vat.Outcome[int]) error {
	n, err := line.Get()
	if err != nil {
		n = -1
	}
	c.Heard = append(c.Heard, n)
	c.read(ctx)
	return err
}

// Tell tells which lines came.
func (c *clerk) Tell() []int { return c.Heard }

// Do calls a method of the ledger.
func (c *clerk) Do(ctx context.Context, method, id string) (string, error) {
	return vat.Call[string](ctx, c.Ledger, method, id)
}

// Nap waits.
func (c *clerk) Nap(ctx context.Context, ms int) (float64, error) {
	return vat.Call[float64](ctx, c.Timer, "delay", ms)
}

// Hang waits for ever.
func (c *clerk) Hang(ctx context.Context) error {
	p, _ := vat.NewPromise(ctx)
	_, err := vat.Await[vat.None](ctx, p)
	return err
}

func clerks() vat.Modules {
	return vat.Modules{"clerk": func() *clerk { return &clerk{} }}
}

// outside is the part of a world beyond vats, which outlives its kernels: a ledger that writes down each payment, and the
// lines of a channel.
type outside struct {
	w    *world
	work sync.WaitGroup // of the calls under way
	mu   sync.Mutex
	// written counts the payments in the ledger, begun the calls that were begun.
	written, begun map[string]int
}

// ledger is the outside as a service. A call takes its time, and writes at some moment of it, even if the kernel dies
// meanwhile.
type ledger struct{ *outside }

// Idempotent is part of [service.Idempotent].
func (ledger) Idempotent(method string) bool { return method == "look" }

// Begin is part of [service.Object].
func (l ledger) Begin(_ context.Context, c service.Call, reply func(service.Reply)) {
	method, args, err := capdata.DecodeCall(c.MethArgs.Body, len(c.MethArgs.Slots))
	if err != nil || len(args) != 1 {
		reply(service.Fail(fmt.Errorf("no call of the ledger: %w", err)))
		return
	}
	what := fmt.Sprintf("%s %v", method, args[0])
	l.mu.Lock()
	l.begun[what]++
	dice := l.w.dice(fmt.Sprintf("ledger %s %d", what, l.begun[what]))
	l.mu.Unlock()
	before, after := someTime(dice, 10*time.Millisecond), someTime(dice, 10*time.Millisecond)
	l.work.Go(func() {
		<-time.After(before)
		l.mu.Lock()
		l.written[what]++
		l.mu.Unlock()
		<-time.After(after)
		reply(service.Fulfil("done"))
	})
}

// lineKind is the kind of channels whose n-th line is n. Their state is the number of the next one.
func (o *outside) lineKind() service.Kind {
	return service.Kind{Traits: reads, Open: func(opening service.Opening) (service.Object, error) {
		dice := o.w.dice(fmt.Sprintf("lines %d", o.w.kernels))
		next := 0
		if opening.State != nil {
			var err error
			if next, err = strconv.Atoi(string(opening.State)); err != nil {
				return nil, err
			}
			if dice.IntN(3) == 0 {
				return nil, errors.New("it cannot be opened now") // which would fail a launch
			}
		}
		return &counting{outside: o, dice: dice, next: next}, nil
	}}
}

// counting is such a channel. A call that is cancelled takes no line.
type counting struct {
	*outside
	mu   sync.Mutex
	dice *rand.Rand // guarded by mu, as next is
	next int
}

// Idempotent is part of [service.Idempotent].
func (c *counting) Idempotent(method string) bool { return method == "read" }

// Begin is part of [service.Object].
func (c *counting) Begin(ctx context.Context, _ service.Call, reply func(service.Reply)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pause := someTime(c.dice, 10*time.Millisecond)
	c.work.Go(func() {
		<-time.After(pause)
		c.mu.Lock()
		defer c.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		r := service.Fulfil(c.next)
		c.next++
		r.Unit, r.State = "read", []byte(strconv.Itoa(c.next))
		reply(r)
	})
}

const clerkConfig = `{"bootstrap": "clerk", "vats": {"clerk": {"module": "clerk"}%s}, "limits": {"queue": %d},
	"io": {"line": {"type": "console"}}, "services": ["timer", "ledger"]}`

// Vats read lines, pay and wait, while their configuration changes. Each line is heard once and in its order. A call that
// may not be done twice is done once if its caller was told so, and once at most else; a call that may be done again is
// done. Calls under way at the end of a subcluster are answered, and no worker of it is left.
func TestWorldsOfServices(t *testing.T) {
	program := programOf(t, clerks())
	makeWorlds(t, 10, func(t *testing.T, seed uint64) (kernels, kills int) {
		w := newWorld(t, seed, program, false)
		o := &outside{w: w, written: map[string]int{}, begun: map[string]int{}}
		w.change = func(c *host.Config) {
			c.Kinds = timer.Kinds()
			c.Kinds[host.KindIO] = o.lineKind()
			c.Services = map[string]service.Registration{"ledger": {Object: ledger{o}}}
		}
		w.live(func() { o.use(string(w.launch(fmt.Sprintf(clerkConfig, "", 100)))) })
		o.work.Wait()
		return w.kernels, w.kills
	})
}

// use has clients use a subcluster, while an operator changes its configuration, and terminates it in the end.
func (o *outside) use(sub string) {
	w := o.w
	var clients sync.WaitGroup
	for c := range 2 {
		clients.Go(func() { o.client(fmt.Sprintf("client %d", c), sub) })
	}
	clients.Go(func() {
		dice := w.dice("operator")
		for i := range 3 {
			<-time.After(someTime(dice, 30*time.Millisecond))
			vats := ""
			for n := range i {
				vats += fmt.Sprintf(`, "more%d": {"module": "clerk"}`, n)
			}
			w.apply(sub, fmt.Sprintf(clerkConfig, vats, 100+i))
		}
	})
	clients.Wait()
	var heard []int
	if a := w.must("tell", sub, "tell"); a.Rejected || json.Unmarshal([]byte(strings.TrimPrefix(a.Value.Body, "#")), &heard) != nil {
		w.t.Errorf("the lines that were heard are %s", a.Value.Body)
	}
	for i, n := range heard {
		if n != i {
			w.t.Errorf("line %d was heard in place of line %d: %v", n, i, heard)
			break
		}
	}
	o.end(kernel.SubID(sub))
}

// client makes calls one after the other.
func (o *outside) client(client, sub string) {
	w := o.w
	dice := w.dice(client)
	for i := range 4 {
		<-time.After(someTime(dice, 10*time.Millisecond))
		ticket := fmt.Sprintf("%s call %d", client, i)
		switch dice.IntN(3) {
		case 0:
			begin := time.Now()
			if a := w.must(ticket, sub, "nap", 20.0); a.Rejected || time.Since(begin) < 20*time.Millisecond {
				w.t.Errorf("%s: after %v a nap of 20 ms got %s", ticket, time.Since(begin), a.Value.Body)
			}
		case 1:
			if a := w.must(ticket, sub, "do", "look", ticket); a.Rejected || o.count("look "+ticket) < 1 {
				w.t.Errorf("%s: what can be done again was done %d times, with the answer %s", ticket, o.count("look "+ticket), a.Value.Body)
			}
		case 2:
			a := w.must(ticket, sub, "do", "pay", ticket)
			n := o.count("pay " + ticket)
			if ambiguous := strings.Contains(a.Value.Body, string(errcode.Ambiguous)); a.Rejected != ambiguous || n > 1 || n == 0 && !a.Rejected {
				w.t.Errorf("%s: what can be done once was done %d times, with the answer %s", ticket, n, a.Value.Body)
			}
		}
	}
}

func (o *outside) count(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.written[what]
}

// end terminates a subcluster while calls are under way.
func (o *outside) end(sub kernel.SubID) {
	w := o.w
	var calls []string
	for i, method := range []string{"hang", "nap", "hang", "do"} {
		args := [][]any{{}, {1e6}, {}, {"pay", "last"}}[i]
		ticket := fmt.Sprintf("under way %d", i)
		if _, err := w.call(ticket, string(sub), method, false, args...); err != nil {
			w.t.Errorf("%s: %v", ticket, err)
		}
		calls = append(calls, ticket)
	}
	w.terminate(sub)
	for _, ticket := range calls {
		var a host.Answer
		if err := w.until(func(k *host.Shell) (err error) {
			a, err = k.Await(w.ctx, "", ticket)
			return err
		}); err != nil || a.Pending {
			w.t.Errorf("%s of a subcluster that was terminated: %+v, %v", ticket, a, err)
		}
	}
	if err := w.until(func(k *host.Shell) error { _, err := k.Collect(w.ctx, ""); return err }); err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if live := w.vats.Live(); len(live) > 0 {
		w.t.Errorf("the subcluster is terminated, and %v live on", live)
	}
	if n := o.count("pay last"); n > 1 {
		w.t.Errorf("what can be done once was done %d times", n)
	}
}

// apply changes the configuration of a subcluster.
func (w *world) apply(sub, config string) {
	cfg, err := cluster.Parse("world.json", []byte(config))
	if err != nil {
		w.t.Error(err)
		return
	}
	if err := w.until(func(k *host.Shell) error {
		_, err := k.Apply(w.ctx, sub, cfg, host.ApplyOptions{})
		return err
	}); err != nil {
		w.t.Errorf("apply: %v", err)
	}
}
