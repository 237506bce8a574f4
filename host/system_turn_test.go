package host_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/examples/hello"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/workers"
	"ocapkernel.dev/workers/inproc"
)

// A call of a declared system subcluster by its name is served when the subcluster runs, though its turn has not come yet,
// and while it is reloaded. If its launch failed, the call gets the reason.
func TestACallOfASystemSubclusterWaitsForItsTurn(t *testing.T) {
	program := programOf(t, hello.Modules())
	parse := func(module string) *cluster.Config {
		cfg, err := cluster.Parse(module+".json", []byte(`{"bootstrap": "greeter", "vats": {"greeter": {"module": "`+module+`"}}}`))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	system := &cluster.System{Subclusters: []cluster.SystemSubcluster{
		{Name: "first", Config: parse("hello")}, {Name: "second", Config: parse("hello")}, {Name: "broken", Config: parse("nothing")},
	}}
	synctest.Test(t, func(t *testing.T) {
		vats := inproc.New(inproc.Config{Program: program, Delay: func(workers.Worker) time.Duration { return time.Second }})
		k, err := host.Open(host.Config{Store: storage.NewMem(), Workers: vats, System: system})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx) }()
		r := &running{Shell: k}

		begun := time.Now()
		a, err := send(t.Context(), r, "root", "second", "hello", "world")
		if err != nil || a.Rejected || !strings.Contains(a.Value.Body, "number 1") {
			t.Errorf("got %+v, %v", a, err)
		}
		if took := time.Since(begun); took < 2*time.Second {
			t.Errorf("the answer came after %v: nothing was waited for", took)
		}
		if a, err := send(t.Context(), r, "vat", "second/greeter", "hello", "world"); err != nil || a.Rejected || !strings.Contains(a.Value.Body, "number 2") {
			t.Errorf("got %+v, %v", a, err)
		}
		var refusal *kernel.Refusal
		_, err = send(t.Context(), r, "failed", "broken", "hello", "world")
		if !errors.As(err, &refusal) || refusal.Code != errcode.NotFound || !strings.Contains(refusal.Detail, "system subcluster broken does not run") {
			t.Errorf("got %v", err)
		}
		if _, err = send(t.Context(), r, "nobody", "third", "hello", "world"); !errors.As(err, &refusal) || refusal.Code != errcode.NotFound {
			t.Errorf("got %v", err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()

		reloaded := make(chan error, 1)
		go func() {
			_, err := k.Reload(t.Context(), "first")
			reloaded <- err
		}()
		synctest.Wait()
		if _, err := send(short, r, "early", "first", "hello", "world"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("during the reload: %v", err)
		}
		if a, err := send(t.Context(), r, "anew", "first", "hello", "world"); err != nil || a.Rejected || !strings.Contains(a.Value.Body, "number 1") {
			t.Errorf("got %+v, %v", a, err)
		}
		if err := <-reloaded; err != nil {
			t.Error(err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
