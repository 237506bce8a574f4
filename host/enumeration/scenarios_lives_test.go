package enumeration_test

// lives are the beginnings and ends of vats and subclusters.
var lives = []scenario{
	{name: "launch", run: func(p *play) { p.launch("cluster", three) }},
	{name: "launch-two", run: func(p *play) {
		p.launch("first", one)
		p.launch("second", two)
	}},
	{name: "launch-fails", run: func(p *play) {
		p.fails("missing", `{"bootstrap": "a", "vats": {"a": {"module": "missing"}, "b": {"module": "actor"}}}`)
		p.fails("faulty", `{"bootstrap": "a", "vats": {"b": {"module": "actor"}, "a": {"module": "faulty"}}}`)
		p.launch("after", one)
	}},
	{name: "terminate", run: with(two, func(p *play, sub string) {
		p.call("far", sub, "far", "add", 3.0)
		p.terminate(sub)
	})},
	{name: "terminate-busy", run: with(two, func(p *play, sub string) {
		p.ask("hangs", sub, "hang")
		p.ask("hangs far", sub, "far", "hang")
		p.run()
		p.terminate(sub)
		p.answer("hangs")
		p.answer("hangs far")
	})},
	{name: "terminate-vat", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"lendThing", "x"})
		p.ask("hangs", sub, "far", "hang")
		p.run()
		p.terminateVat(p.vat(sub, "b"))
		p.answer("hangs")
		p.call("later", sub, "far", "add", 1.0)
		p.collect()
	})},
	{name: "terminate-owner", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"far", "lendThing", "x"})
		p.terminateVat(p.vat(sub, "b"))
		p.calls(sub, []any{"use", "x", "get"}, []any{"drop", "x"})
		p.collect()
	})},
	{name: "terminate-last", run: with(one, func(p *play, sub string) {
		p.terminateVat(p.vat(sub, "a"))
		p.run()
	})},
	{name: "restart", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"begin", "x", "wait"})
		p.restart(p.vat(sub, "a"), false)
		p.restart(p.vat(sub, "b"), false)
		p.calls(sub, []any{"settle", "x", 3.0})
		p.call("told", sub, "far", "tell")
	})},
	{name: "restart-forget", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"add", 2.0}, []any{"begin", "x", "wait"})
		p.restart(p.vat(sub, "a"), true)
		p.calls(sub, []any{"settle", "x", 3.0})
		p.call("sum", sub, "add", 1.0)
		p.call("told", sub, "far", "tell")
	})},
	{name: "restart-forget-exports", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"lendKept", "x"})
		p.restart(p.vat(sub, "a"), true)
		p.call("poke", sub, "far", "use", "x", "poke")
		p.call("drop", sub, "far", "drop", "x")
		p.collect()
	})},
	{name: "replay", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"begin", "x", "wait"}, []any{"begin", "y", "wait"}, []any{"far", "add", 1.0})
		p.reboot()
		p.calls(sub, []any{"settle", "x", 1.0})
		p.reboot()
		p.calls(sub, []any{"settle", "y", 2.0})
		p.call("told", sub, "far", "count")
	})},
	{name: "rehearse", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"begin", "x", "wait"}, []any{"far", "add", 1.0})
		p.rehearse("a", p.vat(sub, "a"))
		p.rehearse("b", p.vat(sub, "b"))
		p.calls(sub, []any{"settle", "x", 3.0})
		p.call("told", sub, "far", "tell")
	})},
	{name: "exit", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"mourn"})
		p.call("leave", sub, "far", "leave", "bye")
		p.calls(sub, []any{"tell"})
		p.call("later", sub, "far", "add", 1.0)
		p.collect()
	})},
	{name: "exit-failure", run: with(two, func(p *play, sub string) {
		p.calls(sub, []any{"mourn"})
		p.call("give up", sub, "far", "giveUp")
		p.calls(sub, []any{"tell"})
		p.collect()
	})},
	{name: "exit-last", run: with(one, func(p *play, sub string) {
		p.calls(sub, []any{"leave", "bye"})
		p.collect()
	})},
	{name: "poisoned", run: with(two, func(p *play, sub string) {
		p.call("boom", sub, "far", "boom")
		p.call("after", sub, "far", "add", 1.0)
		p.unpoison(false)
	})},
	{name: "poisoned-retry", run: with(one, func(p *play, sub string) {
		p.calls(sub, []any{"boom"})
		p.unpoison(true)
		p.unpoison(false)
		p.calls(sub, []any{"add", 1.0})
	})},
	{name: "stopped", run: with(`{"bootstrap": "a", "vats": {"a": {"module": "actor"}, "b": {"module": "actor", "restart": "never"}}}`, func(p *play, sub string) {
		p.call("boom", sub, "far", "boom")
		p.call("stopped", sub, "far", "add", 1.0)
		p.restart(p.vat(sub, "b"), false)
		p.call("revived", sub, "far", "add", 1.0)
	}), noKills: true},
	{name: "transcript-full", run: with(`{"bootstrap": "a", "vats": {"a": {"module": "actor", "limits": {"transcript": 3}}, "b": {"module": "actor"}}}`, func(p *play, sub string) {
		p.calls(sub, []any{"begin", "x", "wait"})
		for _, ticket := range []string{"1", "2", "3", "4"} {
			p.call(ticket, sub, "add", 1.0)
		}
		p.call("settle", sub, "settle", "x", 3.0)
		p.call("sum", sub, "add", 0.0)
		p.call("wipe", sub+"/b", "wipe")
		p.forget("settle")
	}), allow: []allowance{{call: "settle", outcome: "false"}}},
}
