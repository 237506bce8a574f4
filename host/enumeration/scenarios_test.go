package enumeration_test

import (
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/host"
)

const (
	one   = `{"bootstrap": "a", "vats": {"a": {"module": "actor"}}, "services": ["ledger", "timer"]}`
	two   = `{"bootstrap": "a", "vats": {"a": {"module": "actor"}, "b": {"module": "actor"}}}`
	three = `{"bootstrap": "a", "vats": {"a": {"module": "actor"}, "b": {"module": "actor"}, "c": {"module": "actor"}}, "services": ["ledger"]}`
	// often asks each vat for its dead after each delivery.
	often = `{"bootstrap": "a", "vats": {"a": {"module": "actor", "reapInterval": 1}, "b": {"module": "actor", "reapInterval": 1}}}`
	piped = `{"bootstrap": "a", "vats": {"a": {"module": "actor"}}, "io": {"line": {"type": "console"}}}`
)

// scenarios are all scenarios.
var scenarios = slices.Concat(messages, collections, lives, operations, services)

// with runs a program in a cluster of this configuration.
func with(config string, run func(p *play, sub string)) func(p *play) {
	return func(p *play) { run(p, p.launch("cluster", config)) }
}

// calls makes calls that are named as they read.
func (p *play) calls(sub string, list ...[]any) {
	for _, c := range list {
		p.call(strings.TrimSpace(fmt.Sprintln(c...)), sub, c[0].(string), c[1:]...)
	}
}

// messages are the patterns of messages and promises.
var messages = []scenario{
	{name: "send", run: with(two, func(p *play, sub string) {
		p.call("near", sub, "add", 2.0)
		p.call("far", sub, "far", "add", 3.0)
		p.call("far again", sub, "far", "add", 4.0)
	})},
	{name: "unheard", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"farUnheard", "add", 3.0})
		p.call("sum", sub, "far", "add", 0.0)
	})},
	{name: "at-once", run: with(two, func(p *play, sub string) {
		for _, ticket := range []string{"one", "two", "three"} {
			p.ask(ticket, sub, "far", "add", 1.0)
		}
		p.answer("one")
		p.answer("two")
		p.answer("three")
	})},
	{name: "rejection", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"refuse", 1.0}, []any{"refuseWith", 2.0}, []any{"noSuchMethod"})
		p.call("far", sub, "far", "refuse", 3.0)
		p.call("far with", sub, "farOn", "refuseWith", 4.0)
	})},
	{name: "pipelining", run: with(two, func(p *play, sub string) { p.calls(sub, []any{"pipe", 3.0}) })},
	{name: "pipelining-broken", run: with(two, func(p *play, sub string) { p.calls(sub, []any{"pipeBroken"}) })},
	{name: "pipelining-deep", run: with(two, func(p *play, sub string) { p.calls(sub, []any{"pipeDeep"}) })},
	{name: "pipelining-host", run: with(two, func(p *play, sub string) {
		thing := p.ref("thing", sub, "farOn", "make", 3.0)
		p.call("bump", thing, "bump", 2.0)
	})},
	{name: "forwarded-result", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"farOn", "add", 3.0})
		p.call("rejected", sub, "farOn", "refuse", 3.0)
	})},
	{name: "chain", run: with(two, func(p *play, sub string) { p.calls(sub, []any{"relay", 5.0}) })},
	{name: "chain-waiting", run: with(two, func(p *play, sub string) { p.calls(sub, []any{"relayWaiting", 5.0}) })},
	{name: "promised-argument", run: with(three, func(p *play, sub string) { p.calls(sub, []any{"promised", 3.0}) })},
	{name: "order", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"order"})
		p.call("told", sub, "far", "tell")
	})},
	{name: "promise-settled-later", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"begin", "x", "wait"}, []any{"settle", "x", 3.0})
		p.call("told", sub, "far", "tell")
	})},
	{name: "promise-broken-later", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"begin", "x", "wait"}, []any{"break", "x"})
		p.call("told", sub, "far", "tell")
	})},
	{name: "promise-handed-on", run: with(three, func(p *play, sub string) {
		p.calls(sub, []any{"begin", "x", "wait"}, []any{"hand", "x", 3.0})
		p.call("told", sub, "far", "tell")
	})},
	{name: "promise-stored", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"begin", "x", "waitStored"}, []any{"settle", "x", 3.0})
		p.call("told", sub, "far", "tell")
	})},
	{name: "promise-on-shelf", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"begin", "x", "take"})
		p.call("before", sub, "far", "value", "x")
		p.calls(sub, []any{"settle", "x", 3.0})
		p.call("after", sub, "far", "value", "x")
	})},
	{name: "promise-on-shelf-broken", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"begin", "x", "take"}, []any{"break", "x"})
		p.call("after", sub, "far", "value", "x")
	})},
	{name: "circle", run: with(two, func(p *play, sub string) { p.calls(sub, []any{"circle", 3.0}) })},
	{name: "row", run: with(two, func(p *play, sub string) { p.calls(sub, []any{"row", 3.0}) })},
	{name: "all", run: with(three, func(p *play, sub string) { p.calls(sub, []any{"both"}) })},
	{name: "race", run: with(two, func(p *play, sub string) { p.calls(sub, []any{"first"}) })},
	{name: "mutex", run: with(two, func(p *play, sub string) {
		p.ask("one", sub, "locked", 1.0)
		p.ask("two", sub, "locked", 2.0)
		p.answer("one")
		p.answer("two")
	})},
	{name: "when", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"farStored", "add", 3.0}, []any{"tell"})
		p.call("rejected", sub, "farStoredOn", "refuse", 3.0)
	})},
	{name: "when-circle", run: with(two, func(p *play, sub string) {
		p.call("when", sub, "farStoredOn", "farStoredOn", "add", 3.0)
		p.calls(sub, []any{"tell"})
	})},
	{name: "ephemeral", run: with(two, func(p *play, sub string) { p.calls(sub, []any{"lend"}) })},
	{name: "ephemeral-kept", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"lendKept", "x"})
		p.call("poke", sub, "far", "use", "x", "poke")
		p.call("poke again", sub, "far", "use", "x", "poke")
		p.call("drop", sub, "far", "drop", "x")
		p.collect()
	})},
}

