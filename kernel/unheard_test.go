package kernel_test

import (
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
)

// A repetition of the timer goes on although nothing holds it, as long as the object that it calls can hear it.
func TestServiceObjectThatActsForAnotherIsKept(t *testing.T) {
	t.Run("the other is gone", func(t *testing.T) {
		actsForAnother(t, func(w *world, _ kernel.KRef) { w.do(w.m.Terminate("s2")) })
	})
	t.Run("the other is revoked", func(t *testing.T) {
		actsForAnother(t, func(w *world, b kernel.KRef) { w.do(w.m.Revoke(b)) })
	})
}

func actsForAnother(t *testing.T, silence func(w *world, b kernel.KRef)) {
	w := newWorld(t)
	w.do(first(w.m.Launch(kernel.Launch{Bootstrap: "a", Vats: []kernel.LaunchVat{{Name: "a", MaxQueue: 9, MaxRestarts: 5}}, Services: own("in")})))
	w.run(nil)
	w.cluster(nil, "b")
	services := must(w.m.Services())
	in, b := services[0].KRef, kernel.KRef("")
	for _, v := range must(w.m.Vats()) {
		if v.Name == "b" {
			b = v.Root
		}
	}
	w.call("E1.t", "ko4", "go", in)
	w.deliver("v1", "send $0 repeat -> p+1\nsubscribe p+1\nresolve $r=null")
	w.complete(in, 0, "new", func(c *kernel.Completion) { c.New[0].Holds = []kernel.KRef{b} })
	w.deliver("v1", "") // it is told of the repetition
	repeat := must(w.m.Services())
	i := slices.IndexFunc(repeat, func(s kernel.Service) bool { return s.KRef != in })
	if i < 0 {
		t.Fatalf("%+v", repeat)
	}
	k := repeat[i].KRef
	w.do(w.m.Collect("v1", true))
	w.flush()
	w.begin("v1")
	out := w.flush()
	name := out[strings.LastIndex(out, " ")+1:]
	w.finish("v1", w.parse("v1", "drop "+name+"\nretireImports "+name))
	w.run(nil)
	if got := dumped(w, string(k)); got != "of the kernel, counts 1,1" {
		t.Fatalf("%s, which nothing holds: got %q\n%s", k, got, out)
	}
	silence(w, b)
	w.run(nil)
	w.flush()
	w.do(w.m.Emit(k, nil, b, kernel.Data{Body: `#["tick",[1]]`}, w.now))
	if out := w.flush(); !strings.Contains(out, "end "+string(k)) || !strings.Contains(out, "nothing holds") {
		t.Errorf("nobody hears %s, and it goes on: %s", k, out)
	}
	w.run(nil)
	if got := dumped(w, string(k)); got != "" {
		t.Errorf("%s: got %q", k, got)
	}
}

func first[A any](_ A, c kernel.Commit, err error) (kernel.Commit, error) { return c, err }
