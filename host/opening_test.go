package host_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/storage"
)

// slowKind makes objects that take as long to open as the test wants.
type slowKind struct {
	slow   atomic.Bool
	begun  chan struct{} // an attempt that is slow has begun
	gate   chan error    // how it ends
	opened atomic.Int64
	closed atomic.Int64
}

func newSlowKind() *slowKind {
	return &slowKind{begun: make(chan struct{}, 100), gate: make(chan error, 100)}
}

func (s *slowKind) kind() service.Kind {
	return service.Kind{Traits: reads, Open: func(service.Opening) (service.Object, error) {
		if s.slow.Load() {
			s.begun <- struct{}{}
			if err := <-s.gate; err != nil {
				return nil, err
			}
		}
		s.opened.Add(1)
		return &closing{of: s}, nil
	}}
}

// closing answers the calls of a host with their number, and counts that it is closed.
type closing struct {
	lines
	of   *slowKind
	once sync.Once
}

func (c *closing) Close() error {
	c.once.Do(func() { c.of.closed.Add(1) })
	return nil
}

// maker is a service whose make() answers with an object of the kind "slow".
type maker struct{}

func (maker) Begin(_ context.Context, _ service.Call, reply func(service.Reply)) {
	reply(service.Reply{
		Value:   service.Data{Body: `#"$0.Alleged: made"`, Slots: []string{"new0"}},
		Exports: []service.Export{{Kind: "slow"}},
	})
}

// parseSlow reads a cluster of one vat that has a channel and the service maker.
func parseSlow(t *testing.T) *cluster.Config {
	t.Helper()
	cfg, err := cluster.Parse("/t/repl.json", []byte(`{"bootstrap":"a","vats":{"a":{"module":"hello"}},"io":{"console":{"type":"console"}},"services":["maker"]}`))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func (s *slowKind) config(c *host.Config) {
	c.Kinds = map[string]service.Kind{host.KindIO: s.kind(), "slow": s.kind()}
	c.Services = map[string]service.Registration{"maker": {Object: maker{}}}
}

// refOf finds a service object by a part of its name.
func refOf(t *testing.T, k *running, name string) string {
	t.Helper()
	list, err := k.ServiceList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if strings.Contains(s.Name, name) {
			return string(s.KRef)
		}
	}
	t.Fatalf("there is no service object %s", name)
	return ""
}

// answersAtOnce fails the test if the loop does not answer while something is opened.
func answersAtOnce(t *testing.T, k *running) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 3 {
		if _, err := k.Status(ctx); err != nil {
			t.Fatalf("while an object is opened the kernel does not answer: %v", err)
		}
	}
}

// slowStarts bring a kernel to where an object is being opened, each for another reason. They return the reference
// of the object.
func slowStarts() map[string]func(t *testing.T, s *slowKind, mem *storage.Mem) (*running, string) {
	type begin = func(t *testing.T, s *slowKind, mem *storage.Mem) (*running, string)
	var restarted begin = func(t *testing.T, s *slowKind, mem *storage.Mem) (*running, string) {
		k := start(t, mem, s.config)
		if _, err := k.Launch(t.Context(), parseSlow(t)); err != nil {
			t.Fatal(err)
		}
		k.end(t)
		if err := mem.Reopen(); err != nil {
			t.Fatal(err)
		}
		s.opened.Store(0)
		s.closed.Store(0)
		s.slow.Store(true)
		k = start(t, mem, s.config)
		<-s.begun
		return k, refOf(t, k, "io:s1")
	}
	return map[string]begin{
		"a launch": func(t *testing.T, s *slowKind, mem *storage.Mem) (*running, string) {
			k := start(t, mem, s.config)
			s.slow.Store(true)
			cfg := parseSlow(t)
			go func() { _, _ = k.Launch(context.Background(), cfg) }() // it ends in some way with the kernel
			<-s.begun
			return k, refOf(t, k, "io:s1")
		},
		"a start of the kernel": restarted,
		"a reply that exports it": func(t *testing.T, s *slowKind, mem *storage.Mem) (*running, string) {
			k := start(t, mem, s.config)
			if _, err := k.Launch(t.Context(), parseSlow(t)); err != nil {
				t.Fatal(err)
			}
			s.opened.Store(0)
			s.slow.Store(true)
			// The vat gets its reference, since the object is there from the commit on.
			a, err := send(t.Context(), k, "make", refOf(t, k, "maker"), "make")
			if err != nil || a.Rejected || len(a.Value.Slots) != 1 {
				t.Fatalf("make gave %+v, %v", a, err)
			}
			<-s.begun
			return k, string(a.Value.Slots[0])
		},
		"another attempt after one that failed": func(t *testing.T, s *slowKind, mem *storage.Mem) (*running, string) {
			s.gate <- errors.New("the address is taken")
			k, ref := restarted(t, s, mem)
			a, err := k.Call(t.Context(), "", "zero", ref, kernel.Data{Body: `#["read",[]]`}, false)
			if err != nil || !a.Pending {
				t.Fatalf("a read got %+v, %v, want that it waits", a, err)
			}
			<-s.begun
			return k, ref
		},
	}
}

