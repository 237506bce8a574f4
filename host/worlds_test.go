package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/examples/bank"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/programs"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/worker"
)

func programOf(t *testing.T, modules vat.Modules) worker.Program {
	t.Helper()
	p, err := vat.Program(modules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Clients move money in the bank of the examples: the balances are those of the answered transfers, and nothing else.
func TestWorldsOfTheBank(t *testing.T) {
	program := programOf(t, bank.Modules())
	makeWorlds(t, 60, func(t *testing.T, seed uint64) (kernels, kills int) {
		w := newWorld(t, seed, program, false)
		w.live(func() { w.bank("", string(w.launch(bankConfig)), 3) })
		return w.kernels, w.kills
	})
}

const bankConfig = `{"bootstrap": "teller", "vats": {
	"teller": {"module": "bank.teller"}, "mint": {"module": "bank.mint"},
	"alice": {"module": "bank.account", "parameters": {"owner": "alice", "amount": 1000}},
	"bob": {"module": "bank.account", "parameters": {"owner": "bob", "amount": 1000}}}}`

// bank has clients make n transfers each. The names of its calls begin with what.
func (w *world) bank(what, sub string, n int) {
	var clients sync.WaitGroup
	balances := map[string]int{"alice": 1000, "bob": 1000}
	for c := range 2 {
		clients.Go(func() { w.client(fmt.Sprintf("%sclient %d", what, c), sub, n, balances) })
	}
	clients.Wait()
	for _, name := range []string{"alice", "bob"} {
		a := w.must(what+"balance of "+name, sub, "balance", name)
		if got, want := a.Value.Body, fmt.Sprintf("#%d", balances[name]); a.Rejected || got != want {
			w.t.Errorf("%s has %s, want %s", name, got, want)
		}
	}
	if a := w.must(what+"audit", sub, "audit"); a.Rejected || a.Value.Body != "#2000" {
		w.t.Errorf("the audit says %s", a.Value.Body)
	}
}

// client makes n transfers one after the other, and adds each answered one to balances.
func (w *world) client(client, sub string, n int, balances map[string]int) {
	dice := w.dice(client)
	names := []string{"alice", "bob"}
	for i := range n {
		<-time.After(someTime(dice, 20*time.Millisecond))
		from, to, amount := names[dice.IntN(2)], names[dice.IntN(2)], dice.IntN(600)
		ticket := fmt.Sprintf("%s transfer %d", client, i)
		a := w.must(ticket, sub, "transfer", from, to, float64(amount))
		w.mu.Lock()
		switch {
		case !a.Rejected:
			balances[from] -= amount
			balances[to] += amount
		case !strings.Contains(a.Value.Body, "which holds"):
			w.t.Errorf("%s: %s", ticket, a.Value.Body)
		}
		w.mu.Unlock()
		if again := w.must(ticket, sub, "transfer", from, to, float64(amount)); again.Value.Body != a.Value.Body {
			w.t.Errorf("%s: answered %s and then %s", ticket, a.Value.Body, again.Value.Body)
		}
	}
}

// Subclusters are launched, used and terminated. In the end the same rows are left as without disturbance: the remembered
// calls only.
func TestWorldsOfSubclusters(t *testing.T) {
	program := programOf(t, bank.Modules())
	makeWorlds(t, 10, func(t *testing.T, seed uint64) (kernels, kills int) {
		leaves := func(quiet bool) map[string]int {
			w := newWorld(t, seed, program, quiet)
			w.live(func() {
				for round := range 3 {
					sub := w.launch(bankConfig)
					w.bank(fmt.Sprintf("round %d ", round), string(sub), 1)
					w.terminate(sub)
				}
				if err := w.until(func(k *host.Shell) error { _, err := k.Collect(w.ctx, ""); return err }); err != nil {
					t.Error(err)
				}
			})
			kernels, kills = w.kernels, w.kills
			rows := map[string]int{} // by the kind of their keys
			for _, row := range w.mem.Snapshot() {
				kind, _, _ := strings.Cut(row.Key, ".")
				rows[kind]++
			}
			return rows
		}
		if diff := cmp.Diff(leaves(true), leaves(false)); diff != "" {
			t.Errorf("undisturbed it leaves - , disturbed + :\n%s", diff)
		}
		return kernels, kills
	})
}

// Random programs leave the same state as without disturbance.
func TestWorldsOfRandomPrograms(t *testing.T) {
	program := programOf(t, vat.Modules{"program": programs.Module()})
	vats := map[string]any{}
	for _, name := range programs.Vats {
		vats[name] = map[string]string{"module": "program"}
	}
	config, err := json.Marshal(map[string]any{"bootstrap": programs.Vats[0], "vats": vats})
	if err != nil {
		t.Fatal(err)
	}
	makeWorlds(t, 20, func(t *testing.T, seed uint64) (kernels, kills int) {
		leaves := func(quiet bool) (left []string) {
			w := newWorld(t, seed, program, quiet)
			script := programs.Draw(w.dice("script"), 4)
			w.live(func() {
				to := teller{w, w.launch(string(config))}
				var err error
				if left, err = script.Run(w.ctx, to, func() {}); err != nil {
					t.Error(err)
				}
			})
			kernels, kills = w.kernels, w.kills
			return left
		}
		if diff := cmp.Diff(leaves(true), leaves(false)); diff != "" {
			t.Errorf("undisturbed it leaves - , disturbed + :\n%s", diff)
		}
		return kernels, kills
	})
}

// teller tells the vats of a world their programs. It is a [programs.Cluster].
type teller struct {
	*world
	sub kernel.SubID
}

// Send is part of being a [programs.Cluster].
func (w teller) Send(_ context.Context, id, to, method string, args ...json.RawMessage) error {
	_, err := w.say(id, to, method, false, args)
	return err
}

// Ask is part of being a [programs.Cluster].
func (w teller) Ask(_ context.Context, id, to, method string, args ...json.RawMessage) (programs.Answer, error) {
	a, err := w.say(id, to, method, true, args)
	var refusal *kernel.Refusal
	switch {
	case errors.As(err, &refusal) && hasLeft(refusal.Code):
		return programs.Answer{Left: true}, nil
	case err != nil:
		return programs.Answer{}, err
	}
	v, err := capdata.Decode(a.Value.Body, len(a.Value.Slots))
	if err != nil {
		return programs.Answer{}, err
	}
	if !a.Rejected {
		value, err := capdata.ToJSON(v, func(slot int) string { return "slot" })
		return programs.Answer{Value: value}, err
	}
	e, ok := v.(*capdata.Error)
	if !ok {
		return programs.Answer{Rejected: a.Value.Body}, nil
	}
	if code, _, ok := capdata.ParseKernelError(e); ok && hasLeft(code) {
		return programs.Answer{Left: true}, nil
	}
	return programs.Answer{Rejected: e.Message}, nil
}

// hasLeft says whether a code is that of a call which found a vat that has left. A call that the kernel learns of after
// that is refused, one that was on its way is rejected.
func hasLeft(code errcode.Code) bool {
	return slices.Contains([]errcode.Code{errcode.ObjectDeleted, errcode.VatTerminated, errcode.NotFound}, code)
}

func (w teller) say(id, to, method string, wait bool, args []json.RawMessage) (host.Answer, error) {
	values := make([]any, len(args))
	for i, arg := range args {
		var err error
		if values[i], err = capdata.FromJSON(arg, func(string) (int, error) { return 0, errors.New("no references") }); err != nil {
			return host.Answer{}, err
		}
	}
	return w.call(id, string(w.sub)+"/"+to, method, wait, values...)
}
