package host_test

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ocapkernel.dev/host"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
	"ocapkernel.dev/workers/inproc"
)

// questions notes when each vat was asked for its dead, and how.
type questions struct {
	sync.Mutex
	of map[string][]string
}

func (q *questions) get(vat string) []string {
	q.Lock()
	defer q.Unlock()
	return q.of[vat]
}

// asked is a vat of few words, which keeps what it is given.
type asked struct {
	name  string
	noted *questions
}

func (a asked) Deliver(d wire.Deliver) (done wire.Done) {
	switch d := d.Delivery.(type) {
	case wire.Call:
		if r := d.Message.Result; r != "" {
			done.Syscalls = append(done.Syscalls, wire.Resolve{Resolutions: []wire.Resolution{{Promise: r, Value: wire.CapData{Body: "#null"}}}})
		}
	case wire.BringOutYourDead:
		a.noted.Lock()
		defer a.noted.Unlock()
		a.noted.of[a.name] = append(a.noted.of[a.name], fmt.Sprint(d.Known, d.More, d.Bare))
	}
	return done
}

// A vat whose worker is to make room for another is asked first, though it has not been idle for long.
func TestVatIsAskedForItsDeadBeforeItIsPagedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noted := &questions{of: map[string][]string{}}
		program := worker.Program{Modules: []string{"asked"}, New: func(s wire.Start, _ worker.Store, _ *slog.Logger) (worker.Vat, error) {
			return asked{s.Name, noted}, nil
		}}
		w := newWorld(t, 1, program, true)
		w.change = func(c *host.Config) { c.MaxWorkers = 1 }
		w.live(func() {
			w.launch(`{"bootstrap": "a", "vats": {"a": {"module": "asked"}, "b": {"module": "asked"}}}`)
			w.must("before", "s1", "go")
			w.vats.Signal("v2")
			w.must("after", "s1/b", "go") // starts a worker
			<-time.After(500 * time.Millisecond)
			if got := fmt.Sprint(noted.get("a")); got != "[[o-1] false false]" {
				t.Errorf("a was asked %s", got)
			}
		})
	})
}

// A vat that has been idle for a second is asked for the references that it no longer holds, once; a worker of version 1 of
// the protocol, which could not read the question, goes on without it.
func TestIdleVatIsAskedForItsDead(t *testing.T) {
	for version, want := range map[int]string{wire.Version: "[[o-1] false false]", wire.OldestVersion: "[]"} {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				noted := &questions{of: map[string][]string{}}
				program := worker.Program{Modules: []string{"asked"}, New: func(s wire.Start, _ worker.Store, _ *slog.Logger) (worker.Vat, error) {
					return asked{s.Name, noted}, nil
				}}
				w := newWorld(t, 1, program, true)
				w.change = func(c *host.Config) { c.Workers = inproc.New(inproc.Config{Program: program, Version: version}) }
				w.live(func() {
					w.launch(`{"bootstrap": "a", "vats": {"a": {"module": "asked"}, "b": {"module": "asked"}}}`)
					for i := range 8 { // it is not idle
						w.must(fmt.Sprint("t", i), "s1", "go")
						<-time.After(300 * time.Millisecond)
					}
					if got := noted.get("a"); len(got) > 0 {
						t.Errorf("asked while it was busy: %v", got)
					}
					<-time.After(2 * time.Second)
					w.must("later", "s1", "go")
					<-time.After(time.Minute)
					if got := fmt.Sprint(noted.get("a")); got != want {
						t.Errorf("a was asked %s, want %s", got, want)
					}
					if got := noted.get("b"); len(got) > 0 {
						t.Errorf("b, which was given nothing, was asked %v", got)
					}
					w.must("last", "s1", "go")
				})
			})
		})
	}
}

// A collection ends also where a vat cannot be asked by name, and says which one it is.
func TestCollectionEnds(t *testing.T) {
	for name, c := range map[string]struct {
		version int
		busy    string
	}{
		"the latest version": {wire.Version, "[]"},
		"version 1":          {wire.OldestVersion, "[v1]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				program := worker.Program{Modules: []string{"asked"}, New: func(s wire.Start, _ worker.Store, _ *slog.Logger) (worker.Vat, error) {
					return asked{s.Name, &questions{of: map[string][]string{}}}, nil
				}}
				w := newWorld(t, 1, program, true)
				w.change = func(h *host.Config) { h.Workers = inproc.New(inproc.Config{Program: program, Version: c.version}) }
				w.live(func() {
					w.launch(`{"bootstrap": "a", "vats": {"a": {"module": "asked", "reapInterval": 0}, "b": {"module": "asked"}}}`)
					w.must("go", "s1", "go")
					var got host.Collected
					if err := w.until(func(k *host.Shell) (err error) { got, err = k.Collect(w.ctx, ""); return err }); err != nil {
						t.Fatal(err)
					}
					if fmt.Sprint(got.Asked) != "[v1 v2]" || fmt.Sprint(got.Busy) != c.busy {
						t.Errorf("asked %v, busy %v; want [v1 v2] and %s", got.Asked, got.Busy, c.busy)
					}
				})
			})
		})
	}
}
