package vattest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

// Peer answers, and counts its calls.
type Peer struct {
	vat.Durable
	Asked int
	Texts []string
}

func NewPeer() *Peer { return &Peer{} }

func (p *Peer) Add(n int) int           { p.Asked++; return n }
func (p *Peer) Echo(text string) string { p.Texts = append(p.Texts, text); return text }
func (p *Peer) GetAsked() int           { return p.Asked }
func (p *Peer) GetTexts() []string      { return p.Texts }

// Summer adds up many answers in a local variable.
type Summer struct {
	vat.Durable
	Peer vat.Ref
	Done int
}

func NewSummer() *Summer { return &Summer{} }

func (s *Summer) Bootstrap(vats map[string]vat.Ref) { s.Peer = vats["peer"] }

func (s *Summer) Sum(ctx context.Context, n, step int) (int, error) {
	total := 0
	for i := range n {
		x, err := vat.Call[int](ctx, s.Peer, "add", i*step)
		if err != nil {
			return 0, err
		}
		total += x
	}
	s.Done++
	return total, nil
}

func (s *Summer) GetDone() int { return s.Done }

func summers(t testing.TB) *vattest.Kernel {
	t.Helper()
	k := vattest.New(t, vat.Modules{"summer": NewSummer, "peer": NewPeer})
	if err := k.Launch("summer", vattest.Vat{Name: "summer", Module: "summer"}, vattest.Vat{Name: "peer", Module: "peer"}); err != nil {
		t.Fatal(err)
	}
	return k
}

