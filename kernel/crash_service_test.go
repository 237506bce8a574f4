package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// keepsLines answers in few words, and keeps in its store which lines of input it was told.
func keepsLines(_ kernel.VatID, d wire.Deliver) string {
	words := answer(d)
	if n, ok := d.Delivery.(wire.Notify); ok {
		for _, r := range n.Resolutions {
			if line, ok := strings.CutPrefix(r.Value.Body, `#"line`); ok && !r.Rejected {
				words += "set got.line" + strings.Trim(line, `"`) + " x\n"
			}
		}
	}
	return words
}

// serviceSession is a script that does a bit of everything with service objects. made notes the inputs that the kernel
// has accepted durably: host calls, and lines of input as "unit LINE".
func serviceSession(w *world, made map[string]bool) {
	call := func(ticket string, target kernel.KRef, method string, slots ...kernel.KRef) {
		if w.call(ticket, target, method, slots...) {
			made[ticket] = true
		}
	}
	line := func(k kernel.KRef, n uint64, text string) {
		w.unit(k, n, text)
		made["unit "+text] = true
	}
	w.withServices(append(own("in", "out"), global("facet")...), "a", "b") // v1 ko4, v2 ko5, in ko6, out ko7, facet ko8
	call("E1.go", "ko4", "go")
	w.deliver("v1", `send $in read -> p+1
		send $in read -> p+2
		send $in read -> p+3
		send $in accept -> p+4
		send p+4 read -> p+5
		send $out write o+1 -> p+6
		send $b give $in -> p+7
		send p+7 read -> p+8
		subscribe p+1
		subscribe p+2
		subscribe p+3
		subscribe p+5
		subscribe p+6
		subscribe p+8
		resolve $r=null`)
	line("ko6", 0, "line1")
	w.deliver("v1", "set got.line1 x")
	line("ko6", 1, "line2")
	w.complete("ko6", 3, "new", func(c *kernel.Completion) { c.Unit = "accept" })
	w.deliver("v2", "resolve $r=$0")
	w.complete("ko7", 0, "null", func(c *kernel.Completion) { c.State = []byte("written") })
	w.forget("v1")
	call("E1.read", "ko6", "read")
	calls := w.outstanding("ko6")
	c, _, err := w.m.TakeUnit(kernel.CallID{Service: "ko6", N: calls[len(calls)-1]}, "read", w.now)
	w.do(c, err)
	call("E1.launch", "ko8", "launch")
	l := kernel.Launch{
		Bootstrap: "c", Vats: []kernel.LaunchVat{launchVat("c")}, Services: own("in"), System: "sys", Source: "launched", Config: []byte("{}"),
		By: kernel.CallID{Service: "ko8", N: w.outstanding("ko8")[0]},
	}
	w.up(l)
	w.do(w.m.Emit("ko7", []byte("emitted"), "ko5", kernel.Data{Body: callBody("tick", []string{})}, w.now))
	call("E1.forward", "ko8", "forward")
	w.do(w.m.Forward(kernel.CallID{Service: "ko8", N: w.outstanding("ko8")[0]}, "ko5", kernel.Data{Body: callBody("forwarded", []string{})}, w.now))
	call("E1.conn", "ko7", "dial")
	w.complete("ko7", 1, "(ko5 new)", nil)
	call("E1.revoked", "ko7", "write")
	w.do(w.m.Revoke("ko7"))
	call("E1.late", "ko7", "write")
	w.run(keepsLines)
	w.do(w.m.EndService("ko6"))
	call("E1.gone", "ko6", "read")
	w.run(keepsLines)
	for _, s := range must(w.m.Subclusters()) {
		if s.System != "" {
			w.do(w.m.Reload(s.ID))
		}
	}
	w.run(keepsLines)
	relaunch(w)
	w.launch(nil, "e")
	w.do(w.m.Terminate("s1"))
	w.run(keepsLines)
}

// relaunch launches the subclusters that a reload has removed.
func relaunch(w *world) {
	for _, r := range must(w.m.Reloads()) {
		w.up(kernel.Launch{
			Bootstrap: "c", Vats: []kernel.LaunchVat{launchVat("c")}, Services: own("in"), System: r.System, Replaces: r.Sub, Config: r.Config,
			Source: "reloaded",
		})
	}
}

func TestKillAtEveryCommitOfServiceCalls(t *testing.T) {
	t.Parallel()
	killAtEveryCommit(t, 70, serviceSession, func(w *world, made map[string]bool) {
		w.endGlobals = true
		ended := func(k kernel.KRef) bool { _, found, _ := w.m.Service(k); return !found }
		w.run(keepsLines)
		relaunch(w)
		for { // these calls may have happened or not
			pending := false
			for _, s := range must(w.m.Services()) {
				for _, n := range w.outstanding(s.KRef) {
					w.complete(s.KRef, n, "!ambiguous", nil)
					pending = true
				}
			}
			if w.run(keepsLines); !pending {
				break
			}
		}
		launched, subs := 0, must(w.m.Subclusters())
		for _, s := range subs {
			if s.Source == "launched" || s.Source == "reloaded" {
				launched++
			}
		}
		if st := must(w.m.Ticket("E1.launch")); st.Found && (launched == 1) == st.Rejected || launched > 1 {
			w.t.Errorf("%d subclusters are there, and who launched it is told %s", launched, ticketText(st))
		}
		if len(must(w.m.Reloads())) > 0 {
			w.t.Error("a reload is still to be done")
		}
		// Each line is got once, or is still there; it may go with the channel, or with the vat that got it.
		if ended("ko6") || !slices.ContainsFunc(subs, func(s kernel.Subcluster) bool { return s.ID == "s1" }) {
			return
		}
		back := fmt.Sprint(w.drained("ko6"))
		for _, line := range []string{"line1", "line2"} {
			got := 0
			for _, there := range []bool{
				w.has("s.v1.got." + line), strings.Contains(back, line), strings.Contains(ticketText(must(w.m.Ticket("E1.read"))), line),
			} {
				if there {
					got++
				}
			}
			if got > 1 || (got == 0 && made["unit "+line]) {
				w.t.Errorf("%s is there %d times", line, got)
			}
		}
		for _, s := range must(w.m.Services()) { // calls by a host
			for _, n := range w.outstanding(s.KRef) {
				w.complete(s.KRef, n, "!ambiguous", nil)
			}
		}
		w.run(keepsLines)
	})
}
