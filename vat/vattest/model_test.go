package vattest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

// Op is a step of a program that an Actor runs.
type Op struct {
	// Kind is one of
	//
	//	add    adds N to the actor's Sum, and to the turn's local total
	//	call   has a peer run Sub, waits, and adds the answer to the total
	//	send   has a peer run Sub, and does not wait before the end
	//	fire   has a peer run Sub, and does not wait at all
	//	when   has a peer run Sub, and the answer added to Watched by a continuation, whose result is
	//	       added to the total at the end
	//	chain  the same, with a continuation of the continuation, and nobody who waits
	//	pass   has the answer of a peer that runs Sub be an argument of a call of another peer
	//	lock   adds N to Shared in a way that loses updates, but holds a lock, and a peer runs Sub meanwhile
	Kind string
	N    int
	Peer int
	Sub  []Op
}

type Actor struct {
	vat.Durable
	Peers                        []vat.Ref
	Sum, Watched, Passed, Shared int

	mu vat.Mutex
}

func (a *Actor) Bootstrap(vats map[string]vat.Ref) {
	for i := range actors {
		a.Peers = append(a.Peers, vats[actorName(i)])
	}
	// The others have no bootstrap.
}

func (a *Actor) Meet(peers []vat.Ref) { a.Peers = peers }

const actors = 3

func actorName(i int) string { return fmt.Sprint("actor", i) }

func (a *Actor) Introduce(ctx context.Context) error {
	for _, p := range a.Peers {
		if _, err := vat.Call[vat.None](ctx, p, "meet", a.Peers); err != nil {
			return err
		}
	}
	return nil
}

func (a *Actor) Run(ctx context.Context, ops []Op) (int, error) {
	total := 0
	var later []vat.Promise
	for _, op := range ops {
		peer := a.Peers[op.Peer]
		run := func() vat.Promise { return vat.Send(ctx, peer, "run", op.Sub) }
		switch op.Kind {
		case "add":
			a.Sum += op.N
			total += op.N
		case "call":
			x, err := vat.Await[int](ctx, run())
			if err != nil {
				return 0, err
			}
			total += x
		case "send":
			later = append(later, run())
		case "fire":
			run()
		case "when":
			later = append(later, vat.When(ctx, run(), a, "OnAnswer", op.N))
		case "chain":
			vat.When(ctx, vat.When(ctx, run(), a, "onAnswer", op.N), a, "onChain", op.Sub)
		case "pass":
			later = append(later, vat.Send(ctx, a.Peers[(op.Peer+1)%actors], "take", run(), op.N))
		case "lock":
			a.mu.Lock(ctx)
			x := a.Shared
			if _, err := vat.Await[int](ctx, run()); err != nil {
				return 0, err
			}
			a.Shared = x + op.N
			a.mu.Unlock(ctx)
		}
	}
	for _, p := range later {
		x, err := vat.Await[int](ctx, p)
		if err != nil {
			return 0, err
		}
		total += x
	}
	return total, nil
}

func (a *Actor) OnAnswer(x vat.Outcome[int], n int) (int, error) {
	a.Watched += x.Value + n
	return x.Value + n, x.Err
}

// OnChain has the program run once more, and answers when it has.
func (a *Actor) OnChain(ctx context.Context, x vat.Outcome[int], ops []Op) (vat.Promise, error) {
	a.Watched += x.Value
	return vat.When(ctx, vat.Send(ctx, a, "run", ops), a, "OnAnswer", 1), x.Err
}

func (a *Actor) Take(x, n int) int {
	a.Passed += x * n
	return x
}

func (a *Actor) State() []int { return []int{a.Sum, a.Watched, a.Passed, a.Shared} }

// The model of an actor, in which everything happens at once.
type model [actors][4]int