func answer(t testing.TB, want string, a *vattest.Answer) {
	t.Helper()
	got, err := a.Result()
	if err != nil {
		got = "error: " + err.Error()
	}
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func call(t testing.TB, k *vattest.Kernel, want, target, method string, args ...string) {
	t.Helper()
	a := k.Send(target, method, args...)
	k.Run()
	answer(t, want, a)
}

// A turn that awaits thirty answers goes on at the same line after each of them, its local variables as
// they were, and asks nothing twice; and so do two of them at once.
func TestThirtyAwaits(t *testing.T) {
	t.Run("one", func(t *testing.T) {
		k := summers(t)
		k.KillAlways = true
		call(t, k, "435", "summer", "sum", "30", "1")
		call(t, k, "30", "peer", "getAsked")
		call(t, k, "1", "summer", "getDone")
		if n := k.Records("summer"); n != 0 {
			t.Errorf("%d records are left", n)
		}
	})
	t.Run("two", func(t *testing.T) {
		k := summers(t)
		k.KillAlways = true
		a, b := k.Send("summer", "sum", "30", "1"), k.Send("summer", "sum", "30", "10")
		k.Run()
		answer(t, "435", a)
		answer(t, "4350", b)
		call(t, k, "60", "peer", "getAsked")
		call(t, k, "2", "summer", "getDone")
	})
	t.Run("each", func(t *testing.T) { // one kill, at each point in turn
		for at := range 70 {
			k := summers(t)
			a := k.Send("summer", "sum", "30", "1")
			for n := 0; k.Step(); n++ {
				if n == at {
					k.Kill("summer")
				}
			}
			answer(t, "435", a)
			call(t, k, "30", "peer", "getAsked")
		}
	})
}

// Odd has methods whose behaviour does not follow from the deliveries.
type Odd struct {
	vat.Durable
	Peer vat.Ref
	Made []*Thing
}

type Thing struct {
	vat.Durable
	Name string
}

func NewOdd() *Odd { return &Odd{} }

func (o *Odd) Bootstrap(vats map[string]vat.Ref) { o.Peer = vats["peer"] }

// tell sends a text and waits for the answer, so that the past of the turn matters.
func (o *Odd) tell(ctx context.Context, text string) error {
	o.Made = append(o.Made, &Thing{Name: "made"})
	_, err := vat.Call[string](ctx, o.Peer, "echo", text)
	return err
}

func (o *Odd) Map(ctx context.Context) error {
	m := map[string]int{}
	for i := range 50 {
		m[fmt.Sprint("key ", i)] = i
	}
	var text []string
	for key := range m {
		text = append(text, key)
	}
	return o.tell(ctx, strings.Join(text, ", "))
}

func (o *Odd) Clock(ctx context.Context) error { return o.tell(ctx, "at "+time.Now().String()) }

func (o *Odd) Dice(ctx context.Context) error { return o.tell(ctx, fmt.Sprint("dice ", rand.Uint64())) }

func (o *Odd) Goroutine(ctx context.Context) error {
	var mu sync.Mutex
	var text []string
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range 4 {
		all.Go(func() {
			<-start
			mu.Lock()
			defer mu.Unlock()
			text = append(text, fmt.Sprint(i))
		})
	}
	close(start)
	all.Wait()
	text = append(text, fmt.Sprint(time.Now().UnixNano())) // should the scheduler repeat itself
	return o.tell(ctx, "goroutine "+strings.Join(text, " "))
}

var calls int

func (o *Odd) Variable(ctx context.Context) error {
	calls++
	return o.tell(ctx, fmt.Sprint("call ", calls))
}

func (o *Odd) Sound(ctx context.Context) (int, error) {
	err := o.tell(ctx, fmt.Sprint("sound ", vat.Now(ctx).UnixMilli(), vat.Rand(ctx).Uint64()))
	return len(o.Made), err
}

// Version tells which program it is in.
func (o *Odd) Version(ctx context.Context) error { return o.tell(ctx, "version "+version) }

var version = "one"

func odds(t testing.TB) (*vattest.Kernel, *[]string) {
	t.Helper()
	k := vattest.New(t, vat.Modules{"odd": NewOdd, "peer": NewPeer})
	var divergences []string
	k.OnDivergence = func(name string, err error) { divergences = append(divergences, name+": "+err.Error()) }
	if err := k.Launch("odd", vattest.Vat{Name: "odd", Module: "odd"}, vattest.Vat{Name: "peer", Module: "peer"}); err != nil {
		t.Fatal(err)
	}
	return k, &divergences
}

// A forbidden dependency of a vat is found as soon as its worker dies. Its author gets the difference, its
// callers VAT_RESTARTED, and the vat goes on from its store.
func TestDivergence(t *testing.T) {
	for _, c := range []struct{ method, text string }{
		{"map", "key "}, {"clock", "at 20"}, {"dice", "dice "}, {"goroutine", "goroutine "}, {"variable", "call "},
	} {
		t.Run(c.method, func(t *testing.T) {
			k, divergences := odds(t)
			k.KillAlways = true
			call(t, k, "1", "odd", "sound")
			call(t, k, "error: [KERNEL:VAT_RESTARTED] vat v1 was restarted and has lost what would have answered", "odd", c.method)
			wantDivergence(t, *divergences, c.text, c.text)
			// Committed state stays: the Thing, and the numbers that were used. (A number that is used twice is
			// a fault.)
			call(t, k, "3", "odd", "sound")
			if n := len(*divergences); n != 1 {
				t.Errorf("%d divergences", n)
			}
			store := k.Store("odd")
			for _, row := range []string{"o.o+d2/1 =", "o.o+d2/2 =", "o.o+d2/3 ="} {
				if !strings.Contains(store, row) {
					t.Errorf("no row %s in\n%s", row, store)
				}
			}
		})
	}
}

func TestDivergenceOfRebuiltProgram(t *testing.T) {
	defer func() { version = "one" }()
	k, divergences := odds(t)
	a := k.Send("odd", "version")
	k.Step()
	version = "two"
	k.Rebuild(vat.Modules{"odd": NewOdd, "peer": NewPeer})
	k.Run()
	answer(t, "error: [KERNEL:VAT_RESTARTED] vat v1 was restarted and has lost what would have answered", a)
	wantDivergence(t, *divergences, "version one", "version two")
	call(t, k, "2", "odd", "sound")
	// A vat at rest has no past, and does not mind.
	version = "three"
	k.Rebuild(vat.Modules{"odd": NewOdd, "peer": NewPeer})
	call(t, k, `{"$undefined":true}`, "odd", "version")
	if n := len(*divergences); n != 1 {
		t.Errorf("%d divergences", n)
	}
}

func wantDivergence(t *testing.T, got []string, recorded, came string) {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("got %d divergences, want 1: %q", len(got), got)
	}
	was, is, ok := strings.Cut(got[0], ", and replayed with ")
	if !ok || !strings.HasPrefix(was, "odd: delivery ") || !strings.Contains(was, "was recorded with syscall 0: Send ") ||
		!strings.Contains(was, recorded) || !strings.Contains(is, came) || is == "" {
		t.Errorf("got %s", got[0])
	}
}
