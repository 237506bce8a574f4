// Package model_test runs random programs of vats, messages, drops and deaths in a whole kernel, and in a model that knows
// what can be reached: see model. After each rest the vats keep what the model keeps, and answers are the model's. When all is
// collected, what can be reached is there, and nothing else has left a row.
//
// The kernel is driven (host/driven.go), so that a program runs the same each time, and rapid makes one that fails smaller.
package model_test

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/torture"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/vat"
)

// names are the vats of each program. The last one is alone in its subcluster.
var names = []string{"a", "b", "c", "d"}

// run is a run of a program in the system and in the model.
type run struct {
	*system
	*model
	asked int
	// sent are the calls of act whose answers were not looked at yet, asked those with an answer that was; both in order.
	sent  []call
	calls map[string]call
	// repeats are the calls so far.
	repeats []func() error
	// refused are the objects of calls that were refused since the vats were looked at: one of each is gone.
	refused [][]*entity
	// krefs are what the host can name: handles, by ticket.
	krefs map[string]kernel.KRef
}

type call struct {
	ticket string
	msg    *message
}

// execute runs a program. Its error is a difference between the system and the model.
func execute(p program) (r *run, err error) {
	prog, err := vat.Program(modules())
	if err != nil {
		return nil, err
	}
	s, err := newSystem(prog)
	if err != nil {
		return nil, err
	}
	r = &run{system: s, model: newModel(names...), calls: map[string]call{}, krefs: map[string]kernel.KRef{}}
	defer func() {
		stopped := r.stop()
		if err == nil {
			err = stopped
		}
	}()
	if err := errors.Join(r.launch(p.ReapInterval, names[:3]...), r.launch(p.ReapInterval, names[3])); err != nil {
		return r, err
	}
	r.introduce(names[0], names[:3]...)
	r.introduce(names[3], names[3])
	for i, c := range p.Commands {
		err := r.do(c)
		if r.circle {
			return r, nil // what follows is not in the model
		}
		if err != nil {
			return r, fmt.Errorf("command %d, %s: %w", i, c, err)
		}
	}
	return r, nil
}

func (r *run) do(c command) error {
	switch c.Do {
	case "send":
		return r.call(c)
	case "people":
		id := 2_000_000 + 2*c.Vat
		return r.call(command{Target: c.Vat, Args: []int{c.Vat + 1, c.Vat + 2}, Ops: []op{
			{Do: "put", Key: "fa", Ref: "a0"}, {Do: "put", Key: "ma", Ref: "a1"}, {Do: "new", Key: "fb", ID: id}, {Do: "new", Key: "mb", ID: id + 1},
		}})
	case "step":
		for range c.N {
			if _, err := r.step(); err != nil {
				return err
			}
		}
	case "kill":
		r.kills++
		r.system.vats.Signal(string(r.ids[names[c.Vat]]))
		_, err := r.shell.Settle(r.ctx())
		_, err = r.again(err)
		return err
	case "fail":
		if c.N == 0 {
			return r.killKernel()
		}
		r.store.left.Store(int64(c.N))
	case "rest":
		return r.compare()
	case "release":
		if err := r.compare(); err != nil {
			return err
		}
		if list := sortedKeys(r.calls); len(list) > 0 {
			return r.release(list[c.N%len(list)])
		}
	case "restart":
		if err := r.compare(); err != nil {
			return err
		}
		name := names[c.Vat]
		if r.model.vats[name].dead {
			return nil
		}
		if err := r.during(func(k *host.Shell) error { return k.Restart(r.ctx(), r.ids[name], true) }); err != nil {
			return err
		}
		r.model.restart(name)
		return r.compare()
	case "sweep":
		if err := r.churn(); err != nil {
			return err
		}
		if _, err := r.sweep(); err != nil {
			return err
		}
		return r.look()
	case "repeat":
		if len(r.repeats) == 0 {
			return nil
		}
		return r.repeats[len(r.repeats)-1-c.N%len(r.repeats)]()
	case "end":
		return r.end(names[c.Vat])
	case "collect":
		return r.collectAll()
	}
	return nil
}

// end ends a vat, if it is not the last one.
func (r *run) end(name string) error {
	if err := r.compare(); err != nil || r.model.vats[name].dead || len(r.live()) == 1 {
		return err
	}
	err := r.during(func(k *host.Shell) error {
		if sub := r.subs[name]; sub != "" {
			return k.Terminate(r.ctx(), sub)
		}
		return k.TerminateVat(r.ctx(), r.ids[name])
	})
	var refusal *kernel.Refusal
	if err != nil && (!errors.As(err, &refusal) || refusal.Code != errcode.NotFound) { // an earlier kernel was through with it
		return err
	}
	r.model.terminate(name)
	return r.compare()
}

