package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/scripttest"
)

// The first process of a container gets the orphans of all processes: it reaps those that have ended and kills none.
// Another process that adopts orphans kills them, except those that descend from children that were there before.
func TestWhoIsKilledForBeingAnOrphan(t *testing.T) {
	if !scripttest.Alone(t) {
		return
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	// orphan starts a daemon in a session of its own that lives for so many seconds, and returns its id.
	orphan := func(seconds string) (pid int) {
		t.Helper()
		out, err := exec.Command("setsid", "sh", "-c", "sleep "+seconds+" >/dev/null 2>&1 & echo $!").Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(string(out), &pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	state := func(pid int) byte {
		p, err := readStat(pid)
		if err != nil {
			return 0
		}
		return p.state
	}
	lives := func(pid int) bool { s := state(pid); return s != 0 && s != 'Z' }
	gone := func(f *family, what string, pid int) {
		t.Helper()
		if err := scripttest.Within(30*time.Second, func() error {
			f.sweep(0)
			if s := state(pid); s != 0 {
				return fmt.Errorf("%s is %c", what, s)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	strange, brief := orphan("1000"), orphan("0")
	first := &family{known: map[int]struct{}{}, strange: map[int]struct{}{}}
	first.adopt(initPID)
	later := orphan("1000")
	gone(first, "what has ended", brief)
	if first.killRest(0); !lives(strange) || !lives(later) {
		t.Error("the first process has killed an orphan")
	}
	if err := unix.Kill(later, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(first, "what was killed", later)

	second := &family{known: map[int]struct{}{}, strange: map[int]struct{}{}}
	second.adopt(os.Getpid())
	gone(second, "an orphan", orphan("1000"))
	if !lives(strange) {
		t.Error("what was there before is killed")
	}
	if err := unix.Kill(strange, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(second, "what was there before, and has ended", strange)
}
