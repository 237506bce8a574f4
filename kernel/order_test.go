package kernel_test

import (
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
)

// stoppedSubscriber makes a world in which v2 has stopped for good, with one promise of v1 that has settled
// since v2 subscribed to it, and one that has not.
func stoppedSubscriber(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.cluster(nil, "a")
	w.cluster(func(l *kernel.LaunchVat) { l.Never = true }, "c")
	w.call("E1.t1", "ko4", "go", "ko5")
	w.deliver("v1", "let c $0\nsend $0 take p+1 p+2\nresolve $r=null")
	w.deliver("v2", "subscribe $0\nsubscribe $1")
	w.call("E1.t2", "ko4", "settle")
	w.call("E1.t3", "ko5", "die")
	w.begin("v2")
	w.deliver("v1", "resolve p+1=null $r=null")
	w.died("v2", kernel.CauseCrash, "")
	return w
}

func TestNotificationsOfAStoppedVatKeepTheirOrder(t *testing.T) {
	w := stoppedSubscriber(t)
	w.call("E1.t4", "ko4", "settle")
	w.deliver("v1", "resolve p+2=null $r=null")
	w.run(nil)
	w.do(w.m.Restart("v2", true))
	w.flush()
	w.run(nil)
	out := w.flush()
	if i, j := strings.Index(out, "notify p-2"), strings.Index(out, "notify p-3"); i < 0 || j < i {
		t.Errorf("got %s", out)
	}
}

func TestMessageAfterRestartComesAfterNotification(t *testing.T) {
	w := stoppedSubscriber(t)
	w.do(w.m.Restart("v2", true))
	w.call("E1.t4", "ko4", "after")
	w.deliver("v1", "send $c after\nresolve $r=null")
	w.flush()
	w.run(nil)
	out := w.flush()
	if i, j := strings.Index(out, "notify p-2"), strings.Index(out, "o+0.after"); i < 0 || j < i {
		t.Errorf("got %s", out)
	}
}
