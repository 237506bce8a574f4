package enumeration_test

import (
	"time"

	"ocapkernel.dev/host"
)

// operations are the orders of operators, and tickets.
var operations = []scenario{
	{name: "ticket-twice", run: with(one, func(p *play, sub string) {
		p.ask("same", sub, "add", 1.0)
		p.ask("same", sub, "add", 1.0)
		p.answer("same")
		p.ask("same", sub, "add", 1.0)
		p.answer("same")
		p.call("sum", sub, "add", 0.0)
	})},
	{name: "ticket-conflict", run: with(one, func(p *play, sub string) {
		p.call("sum", sub, "add", 1.0)
		p.ask("sum", sub, "add", 2.0)
	})},
	{name: "ticket-acknowledged", run: with(one, func(p *play, sub string) {
		p.call("sum", sub, "add", 1.0)
		p.acknowledge("sum")
		p.acknowledge("sum")
		p.answer("sum")
		p.call("sum", sub, "add", 1.0)
	})},
	{name: "ticket-expired", run: func(p *play) {
		p.change = func(c *host.Config) { c.KeepAnswers = time.Hour }
		p.reboot()
		sub := p.launch("cluster", one)
		p.call("sum", sub, "add", 1.0)
		p.pass(2 * time.Hour)
		p.reboot()
		p.answer("sum")
		p.call("sum again", sub, "add", 1.0)
	}},
	{name: "ticket-pending", run: with(one, func(p *play, sub string) {
		p.ask("hangs", sub, "hang")
		p.answer("hangs")
		p.terminate(sub)
		p.answer("hangs")
	})},
	{name: "revoke", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"lendThing", "x"})
		thing := p.ref("show", sub, "farOn", "show", "x")
		p.call("before", sub, "far", "use", "x", "bump", 1.0)
		p.revoke(thing)
		p.call("after", sub, "far", "use", "x", "bump", 1.0)
		p.call("host", thing, "bump", 1.0)
		p.forget("show")
	})},
	{name: "revoke-queued", run: with(two, func(p *play, sub string) {
		thing := p.ref("give", sub, "give", "x", 1.0)
		p.ask("queued", sub, "hang")
		p.revoke(thing)
		p.call("after", thing, "bump", 1.0)
		p.call("value", sub, "value", "x")
		p.terminate(sub)
	})},
	{name: "apply", run: with(one, func(p *play, sub string) {
		p.calls(sub, []any{"add", 1.0})
		p.apply(sub, "cluster", `{"bootstrap": "a", "vats": {"a": {"module": "actor"}, "more": {"module": "actor"}}, "services": ["ledger", "timer"], "limits": {"queue": 50}}`)
		p.call("sum", sub, "add", 1.0)
		p.call("more", sub+"/more", "add", 5.0)
	})},
	{name: "apply-io", run: with(one, func(p *play, sub string) {
		p.apply(sub, "cluster", `{"bootstrap": "a", "vats": {"a": {"module": "actor"}}, "services": ["ledger", "timer"], "io": {"line": {"type": "console"}}}`)
		p.call("sum", sub, "add", 1.0)
	})},
	{name: "apply-replace", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"add", 1.0})
		sub = p.replace(sub, "cluster", one)
		p.call("sum", sub, "add", 1.0)
	})},
	{name: "upgrade", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"add", 1.0}, []any{"begin", "x", "waitStored"}, []any{"settle", "x", 3.0})
		p.program = laterActors()
		p.reboot()
		p.restart(p.vat(sub, "a"), true)
		p.restart(p.vat(sub, "b"), true)
		p.call("sum", sub, "add", 1.0)
		p.call("told", sub+"/b", "tell")
	})},
	{name: "reload", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"add", 1.0})
		sub = p.reload(sub)
		p.call("sum", sub, "add", 1.0)
	})},
	{name: "reload-busy", run: with(one, func(p *play, sub string) {
		p.ask("hangs", sub, "hang")
		p.run()
		sub = p.reload(sub)
		p.answer("hangs")
		p.call("sum", sub, "add", 1.0)
	})},
	{name: "reset", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"add", 1.0})
		p.reset()
		p.launch("cluster", one)
	})},
	{name: "system-launch", run: func(p *play) {
		p.system(one)
		p.reboot()
		sub := p.ready()
		p.call("sum", sub, "add", 1.0)
		p.reboot()
		p.call("sum again", p.ready(), "add", 1.0)
	}},
	{name: "system-upgrade", run: func(p *play) {
		p.system(one)
		p.reboot()
		p.call("sum", p.ready(), "add", 1.0)
		p.system(`{"bootstrap": "a", "vats": {"a": {"module": "actor"}, "b": {"module": "actor"}}, "services": ["ledger", "timer"]}`)
		p.reboot()
		p.call("sum again", p.ready(), "add", 1.0)
	}},
	{name: "system-reload", run: func(p *play) {
		p.system(one)
		p.reboot()
		p.call("sum", p.ready(), "add", 1.0)
		p.reload("sys")
		p.call("sum again", p.ready(), "add", 1.0)
	}},
	{name: "system-reset", run: func(p *play) {
		p.system(one)
		p.reboot()
		p.call("sum", p.ready(), "add", 1.0)
		p.reset()
		p.call("sum again", p.ready(), "add", 1.0)
	}},
	{name: "facet", run: func(p *play) {
		p.system(`{"bootstrap": "a", "vats": {"a": {"module": "actor"}}, "services": ["kernelFacet"]}`)
		p.reboot()
		sub := p.ready()
		other := p.launch("cluster", one)
		p.call("ping", sub, "manage", "ping")
		p.call("restart", sub, "manage", "restartVat", string(p.vat(other, "a")))
		p.call("sum", other, "add", 1.0)
		p.call("terminate", sub, "manage", "terminateSubcluster", other)
	}},
	{name: "facet-launch", run: func(p *play) {
		p.system(`{"bootstrap": "a", "vats": {"a": {"module": "actor"}}, "services": ["kernelFacet"]}`)
		p.reboot()
		sub := p.ready()
		p.call("launch", sub, "manage", "launchSubcluster", value(`{"bootstrap": "a", "vats": {"a": {"module": "actor"}}}`))
		p.forget("launch")
		p.call("sum", p.newest(), "add", 1.0)
	}},
	{name: "page-out", run: func(p *play) {
		p.change = func(c *host.Config) { c.MaxWorkers = 1 }
		p.reboot()
		sub := p.launch("cluster", three)
		p.call("one", sub, "far", "add", 1.0)
		p.call("two", sub+"/c", "add", 1.0)
		p.call("three", sub+"/b", "add", 1.0)
		p.call("four", sub, "both")
	}},
	{name: "page-out-parked", run: func(p *play) {
		p.change = func(c *host.Config) { c.MaxWorkers = 1 }
		p.reboot()
		sub := p.launch("cluster", three)
		p.call("begin", sub, "begin", "x", "waitStored")
		p.call("two", sub+"/c", "add", 1.0)
		p.call("settle", sub, "settle", "x", 1.0)
		p.call("told", sub+"/b", "tell")
	}},
	{name: "hold-back", run: with(two, func(p *play, sub string) {
		// The memory of b grows beyond the number of records at which new messages to it are held back until it is at rest.
		p.calls(sub, []any{"begin", "x", "wait"}, []any{"spam", 1010.0})
		p.call("held", sub+"/b", "add", 1.0)
		p.calls(sub, []any{"settle", "x", 3.0})
		p.call("sum", sub+"/b", "add", 1.0)
	}), every: 400},
}