// collections are the ways in which something goes that nobody needs.
var collections = []scenario{
	{name: "drop-import", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"lendThing", "x"})
		p.call("bump", sub, "far", "use", "x", "bump", 2.0)
		p.call("drop", sub, "far", "drop", "x")
		p.calls(sub, []any{"letGo", "x"})
		p.collect()
	})},
	{name: "retire-export", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"lendThing", "x"}, []any{"letGo", "x"})
		p.collect()
		p.call("still", sub, "far", "use", "x", "get")
		p.call("drop", sub, "far", "drop", "x")
		p.collect()
	})},
	{name: "retire-import", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"lendThing", "x"}, []any{"delete", "x"})
		p.collect()
		p.call("gone", sub, "far", "use", "x", "get")
		p.call("drop", sub, "far", "drop", "x")
		p.collect()
	})},
	{name: "ask-for-dead", run: with(often, func(p *play, sub string) {
		p.calls(sub, []any{"lendThing", "x"})
		p.call("drop", sub, "far", "drop", "x")
		p.calls(sub, []any{"letGo", "x"}, []any{"add", 1.0}, []any{"far", "add", 2.0})
	})},
	{name: "delete", run: with(one, func(p *play, sub string) {
		thing := p.ref("give", sub, "give", "x", 3.0)
		p.forget("give")
		p.ask("before", thing, "bump", 1.0)
		p.calls(sub, []any{"delete", "x"})
		p.answer("before")
		p.collect()
	})},
	{name: "circle-in-store", run: with(one, func(p *play, sub string) {
		p.calls(sub, []any{"ring", "x", 3.0}, []any{"letGo", "x"})
		p.collect()
	})},
	{name: "row-in-store", run: with(one, func(p *play, sub string) {
		p.calls(sub, []any{"grow", "x", 4.0}, []any{"letGo", "x"})
		p.collect()
	})},
	{name: "circle-of-promises", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"circle", 3.0})
		p.collect()
	})},
	{name: "release", run: with(one, func(p *play, sub string) {
		thing := p.ref("make", sub, "make", 3.0)
		p.call("bump", thing, "bump", 1.0)
		p.must("release", func(k *host.Shell, _ bool) error {
			k.Release("", "make")
			_, err := k.Epoch(p.ctx) // which comes behind it
			return err
		})
		p.forget("make") // a kernel that died before the removal was durable keeps it
		p.collect()
	})},
	{name: "collect", run: with(two, func(p *play, sub string) {
		for _, key := range []string{"x", "y"} {
			p.call("lend "+key, sub, "lendThing", key)
			p.call("drop "+key, sub, "far", "drop", key)
			p.call("let go "+key, sub, "letGo", key)
		}
		p.collect()
	})},
	{name: "circle-across-vats", run: with(two, func(p *play, sub string) {
		// A thing of a holds one of b, which holds that of a: a documented limit, which ends with the subcluster.
		p.calls(sub, []any{"lendThing", "x"})
		mine := p.ref("give", sub, "give", "y", 1.0)
		theirs := p.ref("theirs", sub, "farOn", "give", "z", 1.0)
		p.hold("hold", mine, theirs)
		p.hold("hold too", theirs, mine)
		p.forget("give", "theirs", "hold", "hold too")
		p.calls(sub, []any{"letGo", "y"})
		p.call("let go far", sub, "far", "letGo", "z")
		p.collect()
		p.terminate(sub)
		p.collect()
	})},
}
