package model_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/vat"
)

// Programs in which the system and the model once differed, made smaller, and some that are drawn rarely.
func TestFoundPrograms(t *testing.T) {
	for name, p := range map[string]program{
		// A thing that keeps itself goes when the vat looks for circles, which is not at once.
		"a thing that keeps itself alone": {Commands: []command{
			{Do: "send", Ops: []op{{Do: "send", Ref: "root", ID: 1, Ops: []op{{Do: "send", Ref: "fb", ID: 2, Ops: []op{{Do: "put", Key: "ma", Ref: "self"}}}, {Do: "drop", Key: "fb"}}}}},
			{Do: "send", Ops: []op{{Do: "new", Key: "fb", ID: 3}}},
			{Do: "collect"},
		}},
		// The loop stood still when a commit of a driven kernel failed.
		"a kernel that dies in a call": {Commands: []command{
			{Do: "send"}, {Do: "step", N: 1}, {Do: "send"}, {Do: "send"}, {Do: "fail", N: 4}, {Do: "send", Target: 2}, {Do: "collect"},
		}},
		// A deleted object that its vat mentions again has another name.
		"a deleted thing is answered": {Commands: []command{
			{Do: "send", Ops: []op{{Do: "new", Key: "fa", ID: 1}}},
			{Do: "send", Ops: []op{{Do: "put", Key: "mb", Ref: "fa"}}},
			{Do: "collect"},
			{Do: "send", Ops: []op{{Do: "delete", Ref: "fa"}}},
			{Do: "send", Ops: []op{{Do: "answer", Ref: "mb"}}},
			{Do: "collect"},
		}},
		// Only a continuation that waits leads to a thing, which keeps itself: a search for circles leaves it.
		"a thing that waits": {Commands: []command{
			{Do: "send", Ops: []op{{Do: "new", Key: "mb", ID: 1}}},
			{Do: "send", Target: 1, Args: []int{0}, Ops: []op{{Do: "promise", Key: "fa", ID: 2}, {Do: "send", Ref: "a0", ID: 3, Proms: []string{"open fa"}, Ops: []op{
				{Do: "send", Ref: "mb", ID: 4, Proms: []string{"p0"}, Ops: []op{{Do: "put", Key: "ma", Ref: "self"}, {Do: "when", Ref: "p0", Key: "fa", ID: 5}}},
				{Do: "drop", Key: "mb"},
			}}}},
			{Do: "sweep"},
			{Do: "send", Target: 1, Args: []int{0}, Ops: []op{{Do: "settle", Key: "fa", Ref: "a0"}}},
			{Do: "collect"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p.ReapInterval = range []int{0, 1, 3} {
				if _, err := inBubble(t, p); err != nil {
					t.Errorf("reapInterval %d: %v", p.ReapInterval, err)
				}
			}
		})
	}
}

// Promises that follow each other in a circle of which a message is a part are never settled: what waits for them waits until
// its vat, or one of the others, ends. This is a limit (docs/caveats.md). The end of a vat leaves nothing of it.
func TestPromisesThatFollowEachOtherWait(t *testing.T) {
	for _, to := range []string{"fb", "self"} {
		synctest.Test(t, func(t *testing.T) {
			modules, err := vat.Program(modules())
			if err != nil {
				t.Fatal(err)
			}
			s, err := newSystem(modules)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.stop(); err != nil {
					t.Error(err)
				}
			}()
			if err := s.launch(0, "a", "b"); err != nil {
				t.Fatal(err)
			}
			o, err := s.ask("circle", s.roots["a"], "act", 1, lower([]op{
				{Do: "promise", Key: "fa", ID: 2},
				{Do: "send", Ref: to, ID: 3, Proms: []string{"open fa"}, Ops: []op{{Do: "answer", Ref: "p0"}}},
				{Do: "when", Ref: "last", ID: 4, Key: "ma"},
				{Do: "settle", Key: "fa", Ref: "last"},
			}), []any{}, []any{}, nil)
			if err != nil || o.reason != "" {
				t.Fatalf("got %+v, %v", o, err)
			}
			log, err := s.ask("log", s.roots["a"], "drain")
			if err != nil || strings.Contains(strings.Join(log.list, " "), "heard") {
				t.Errorf("to %s: the log has %q, %v, want no continuation", to, log.list, err)
			}
			if n := s.rows()["p"]; n != 2 {
				t.Errorf("to %s: %d promises, want 2", to, n)
			}
			if err := s.during(func(k *host.Shell) error { return k.TerminateVat(s.ctx(), s.ids["a"]) }); err != nil {
				t.Fatal(err)
			}
			if err := s.rest(); err != nil {
				t.Fatal(err)
			}
			if left := s.leftovers(); len(left) > 0 {
				t.Errorf("to %s: left: %q", to, left)
			}
			if _, found, err := kernel.NewView(s.mem).Vat(s.ids["a"]); found || err != nil {
				t.Errorf("a is there: %t, %v", found, err)
			}
		})
	}
}
