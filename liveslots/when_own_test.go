package liveslots_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/vat"
)

// own returns a promise that the vat's memory settles, in Decide. The methods that follow have When wait for it, in
// every way there is.
func (w *Watcher) own(ctx context.Context) vat.Promise {
	p, r := vat.NewPromise(ctx)
	w.resolver = r
	return p
}

// LocalNobody is as Local, and its result is not used.
func (w *Watcher) LocalNobody(ctx context.Context) { vat.When(ctx, w.own(ctx), w, "On", "own") }

func (w *Watcher) LocalValue(ctx context.Context) vat.Promise {
	return vat.When(ctx, vat.When(ctx, w.own(ctx), w, "value", "plain"), w, "On", "own")
}

func (w *Watcher) AllOfOwn(ctx context.Context) {
	vat.When(ctx, vat.All(ctx, w.own(ctx), w.gate(ctx, "g")), w, "OnList", "own")
}

func (w *Watcher) RaceOfOwn(ctx context.Context) {
	vat.When(ctx, vat.Race(ctx, w.own(ctx), w.gate(ctx, "never")), w, "On", "own")
}

func (w *Watcher) AllOfAll(ctx context.Context) {
	vat.When(ctx, vat.All(ctx, vat.All(ctx, vat.Race(ctx, w.own(ctx)))), w, "OnLists", "own")
}

// FollowsOwn waits for a promise that is to settle as another one.
func (w *Watcher) FollowsOwn(ctx context.Context) {
	p, r := vat.NewPromise(ctx)
	r.Resolve(ctx, w.own(ctx))
	vat.When(ctx, p, w, "On", "own")
}

// SentToOwn waits for the answer to a message to a promise.
func (w *Watcher) SentToOwn(ctx context.Context) {
	vat.When(ctx, vat.Send(ctx, w.own(ctx), "echo", "x"), w, "On", "own")
}

// InValue waits for a promise in the value of another.
func (w *Watcher) InValue(ctx context.Context) {
	p, r := vat.NewPromise(ctx)
	r.Resolve(ctx, []vat.Promise{w.own(ctx)})
	vat.When(ctx, p, w, "OnList", "own")
}

// SentToSelf waits for the answer of a method of its own, which is a promise of its own.
func (w *Watcher) SentToSelf(ctx context.Context) {
	vat.When(ctx, vat.Send(ctx, w, "give"), w, "On", "own")
}

func (w *Watcher) Give(ctx context.Context) vat.Promise { return w.own(ctx) }

// Argument is an own promise among the arguments of a call that waits for it.
func (w *Watcher) AsArgument(ctx context.Context) {
	vat.When(ctx, vat.Send(ctx, w, "value", w.own(ctx), "arg"), w, "On", "own")
}

// TurnThatWaits waits for the result of a continuation that waits for another in a turn.
func (w *Watcher) TurnThatWaits(ctx context.Context) {
	vat.When(ctx, vat.When(ctx, vat.Send(ctx, w.C, "echo", "x"), w, "OnOwn"), w, "On", "own")
}

func (w *Watcher) OnOwn(ctx context.Context, x vat.Outcome[string]) (string, error) {
	return vat.Await[string](ctx, w.own(ctx))
}

// TwoItems has an object other than the root called.
func (w *Watcher) AnItem(ctx context.Context) {
	vat.When(ctx, w.own(ctx), &Item{Name: "it"}, "Told", w)
}

func (i *Item) Told(ctx context.Context, x vat.Outcome[string], w *Watcher) { w.On(ctx, x, "own") }

func (w *Watcher) OnList(ctx context.Context, x vat.Outcome[[]string], tag string) {
	w.On(ctx, vat.Outcome[string]{Value: fmt.Sprint(x.Value), Err: x.Err}, tag)
}

func (w *Watcher) OnLists(ctx context.Context, x vat.Outcome[[][]string], tag string) {
	w.On(ctx, vat.Outcome[string]{Value: fmt.Sprint(x.Value), Err: x.Err}, tag)
}

// A call that waits with When for a promise of memory is made, also if the memory is lost.
func TestWhenOfOwnPromise(t *testing.T) {
	for _, c := range []struct{ method, settled string }{
		{"local", "local: v"},
		{"localNobody", "own: v"},
		{"localValue", "own: plain=v"},
		{"allOfOwn", "own: [v g]"},
		{"raceOfOwn", "own: v"},
		{"allOfAll", "own: [[v]]"},
		{"followsOwn", "own: v"},
		{"sentToOwn", "own failed: [KERNEL:BAD_TARGET]"},
		{"inValue", "own: [v]"},
		{"sentToSelf", "own: v"},
		{"asArgument", "own: arg=v"},
		{"turnThatWaits", "own: v"},
		{"anItem", "own: v"},
	} {
		for _, m := range modes[:2] {
			t.Run(c.method+" "+m.name, func(t *testing.T) {
				k := m.launch(t, NewWatcher)
				m.call(k, "lab", c.method)
				m.call(k, "lab", "decide", `"v"`)
				m.call(k, "b", "openIfThere", `"g"`, `"g"`)
				if got := result(m.call(k, "lab", "getLog").Result()); !strings.Contains(got, c.settled) {
					t.Errorf("got %s, want %s", got, c.settled)
				}
				wantQuiescent(t, k, "lab")
				wantNothingStored(t, k, "lab")
			})
			t.Run(c.method+" lost "+m.name, func(t *testing.T) {
				k := m.launch(t, NewWatcher)
				m.call(k, "lab", c.method)
				if k.Records("lab") == 0 {
					t.Error("the vat is at rest")
				}
				k.Restart("lab")
				m.run(k)
				if got := result(m.call(k, "lab", "getLog").Result()); !strings.Contains(got, "failed: [KERNEL:VAT_RESTARTED] vat v1 was restarted") {
					t.Errorf("got %s", got)
				}
				m.call(k, "b", "openIfThere", `"g"`, `"g"`)
				wantQuiescent(t, k, "lab")
				wantNothingStored(t, k, "lab")
			})
		}
	}
}
