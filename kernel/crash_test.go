package kernel_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// session is a script that does a bit of everything. Host calls are noted in made once the kernel has
// accepted them durably.
func session(w *world, made map[string]bool) {
	call := func(ticket string, target kernel.KRef, method string, slots ...kernel.KRef) {
		if w.call(ticket, target, method, slots...) {
			made[ticket] = true
		}
	}
	w.launch(nil, "a", "b")
	w.run(nil)
	w.launch(func(l *kernel.LaunchVat) { l.MaxQueue, l.MaxRestarts = 3, 1 }, "c", "d")
	w.run(nil)
	call("E1.know", "ko4", "know", "ko5", "ko6", "ko7")
	w.deliver("v1", "let b $0\nlet c $1\nlet d $2\nset k v\nresolve $r=(o+1 p+1 $1)")
	call("E1.go", "ko4", "go")
	w.deliver("v1", `send $b one p+1 p+2 o+1 o+d1/1 -> p+3
		send p+3 two p+3 -> p+4
		send $c three p+1 -> p+5
		send $c four -> p+6
		send $c five
		send $c six -> p+7
		send p+1 parked $d -> p+8
		subscribe p+4
		subscribe p+5
		subscribe p+6
		subscribe p+7
		subscribe p+8
		let r $r`)
	w.deliver("v2", "subscribe $0\nsubscribe $1\nlet o $2\nresolve $r=o+d1/1")
	w.deliver("v3", "send $0 seven -> $r")
	call("E1.kill", "ko7", "kill")
	w.begin("v4")
	w.died("v4", kernel.CauseDeadline, "")
	w.begin("v4")
	w.died("v4", kernel.CauseCrash, "") // stopped
	call("E1.late", "ko7", "late")
	w.deliver("v1", "set k w") // a notification: the queue of c is full
	call("E1.settle", "ko4", "settle")
	w.deliver("v1", "resolve p+1=$d p+2=(p+1 o+2) $r=null")
	call("E1.slip", "ko4", "slip")
	w.deliver("v1", "resolve p+1=null") // not its to resolve
	w.deliver("v1", "resolve $r=null")
	for _, cause := range []kernel.Cause{kernel.CauseKilled, kernel.CauseCrash, kernel.CauseFault, kernel.CauseLimit} {
		w.begin("v2")
		w.died("v2", cause, "") // poisoned
	}
	w.do(w.m.Revoke("ko6"))
	w.run(nil)
	w.do(w.m.Acknowledge("E1.know"))
	w.do(w.m.Restart("v4", true))
	call("E1.again", "ko7", "again", "ko4")
	w.deliver("v4", "exit\nresolve $r=bye")
	w.run(nil)
	w.do(w.m.Unpoison("v2", 1, true))
	w.launch(nil, "e")
	w.deliver("v5", "resolve p+1=null") // dies: the launch fails
	w.run(nil)
	call("E1.last", "ko5", "last", "ko4")
	w.begin("v2")
	w.do(w.m.Terminate("s1"))
	w.run(nil)
	w.now += 10
	c, _, err := w.m.Expire(w.now)
	w.do(c, err)
}

// TestKillAtEveryCommit kills the kernel after each commit of a session, so that the next commit does not exist and the
// effects of the last one have not happened, and lets the next kernel go on from the stored state.
func TestKillAtEveryCommit(t *testing.T) {
	t.Parallel()
	killAtEveryCommit(t, 80, session, func(w *world, _ map[string]bool) { w.run(nil) })
}

// killAtEveryCommit does that with a session of at least so many commits; recovered plays the next kernel.
func killAtEveryCommit(t *testing.T, least int, session, recovered func(w *world, made map[string]bool)) {
	t.Helper()
	whole := newWorld(t)
	session(whole, map[string]bool{})
	if whole.applied < least {
		t.Errorf("the session has only %d commits", whole.applied)
	}
	for n := 1; n <= whole.applied; n++ {
		w := newWorld(t)
		if w.crashAt = n; n == w.applied {
			continue // the state was just begun
		}
		made := map[string]bool{}
		func() {
			defer func() {
				if p := recover(); p != nil && p != any(crash{}) {
					panic(p)
				}
			}()
			session(w, made)
		}()
		// A call whose commit was the last one was accepted, only the host was not told.
		w.reopen()
		recovered(w, made)
		for ticket := range made {
			if !strings.HasPrefix(ticket, "E1.") {
				continue
			}
			if st := must(w.m.Ticket(ticket)); st.Found && st.Pending {
				t.Errorf("kill after commit %d: %s waits for ever", n, ticket)
			} else if !st.Found && n < whole.applied-1 {
				t.Errorf("kill after commit %d: %s is forgotten", n, ticket)
			}
		}
		for _, s := range must(w.m.Subclusters()) {
			if s.State != kernel.SubRunning {
				t.Errorf("kill after commit %d: %s is %s", n, s.ID, s.State)
			}
		}
		for _, line := range kernel.Dump(w.mem) {
			if strings.HasSuffix(line, " pending ") || strings.HasPrefix(line, "work ") {
				t.Errorf("kill after commit %d: %s", n, line)
			}
		}
		if left := w.leftovers(); len(left) > 0 {
			t.Errorf("kill after commit %d: left %q", n, left)
		}
		if t.Failed() {
			t.Fatal(w.flush())
		}
	}
}

// A kernel that is killed over and over, each time before it gets far, gets done in the end.
func TestKillsInARow(t *testing.T) {
	for every := 1; every <= 5; every++ {
		w := newWorld(t)
		w.cluster(nil, "a", "b")
		w.cluster(nil, "c")
		for i := range 5 {
			w.call(fmt.Sprintf("E1.%d", i), "ko4", "go", "ko5", "ko6")
			w.deliver("v1", fmt.Sprintf("send $0 hello p+%[1]d -> p+%[2]d\nsend p+%[2]d parked -> p+%[3]d\nsubscribe p+%[3]d\nresolve $r=(p+%[3]d)", 3*i+1, 3*i+2, 3*i+3))
		}
		w.do(w.m.Terminate("s1"))
		for kills := 0; ; kills++ {
			if kills > 500 {
				t.Fatalf("killed every %d commits, it never gets done", every)
			}
			done := func() (done bool) {
				defer func() {
					if p := recover(); p != nil && p != any(crash{}) {
						panic(p)
					}
				}()
				w.crashAt = 0
				w.reopen()
				w.crashAt = w.applied + every
				w.run(nil)
				return true
			}()
			if done {
				break
			}
		}
		w.crashAt = 0
		for i := range 5 {
			if st := must(w.m.Ticket(fmt.Sprintf("E1.%d", i))); st.Pending {
				t.Errorf("call %d waits for ever", i)
			}
		}
		if left := w.leftovers(); len(left) > 0 {
			t.Errorf("left %q", left)
		}
	}
}

func TestStateOfANewerKernelIsRefused(t *testing.T) {
	w := newWorld(t)
	w.cluster(nil, "a")
	newer := []byte{0, 0, 0, 0, 0, 0, 0, kernel.SchemaVersion + 1}
	if err := w.mem.Commit([]storage.Write{{Key: "schema", Value: newer}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := kernel.Open(w.mem, w.mem.Limits(), "E2"); !errors.Is(err, kernel.ErrNewerSchema) {
		t.Errorf("got %v, want ErrNewerSchema", err)
	}
	other := storage.NewMem()
	if err := other.Commit([]storage.Write{{Key: "something", Value: []byte("else")}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := kernel.Open(other, other.Limits(), "E2"); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a store of something else: got %v, want ErrCorrupt", err)
	}
}
