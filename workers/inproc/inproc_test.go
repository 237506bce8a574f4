package inproc_test

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
	"ocapkernel.dev/workers"
	"ocapkernel.dev/workers/inproc"
)

// script is a vat whose behaviour is named by its module.
type script struct {
	do    string
	store worker.Store
	heard *[]string
}

// hearing guards what scripts hear: the code of a life may end after the next life has begun.
var hearing sync.Mutex

func (s *script) hears(words ...string) {
	hearing.Lock()
	defer hearing.Unlock()
	*s.heard = append(*s.heard, words...)
}

func (s *script) Deliver(d wire.Deliver) wire.Done {
	switch s.do {
	case "read":
		value, found, err := s.store.Get("key")
		s.hears(string(value), map[bool]string{true: "found", false: "absent"}[found])
		if err != nil {
			s.hears(err.Error())
		}
	case "panic":
		panic("a reason")
	case "sleep":
		<-time.After(time.Minute)
	case "many":
		return wire.Done{Syscalls: []wire.Syscall{wire.StoreDelete{Key: "a"}, wire.StoreDelete{Key: "b"}, wire.StoreDelete{Key: "c"}}}
	}
	return wire.Done{}
}

func (s *script) Close() { s.hears("closed") }

// house starts one worker that does something, and returns its events.
func house(t *testing.T, do string, heard *[]string) (workers.Worker, chan workers.Event, *inproc.Starter) {
	t.Helper()
	s := inproc.New(inproc.Config{Program: worker.Program{
		New: func(start wire.Start, store worker.Store, _ *slog.Logger) (worker.Vat, error) {
			if start.Module == "none" {
				return nil, errors.New("there is no such module")
			}
			return &script{do: start.Module, store: store, heard: heard}, nil
		},
	}})
	t.Cleanup(func() {
		if err := s.Close(t.Context()); err != nil && !strings.Contains(err.Error(), "canceled") {
			t.Error(err)
		}
	})
	events := make(chan workers.Event, 16)
	w := s.Start(workers.Spec{DeliveryTime: time.Second, Start: wire.Start{Vat: "v1", Module: do, MaxSyscalls: 2}}, events)
	return w, events, s
}

func want[E workers.Event](t *testing.T, events chan workers.Event) E {
	t.Helper()
	select {
	case e := <-events:
		got, ok := e.(E)
		if !ok {
			t.Fatalf("got %T %+v", e, e)
		}
		return got
	case <-time.After(time.Hour):
		t.Fatal("nothing is said")
	}
	panic("not reached")
}

var delivery = wire.Deliver{Number: 7, Delivery: wire.Call{Target: "o+0", Message: wire.Message{MethArgs: wire.CapData{Body: "#[]"}}}}

func deliver(t *testing.T, w workers.Worker) {
	t.Helper()
	if err := w.Deliver(delivery); err != nil {
		t.Fatal(err)
	}
}

func TestReadsCrossTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []string
		w, events, s := house(t, "read", &heard)
		want[workers.Ready](t, events)
		deliver(t, w)
		if got := want[workers.Read](t, events).Frame; got != wire.UpFrame(wire.Get{Key: "key"}) {
			t.Errorf("got %+v", got)
		}
		<-time.After(time.Minute) // the wait is not the worker's time
		if err := w.Reply(wire.Row{Key: "key"}); err != nil {
			t.Fatal(err)
		}
		if got := want[workers.Done](t, events); got.Done.Number != 7 || got.Worker != w {
			t.Errorf("got %+v", got)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"", "absent", "closed"}, heard); diff != "" {
			t.Error(diff)
		}
	})
}

func TestEnds(t *testing.T) {
	for do, tc := range map[string]struct {
		cause  workers.Cause
		detail string
		end    func(w workers.Worker, s *inproc.Starter)
	}{
		"panic": {workers.CauseCrash, "panic: a reason", nil},
		"sleep": {workers.CauseDeadline, "a delivery took longer than 1s", nil},
		"read":  {workers.CauseKilled, "signal: killed", func(_ workers.Worker, s *inproc.Starter) { s.Signal("v1") }},
		"idle":  {workers.CauseStopped, "stopped", func(w workers.Worker, _ *inproc.Starter) { w.Stop() }},
	} {
		t.Run(do, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var heard []string
				w, events, s := house(t, do, &heard)
				want[workers.Ready](t, events)
				if do != "idle" {
					deliver(t, w)
				}
				if do == "read" {
					want[workers.Read](t, events)
				}
				if tc.end != nil {
					tc.end(w, s)
				}
				e := want[workers.Exited](t, events)
				if e.Cause != tc.cause || e.Detail != tc.detail || e.Worker != w {
					t.Errorf("got %+v", e)
				}
				deliver(t, w) // to nobody
				<-time.After(2 * time.Minute)
				if len(events) > 0 {
					t.Errorf("a dead worker says %+v", <-events)
				}
				if live := s.Live(); len(live) != 0 {
					t.Errorf("%v live", live)
				}
			})
		})
	}
}

// When a signal was sent, the death is told already, and the worker is not among the living.
func TestSignalReturnsWhenTheDeathIsTold(t *testing.T) {
	for _, do := range []string{"idle", "read"} {
		var heard []string
		w, events, s := house(t, do, &heard)
		want[workers.Ready](t, events)
		if do == "read" {
			deliver(t, w)
			want[workers.Read](t, events)
		}
		s.Signal("v1")
		if n := len(events); n != 1 || len(s.Live()) > 0 {
			t.Fatalf("%s: %d events, and %v live", do, n, s.Live())
		}
		want[workers.Exited](t, events)
	}
}

// A worker that is started when another one has ended is told from it.
func TestLivesFollowEachOther(t *testing.T) {
	var heard []string
	w, events, s := house(t, "idle", &heard)
	for range 20 {
		want[workers.Ready](t, events)
		deliver(t, w)
		if e := want[workers.Done](t, events); e.Worker != w {
			t.Fatal("an event of another life")
		}
		s.Signal("v1")
		if e := want[workers.Exited](t, events); e.Worker != w {
			t.Fatal("the end of another life")
		}
		w = s.Start(workers.Spec{Start: wire.Start{Vat: "v1", Module: "idle"}}, events)
	}
	want[workers.Ready](t, events)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := s.Start(workers.Spec{Start: wire.Start{Vat: "v2", Module: "idle"}}, events); w.Ping(t.Context()) == nil {
		t.Error("a starter that is closed has a worker that is well")
	}
	if n := len(heard); n != 21 {
		t.Errorf("the code of %d vats has ended, want 21", n)
	}
}

func TestWorkerThatCannotBeItsVat(t *testing.T) {
	var heard []string
	_, events, _ := house(t, "none", &heard)
	if e := want[workers.Exited](t, events); e.Cause != workers.CauseStart || e.Detail != "there is no such module" {
		t.Errorf("got %+v", e)
	}
}

// A crank above its limit ends as a fault that the vat is told of, as in a process.
func TestLimitOfSyscalls(t *testing.T) {
	var heard []string
	w, events, _ := house(t, "many", &heard)
	want[workers.Ready](t, events)
	deliver(t, w)
	if e := want[workers.Done](t, events); e.Done.Outcome.Fault != "crank makes 3 syscalls, the limit is 2" {
		t.Errorf("got %+v", e)
	}
}