func TestAnObjectThatIsOpenedForLongHoldsUpNobody(t *testing.T) {
	for name, begin := range slowStarts() {
		t.Run(name, func(t *testing.T) {
			s := newSlowKind()
			k, ref := begin(t, s, storage.NewMem())
			answersAtOnce(t, k)
			if name == "a launch" { // its channel has no holder yet
				s.gate <- nil
				k.end(t)
				return
			}
			// Calls that come meanwhile wait, and are performed in their order.
			for _, id := range []string{"one", "two", "three"} {
				a, err := k.Call(t.Context(), "", id, ref, kernel.Data{Body: `#["read",[]]`}, false)
				if err != nil || !a.Pending {
					t.Fatalf("a read got %+v, %v, want that it waits", a, err)
				}
			}
			answersAtOnce(t, k)
			s.gate <- nil
			got := ""
			for _, id := range []string{"one", "two", "three"} {
				a, err := k.Await(t.Context(), "", id)
				if err != nil {
					t.Fatal(err)
				}
				got += a.Value.Body
			}
			if got != "#1#2#3" && got != "#2#3#4" { // behind the one that was there
				t.Errorf("the reads got %s, want three numbers in order", got)
			}
			k.end(t)
		})
	}
}

func TestASubclusterThatEndsWhileItsObjectIsOpenedClosesIt(t *testing.T) {
	for name, begin := range slowStarts() {
		if name == "a reply that exports it" {
			continue // the host owns it
		}
		t.Run(name, func(t *testing.T) {
			s := newSlowKind()
			k, _ := begin(t, s, storage.NewMem())
			before := s.closed.Load()
			ended := make(chan error, 1)
			go func() { ended <- k.Terminate(context.Background(), "s1") }()
			for { // until nothing of it is in the state
				st, err := k.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if len(st.Subclusters) == 0 {
					break
				}
			}
			answersAtOnce(t, k)
			select {
			case err := <-ended:
				t.Fatalf("the subcluster is said to be gone, with %v, and its object is being opened", err)
			default:
			}
			s.gate <- nil
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if s.closed.Load() == before {
				t.Error("the object was opened, and not closed")
			}
			k.end(t)
			if opened, closed := s.opened.Load(), s.closed.Load(); closed < opened {
				t.Errorf("of %d objects %d were closed", opened, closed)
			}
		})
	}
}

func TestAKernelThatStopsWhileAnObjectIsOpenedClosesIt(t *testing.T) {
	for name, begin := range slowStarts() {
		t.Run(name, func(t *testing.T) {
			s := newSlowKind()
			k, _ := begin(t, s, storage.NewMem())
			k.stop()
			s.gate <- nil
			if err := <-k.ended; err != nil {
				t.Fatal(err)
			}
			if opened, closed := s.opened.Load(), s.closed.Load(); closed < opened {
				t.Errorf("of %d objects %d were closed", opened, closed)
			}
		})
	}
}

func TestALaunchFailsWithTheChannelThatDoesNotOpen(t *testing.T) {
	s := newSlowKind()
	s.slow.Store(true)
	k := start(t, storage.NewMem(), s.config)
	s.gate <- errors.New("no such host")
	if _, err := k.Launch(t.Context(), parseSlow(t)); err == nil || !strings.Contains(err.Error(), "io:s1:console: no such host") {
		t.Errorf("got %v, want why the channel cannot be made", err)
	}
	k.end(t)
}

// goneKinds has a kind whose objects end with the process, as connections do.
func goneKinds() map[string]service.Kind {
	return map[string]service.Kind{
		host.KindIO: {Traits: reads, Open: func(service.Opening) (service.Object, error) { return &lines{}, nil }},
		"conn":      {Traits: closes, Lost: errcode.ConnectionLost, Why: "the connection ended with the kernel that had it"},
	}
}

// connector is a service whose calls answer with an object that ends with the process.
type connector struct{}

func (connector) Begin(_ context.Context, _ service.Call, reply func(service.Reply)) {
	reply(service.Reply{
		Value:   service.Data{Body: `#"$0.Alleged: conn"`, Slots: []string{"new0"}},
		Exports: []service.Export{{Kind: "conn", Object: &lines{}}},
	})
}

func TestALoopThatReadsALostConnectionIsSlowedDown(t *testing.T) {
	mem := storage.NewMem()
	config := func(c *host.Config) {
		c.Kinds = goneKinds()
		c.Services = map[string]service.Registration{"maker": {Object: connector{}}}
	}
	k := start(t, mem, config)
	if _, err := k.Launch(t.Context(), parseSlow(t)); err != nil {
		t.Fatal(err)
	}
	a, err := send(t.Context(), k, "make", refOf(t, k, "maker"), "make")
	if err != nil || len(a.Value.Slots) != 1 {
		t.Fatalf("make gave %+v, %v", a, err)
	}
	conn := string(a.Value.Slots[0])
	k.end(t)
	if err := mem.Reopen(); err != nil {
		t.Fatal(err)
	}
	k = start(t, mem, config)
	begin := time.Now()
	for _, id := range []string{"a", "b", "c", "d"} {
		a, err := send(t.Context(), k, id, conn, "read")
		if err != nil || !strings.Contains(a.Value.Body, "CONNECTION_LOST") {
			t.Fatalf("a read of a lost connection got %+v, %v", a, err)
		}
	}
	// 100 and 200 ms, and 400 ms.
	if took := time.Since(begin); took < 700*time.Millisecond {
		t.Errorf("four reads were rejected within %v", took)
	}
	k.end(t)
}