// live are the vats that have not ended.
func (r *run) live() (list []string) {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return r.model.vats[name].dead })
}

// object returns an object that the host can name.
func (r *run) object(n int) (*entity, kernel.KRef) {
	tickets := sortedKeys(r.handles)
	if n %= len(names) + len(tickets); n < len(names) {
		return r.model.vats[names[n]].root, r.roots[names[n]]
	}
	ticket := tickets[n-len(names)]
	return r.handles[ticket], r.krefs[ticket]
}

func (r *run) ticket() string {
	r.asked++
	return fmt.Sprintf("t%04d", r.asked)
}

// call sends act from outside.
func (r *run) call(c command) error {
	to, kref := r.object(c.Target)
	ticket := r.ticket()
	msg := &message{id: 1_000_000 + r.asked, target: value{object: to}, ops: c.Ops}
	args := []any{}
	for _, n := range c.Args {
		o, k := r.object(n)
		msg.args = append(msg.args, o)
		args = append(args, ref(k))
	}
	send := func() error {
		return r.system.send(ticket, kref, "act", msg.id, lower(c.Ops), slices.Clone(args), []any{}, nil)
	}
	err := send()
	var refusal *kernel.Refusal
	if errors.As(err, &refusal) && (refusal.Code == errcode.ObjectDeleted || refusal.Code == errcode.NotFound) { // the model does not know yet
		r.refused = append(r.refused, append(msg.args, to))
		return nil
	}
	r.model.send(msg)
	r.sent = append(r.sent, call{ticket, msg})
	r.repeats = append(r.repeats, send)
	return err
}

// lower is a program as it is passed.
func lower(ops []op) []map[string]any {
	list := []map[string]any{}
	for _, o := range ops {
		list = append(list, map[string]any{
			"do": o.Do, "key": o.Key, "ref": o.Ref, "id": o.ID, "ops": lower(o.Ops), "args": append([]string{}, o.Args...), "proms": append([]string{}, o.Proms...), "late": o.Late,
		})
	}
	return list
}

// compare has the system come to rest, the model do the same, and compares what the vats keep, and the answers.
func (r *run) compare() error {
	if err := r.rest(); err != nil {
		return err
	}
	logs := map[string][]string{}
	for _, name := range r.live() {
		o, err := r.ask(r.ticket(), r.roots[name], "drain")
		if err != nil || o.reason != "" {
			return errors.Join(err, errors.New(o.reason))
		}
		logs[name] = o.list
	}
	if err := r.replay(logs); err != nil {
		return fmt.Errorf("%w\nlogs: %q\nanswers: %q", err, logs, r.unread())
	}
	for _, list := range r.refused {
		if !slices.ContainsFunc(list, (*entity).isGone) {
			return fmt.Errorf("a call was refused as if one of %v was gone", list)
		}
	}
	r.refused = nil
	if err := r.answers(); err != nil {
		return err
	}
	return r.look()
}

// answers compares the answers of calls from outside.
func (r *run) answers() error {
	var open []call
	for _, c := range r.sent {
		o, err := r.answer(c.ticket)
		if err != nil {
			return err
		}
		want := c.msg.result.end()
		if o.pending != !want.settled || o.reason != want.reason || (o.object != "") != (want.object != nil) {
			return fmt.Errorf("message %d was answered %+v, want %+v", c.msg.id, o, want)
		}
		if o.pending {
			open = append(open, c)
			continue
		}
		r.calls[c.ticket] = c
		if o.object != "" {
			r.handles[c.ticket], r.krefs[c.ticket] = want.object, o.object
		}
	}
	r.sent = open
	return nil
}

// unread are the answers that were not looked at yet.
func (r *run) unread() (list []string) {
	for _, c := range r.sent {
		o, err := r.answer(c.ticket)
		list = append(list, fmt.Sprintf("%d: %+v, %v", c.msg.id, o, err))
	}
	return list
}

// look has each object that can be reached say what it keeps.
func (r *run) look() error {
	paths := r.reachable()
	for _, o := range slices.SortedFunc(maps.Keys(paths), func(a, b *entity) int { return cmp.Compare(a.String(), b.String()) }) {
		p := paths[o]
		from := r.roots[p.vat]
		if p.ticket != "" {
			from = r.krefs[p.ticket]
		}
		got, err := r.ask(r.ticket(), from, "look", append([]string{}, p.keys...))
		if err != nil {
			return err
		}
		if diff := gocmp.Diff(o.looks(), got.list); diff != "" || got.reason != "" {
			return fmt.Errorf("%s, by %+v: %s (- model, + system)\n%s", o, p, got.reason, diff)
		}
	}
	return nil
}

