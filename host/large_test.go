package host_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/internal/torture"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/workers/inproc"
)

// potter makes objects that stay in the kernel: the answers of the calls hold them.
type potter struct {
	vat.Durable
	Calls int
}

type pot struct{ vat.Durable }

// Make returns n new objects.
func (m *potter) Make(n int) []*pot {
	m.Calls++
	out := make([]*pot, n)
	for i := range out {
		out[i] = &pot{}
	}
	return out
}

// counted counts the rows that are read of a store.
type counted struct {
	storage.Store
	reads atomic.Int64
}

func (c *counted) Get(key string) ([]byte, bool, error) {
	c.reads.Add(1)
	return c.Store.Get(key)
}

func (c *counted) Next(prefix, after string) (string, []byte, bool, error) {
	c.reads.Add(1)
	return c.Store.Next(prefix, after)
}

// largeState makes a state with about so many objects, and returns how many rows a start reads of it, and how many it has.
func largeState(t *testing.T, objects int) (reads int64, rows int) {
	t.Helper()
	const most = 500 // of one answer
	workers := func() *inproc.Starter {
		return inproc.New(inproc.Config{Program: programOf(t, vat.Modules{"maker": func() *potter { return &potter{} }})})
	}
	mem := storage.NewMem()
	k := start(t, mem, func(c *host.Config) { c.Workers = workers() })
	cfg, err := cluster.Parse("maker.json", []byte(`{"bootstrap": "maker", "vats": {"maker": {"module": "maker"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	sub, err := k.Launch(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for n := range objects / most {
		a, err := send(t.Context(), k, fmt.Sprint("make ", n), string(sub.ID), "make", float64(most))
		if err != nil || a.Rejected {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	k.end(t)
	for _, row := range mem.Snapshot() {
		if strings.HasPrefix(row.Key, "o.") {
			rows++
		}
	}
	if err := mem.Reopen(); err != nil {
		t.Fatal(err)
	}
	store := &counted{Store: mem}
	again := start(t, store, func(c *host.Config) { c.Workers = workers() })
	if a, err := send(t.Context(), again, "again", string(sub.ID), "make", 1.0); err != nil || a.Rejected {
		t.Fatalf("%+v, %v", a, err)
	}
	reads = store.reads.Load()
	again.end(t)
	return reads, rows
}

// A start, and the first message after it, read what they have to do, and not the state: about as many rows with twenty thousand
// objects as with a thousand.
func TestAStartDoesNotReadTheState(t *testing.T) {
	t.Parallel()
	few, fewRows := largeState(t, 1000)
	many, manyRows := largeState(t, 20_000)
	t.Logf("%d objects: %d reads; %d objects: %d reads", fewRows, few, manyRows, many)
	if fewRows < 1000 || manyRows < 20_000 {
		t.Errorf("the states have %d and %d objects", fewRows, manyRows)
	}
	if many > few+50 {
		t.Errorf("a start reads %d rows with %d objects, and %d with %d", many, manyRows, few, fewRows)
	}
}

// Of more vats than workers may be idle, those that were used least recently have none; each starts another at its next message,
// and has its state.
func TestIdleWorkersAreFewerThanVats(t *testing.T) {
	t.Parallel()
	pagesOut(t, 25, 4)
}

// The same with as many vats as a kernel is meant for, and the number of idle workers that it has by default.
func TestTortureLarge(t *testing.T) {
	if !torture.Long() {
		t.Skip("takes minutes: make torture")
	}
	const vats = 4000
	t.Cleanup(func() { torture.Report(t, torture.Row{Part: "Large", Scenarios: 1, Cranks: 3 * vats}) })
	pagesOut(t, vats, limits.IdleWorkers)
}

func pagesOut(t *testing.T, vats, idle int) {
	k := start(t, storage.NewMem(), func(c *host.Config) {
		c.MaxWorkers = idle
	})
	var subs []kernel.Subcluster
	for range vats {
		subs = append(subs, launch(t, k, "hello"))
	}
	for round := range 2 {
		for i, sub := range subs {
			a, err := send(t.Context(), k, fmt.Sprint("round ", round, " ", i), string(sub.ID), "hello", "you")
			if want := fmt.Sprintf(`#"hello, you; you are number %d"`, round+1); err != nil || a.Value.Body != want {
				t.Fatalf("got %+v, %v; want %s", a, err, want)
			}
		}
	}
	list, err := k.Vats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	running := map[kernel.VatID]bool{}
	for _, v := range list {
		if v.Pid != 0 {
			running[v.ID] = true
		}
	}
	// Some that are asked for what they no longer hold are stopped for the next ones.
	const asked = 8
	if len(list) != vats || len(running) > idle+asked {
		t.Errorf("%d of %d vats have a worker, want %d", len(running), len(list), idle)
	}
	for _, sub := range subs[:vats-idle-asked] {
		if running[sub.Bootstrap] {
			t.Errorf("%s has a worker, and was used earlier than most", sub.Bootstrap)
		}
	}
	k.end(t)
}

// sitter waits for what never comes: it does not rest.
type sitter struct{ vat.Durable }

func (sitter) Sit(ctx context.Context) {
	p, _ := vat.NewPromise(ctx)
	_, _ = vat.Await[any](ctx, p)
}

func (sitter) Hello() string { return "hello" }

// stops counts the workers that make room for others.
type stops struct {
	slog.Handler
	n *atomic.Int64
}

func (s stops) Enabled(context.Context, slog.Level) bool { return true }
func (s stops) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s stops) WithGroup(string) slog.Handler            { return s }

func (s stops) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "idle worker stopped" {
		s.n.Add(1)
	}
	return nil
}

// Vats that never rest, however many, and however long ago they were used, do not keep the workers of others.
func TestWorkersOfVatsThatNeverRestAreInNobodysWay(t *testing.T) {
	t.Parallel()
	const sitting, others = 9, 8
	var n atomic.Int64
	k := start(t, storage.NewMem(), func(c *host.Config) {
		c.Workers = inproc.New(inproc.Config{Program: programOf(t, vat.Modules{"sitter": func() *sitter { return &sitter{} }})})
		c.MaxWorkers, c.Logger = 2, slog.New(stops{slog.DiscardHandler, &n})
	})
	cfg, err := cluster.Parse("sitter.json", []byte(`{"bootstrap": "sitter", "vats": {"sitter": {"module": "sitter"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	var subs []kernel.Subcluster
	for i := range sitting + others {
		sub, err := k.Launch(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if i < sitting {
			body := kernel.Data{Body: `#["sit",[]]`}
			if _, err := k.Call(t.Context(), "", fmt.Sprint("sit ", i), string(sub.ID), body, false); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if len(subs) == 0 {
			n.Store(0)
		}
		subs = append(subs, sub)
	}
	const rounds = 5
	for round := range rounds {
		for i, sub := range subs {
			if a, err := send(t.Context(), k, fmt.Sprint(round, "-", i), string(sub.ID), "hello"); err != nil || a.Rejected {
				t.Fatalf("got %+v, %v", a, err)
			}
		}
	}
	if n.Load() < rounds {
		t.Errorf("%d workers have made room for others", n.Load())
	}
	k.end(t)
}