func (m *model) run(i int, ops []Op) (total int) {
	for _, op := range ops {
		x := 0
		if op.Kind != "add" {
			x = m.run(op.Peer, op.Sub)
		}
		switch op.Kind {
		case "add":
			m[i][0] += op.N
			total += op.N
		case "call", "send":
			total += x
		case "fire":
		case "when":
			m[i][1] += x + op.N
			total += x + op.N
		case "chain":
			m[i][1] += x + op.N
			m[i][1] += x + op.N
			m[i][1] += m.run(i, op.Sub) + 1
		case "pass":
			m[(op.Peer+1)%actors][2] += x * op.N
			total += x
		case "lock":
			m[i][3] += op.N
		}
	}
	return total
}

func drawOps(t *rapid.T, depth int) []Op {
	kinds := []string{"add"}
	if depth > 0 {
		kinds = append(kinds, "call", "send", "fire", "when", "chain", "pass", "lock")
	}
	ops := make([]Op, rapid.IntRange(0, 3).Draw(t, "ops"))
	for i := range ops {
		op := Op{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), N: rapid.IntRange(1, 9).Draw(t, "n"), Peer: rapid.IntRange(0, actors-1).Draw(t, "peer")}
		switch op.Kind {
		case "add":
		case "lock": // a vat that holds a lock waits for no vat that wants one
			op.Sub = drawOps(t, 0)
		default:
			op.Sub = drawOps(t, depth-1)
		}
		ops[i] = op
	}
	return ops
}

// For any programs and any kills of workers, the outcome is as if there had been no kill.
func TestProgramsUnderKills(t *testing.T) {
	modules := vat.Modules{"actor": func() *Actor { return &Actor{} }}
	rapid.Check(t, func(rt *rapid.T) {
		k := vattest.New(t, modules)
		var vats []vattest.Vat
		for i := range actors {
			vats = append(vats, vattest.Vat{Name: actorName(i), Module: "actor"})
		}
		if err := k.Launch(actorName(0), vats...); err != nil {
			rt.Fatal(err)
		}
		if _, err := k.Call(actorName(0), "introduce"); err != nil {
			rt.Fatal(err)
		}
		var m model
		var answers []*vattest.Answer
		var want []string
		for range rapid.IntRange(1, 3).Draw(rt, "programs") {
			i := rapid.IntRange(0, actors-1).Draw(rt, "actor")
			ops := drawOps(rt, 3)
			text, err := json.Marshal(lower(ops))
			if err != nil {
				rt.Fatal(err)
			}
			answers = append(answers, k.Send(actorName(i), "run", string(text)))
			want = append(want, fmt.Sprint(m.run(i, ops)))
		}
		k.KillAlways = rapid.IntRange(0, 3).Draw(rt, "always") == 0
		kill := rapid.IntRange(0, actors) // actors: nobody
		for n := 0; k.Step(); n++ {
			if n < 200 {
				if i := kill.Draw(rt, "kill"); i < actors {
					k.Kill(actorName(i))
				}
			}
		}
		for i, a := range answers {
			got, err := a.Result()
			if err != nil || got != want[i] {
				rt.Errorf("answer %d: got %s, %v, want %s", i, got, err, want[i])
			}
		}
		for i := range actors {
			got, err := k.Call(actorName(i), "state")
			if w, _ := json.Marshal(m[i]); err != nil || got != string(w) {
				rt.Errorf("actor %d: got %s, %v, want %s", i, got, err, w)
			}
			if n := k.Records(actorName(i)); n != 0 {
				rt.Errorf("actor %d: %d records are left", i, n)
			}
		}
		if t.Failed() { // for mistakes that vattest itself found
			rt.FailNow()
		}
	})
}

// lower is a program as it is passed.
func lower(ops []Op) []map[string]any {
	list := []map[string]any{}
	for _, op := range ops {
		list = append(list, map[string]any{"kind": op.Kind, "n": op.N, "peer": op.Peer, "sub": lower(op.Sub)})
	}
	return list
}
