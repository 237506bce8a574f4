package enumeration_test

import (
	"context"

	"ocapkernel.dev/vat"
)

// actor is the vat of most scenarios.
type actor struct {
	vat.Durable
	Peer, Ledger, Line, Timer vat.Ref
	Sum                       int
}

func actors() vat.Modules {
	return vat.Modules{"actor": vat.Module(func() *actor { return &actor{} })}
}

// Bootstrap introduces the vats to each other.
func (a *actor) Bootstrap(ctx context.Context, vats map[string]vat.Ref, services struct{ Ledger, Line, Timer vat.Ref }) {
	a.Ledger, a.Line, a.Timer = services.Ledger, services.Line, services.Timer
	a.Peer = vats["b"]
	if !a.Peer.IsZero() {
		vat.Send(ctx, a.Peer, "meet", vat.RefOf(ctx, a))
	}
}

// Meet keeps a peer.
func (a *actor) Meet(peer vat.Ref) { a.Peer = peer }

// Add adds to the sum.
func (a *actor) Add(n int) int {
	a.Sum += n
	return a.Sum
}

// AddFar adds to the sum of the peer.
func (a *actor) AddFar(ctx context.Context, n int) (int, error) {
	return vat.Call[int](ctx, a.Peer, "add", n)
}

// Use calls a method of the ledger.
func (a *actor) Use(ctx context.Context, method, what string) (string, error) {
	return vat.Call[string](ctx, a.Ledger, method, what)
}

const (
	one = `{"bootstrap": "a", "vats": {"a": {"module": "actor"}}, "services": ["ledger"]}`
	two = `{"bootstrap": "a", "vats": {"a": {"module": "actor"}, "b": {"module": "actor"}}}`
)

// ambiguous is the rejection of a call that cannot be done twice, if the kernel died during it.
func ambiguous(method string) string {
	return "rejected: [KERNEL:AMBIGUOUS] the kernel died during the call of " + method + ": whether it happened is not known"
}

var scenarios = []scenario{
	{name: "send", modules: actors(), run: func(p *play) {
		sub := p.launch("two", two)
		p.call("add", sub, "add", 2.0)
		p.call("far", sub, "addFar", 3.0)
		p.call("far again", sub, "addFar", 4.0)
	}},
	{name: "terminate", modules: actors(), run: func(p *play) {
		sub := p.launch("two", two)
		p.call("far", sub, "addFar", 3.0)
		p.terminate(sub)
	}},
	{name: "pay", modules: actors(), run: func(p *play) {
		sub := p.launch("one", one)
		p.call("pay", sub, "use", "pay", "rent")
		p.forget("pay")
	}, allow: []allowance{{"pay", ambiguous("pay"), "pay rent"}}},
}
