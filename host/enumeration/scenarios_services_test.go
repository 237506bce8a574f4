package enumeration_test

import "time"

// ambiguous is the rejection of a call that cannot be done twice, if the kernel died during it.
func ambiguous(method string) string {
	return "rejected: [KERNEL:AMBIGUOUS] the kernel died during the call of " + method + ": whether it happened is not known"
}

// services are the calls of services, channels and timers.
var services = []scenario{
	{name: "pay", run: with(one, func(p *play, sub string) {
		p.call("pay", sub, "pay", "pay", "rent")
		p.forget("pay")
	}), allow: []allowance{{"pay", ambiguous("pay"), "pay rent"}}},
	{name: "pay-stored", run: with(one, func(p *play, sub string) {
		p.call("pay", sub, "payStored", "pay", "rent")
		p.call("pay again", sub, "payStored", "pay", "food")
		p.forget("pay", "pay again")
	}), allow: []allowance{{"pay", ambiguous("pay"), "pay rent"}, {"pay again", ambiguous("pay"), "pay food"}}},
	{name: "pay-on", run: with(one, func(p *play, sub string) {
		p.call("pay", sub, "payOn", "pay", "rent")
		p.forget("pay")
	}), allow: []allowance{{"pay", ambiguous("pay"), "pay rent"}}},
	{name: "pay-later", run: with(one, func(p *play, sub string) {
		p.ask("pay", sub, "pay", "payLater", "rent")
		p.run()
		p.goOn()
		p.answer("pay")
		p.forget("pay")
	}), allow: []allowance{{"pay", ambiguous("payLater"), "payLater rent"}}},
	{name: "pay-fails", run: with(one, func(p *play, sub string) {
		p.call("pay", sub, "pay", "fail", "rent")
		p.forget("pay")
	}), allow: []allowance{{"pay", ambiguous("fail"), "fail rent"}}},
	{name: "look", run: with(one, func(p *play, sub string) {
		p.call("look", sub, "pay", "look", "rent")
		p.call("look stored", sub, "payStored", "look", "food")
		p.call("look on", sub, "payOn", "look", "car")
	}), repeats: []string{"look "}},
	{name: "look-later", run: with(one, func(p *play, sub string) {
		p.ask("look", sub, "pay", "lookLater", "rent")
		p.run()
		p.goOn()
		p.answer("look")
	}), repeats: []string{"lookLater "}},
	{name: "pay-terminated", run: with(one, func(p *play, sub string) {
		p.ask("pay", sub, "pay", "lookLater", "rent")
		p.run()
		p.terminate(sub)
		p.goOn()
		p.answer("pay")
	}), repeats: []string{"lookLater "}},
	{name: "read", run: with(piped, func(p *play, sub string) { p.calls(sub, []any{"read", 3.0}, []any{"tell"}) })},
	{name: "read-forgotten", run: with(piped, func(p *play, sub string) {
		p.calls(sub, []any{"read", 1.0})
		p.restart(p.vat(sub, "a"), true)
		p.call("again", sub, "read", 2.0)
		p.calls(sub, []any{"tell"})
	})},
	{name: "listen", run: with(piped, func(p *play, sub string) {
		p.out.limit(3)
		p.calls(sub, []any{"listen"}, []any{"tell"})
	})},
	{name: "write", run: with(piped, func(p *play, sub string) {
		p.call("write", sub, "write", "one")
		p.call("write too", sub, "write", "two")
		p.forget("write", "write too")
	}), allow: []allowance{{"write", ambiguous("write"), "line writes one"}, {"write too", ambiguous("write"), "line writes two"}}},
	{name: "accept", run: with(piped, func(p *play, sub string) {
		p.calls(sub, []any{"accept", "x"})
		p.call("write", sub, "use", "x", "write", "hello")
		p.calls(sub, []any{"drop", "x"})
		p.forget("write")
		p.collect()
	}), allow: []allowance{
		{"write", ambiguous("write"), "a connection gets hello"}, {"write", ambiguousLost, "a connection gets hello"}, {"write", connectionLost, "a connection gets hello"},
	}, repeats: []string{"a connection is closed"}},
	{name: "accept-stored", run: with(piped, func(p *play, sub string) {
		p.calls(sub, []any{"acceptStored", "x"}, []any{"drop", "x"})
		p.collect()
	}), repeats: []string{"a connection is closed"}},
	{name: "nap", run: with(one, func(p *play, sub string) {
		p.ask("nap", sub, "nap", 50.0)
		p.run()
		p.pass(time.Second)
		p.answer("nap")
	})},
	{name: "nap-stored", run: with(one, func(p *play, sub string) {
		p.calls(sub, []any{"napStored", 50.0})
		p.pass(time.Second)
		p.call("sum", sub, "add", 0.0)
	})},
	{name: "nap-terminated", run: with(one, func(p *play, sub string) {
		p.ask("nap", sub, "nap", 1e9)
		p.run()
		p.terminate(sub)
		p.pass(time.Second)
		p.answer("nap")
	})},
	{name: "repeat", run: with(one, func(p *play, sub string) {
		p.calls(sub, []any{"repeat", "r", 100.0})
		p.pass(350 * time.Millisecond)
		p.call("cancel", sub, "use", "r", "cancel")
		p.calls(sub, []any{"drop", "r"}, []any{"tell"})
		p.collect()
	})},
	{name: "repeat-terminated", run: with(one, func(p *play, sub string) {
		p.calls(sub, []any{"repeat", "r", 100.0})
		p.pass(350 * time.Millisecond)
		p.terminate(sub)
		p.pass(time.Second)
	})},
}

// ambiguousLost is ambiguous of a call of an object that was lost with the kernel.
const ambiguousLost = "rejected: [KERNEL:AMBIGUOUS] the kernel died during the call: whether it happened is not known"

const connectionLost = "rejected: [KERNEL:CONNECTION_LOST] the connection was lost with an earlier kernel"