// release lets an answer go.
func (r *run) release(ticket string) error {
	delete(r.calls, ticket)
	delete(r.handles, ticket)
	return r.acknowledge(ticket)
}

// collectAll has all promises settled, collects what nobody needs, and compares the counts of what is left.
func (r *run) collectAll() error {
	for {
		if err := r.compare(); err != nil {
			return err
		}
		again := false
		for i, name := range names {
			if len(r.model.vats[name].open) > 0 {
				again = true
				if err := r.call(command{Target: i, Ops: []op{{Do: "reject"}}}); err != nil {
					return err
				}
			}
		}
		if !again {
			break
		}
	}
	if len(r.sent)+len(r.msgs)+len(r.heard) > 0 {
		return fmt.Errorf("all promises are settled, and there are open calls: %+v, messages: %+v, continuations: %+v", r.sent, r.msgs, r.heard)
	}
	r.model.collect()
	for try := 0; ; try++ {
		if busy, err := r.sweep(); err != nil || len(busy) > 0 {
			return fmt.Errorf("%v are busy, %w", busy, err)
		}
		have, err := r.system.counts()
		if err != nil {
			return err
		}
		want := r.model.counts()
		if want.Objects == 0 {
			have = have.withoutNames()
		}
		diff := gocmp.Diff(want, have)
		if diff == "" {
			break
		}
		if try == mostTries {
			return fmt.Errorf("counts (- model, + system):\n%s", diff)
		}
		if err := r.churn(); err != nil {
			return err
		}
	}
	if left := r.leftovers(); len(left) > 0 {
		return fmt.Errorf("left: %v", left)
	}
	if err := r.check(); err != nil {
		return err
	}
	return r.look()
}

// mostTries is how often vats are made to look for circles: each time they let go of what the last circles held of each other.
const mostTries = 6

// churn has each vat look for circles at its next collection: it does so when it has made as many things as there are.
func (r *run) churn() error {
	for i, name := range names {
		if r.model.vats[name].dead {
			continue
		}
		if err := r.call(command{Target: i, Ops: []op{{Do: "churn"}}}); err != nil {
			return err
		}
	}
	return r.compare()
}

// sweep collects what nobody needs, and returns the vats that it passed over.
func (r *run) sweep() (busy []kernel.VatID, err error) {
	err = r.during(func(k *host.Shell) error {
		got, err := k.Collect(r.ctx(), "")
		busy = got.Busy
		return err
	})
	return busy, err
}

// Random programs do in a kernel what they do in the model, whatever dies meanwhile, and leave what the model leaves.
func TestProgramsAgainstTheModel(t *testing.T) { againstTheModel(t, 1, 8*time.Second) }

// The same for longer.
func TestTortureModel(t *testing.T) {
	if !torture.Long() {
		t.Skip("TORTURE_MINUTES is not set")
	}
	againstTheModel(t, 10, 0)
}

func againstTheModel(t *testing.T, percent int, bounded time.Duration) {
	until, seed := torture.Until(t, percent, bounded), torture.Seed(t)
	row := torture.Row{Part: "reference model", Seed: seed}
	defer func() {
		if t.Failed() {
			row.Findings = 1
		}
		torture.Report(t, row)
	}()
	set(t, "rapid.checks", "5")
	for time.Now().Before(until) && !t.Failed() {
		set(t, "rapid.seed", fmt.Sprint(max(seed+uint64(row.Scenarios), 1)))
		rapid.Check(t, func(rt *rapid.T) {
			p := draw(rt)
			r, err := inBubble(t, p)
			if err != nil {
				p = shrink(p, 20*time.Second, func(p program) bool { _, err := inBubble(t, p); return err != nil })
				_, err := inBubble(t, p)
				rt.Fatalf("%v\n%v", p, err)
			}
			row.Scenarios++
			row.Kills += r.kills
			row.Cranks += r.cranks
		})
	}
}

// inBubble runs a program in virtual time.
func inBubble(t *testing.T, p program) (r *run, err error) {
	synctest.Test(t, func(*testing.T) { r, err = execute(p) })
	return r, err
}

// set sets a flag of rapid for the time of the test.
func set(t *testing.T, name, value string) {
	f := flag.Lookup(name)
	before := f.Value.String()
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(before) })
}
