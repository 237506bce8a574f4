package e2e_test

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A kernel in which no file can be opened, whatever happens then: its workers die, clients come. It waits, and goes on by
// itself. No vat is blamed for it, and each transfer happens once.
func TestAKernelWithoutDescriptorsWaits(t *testing.T) {
	s := newSite(t)
	config, err := filepath.Abs("../examples/bank/cluster.json")
	if err != nil {
		t.Fatal(err)
	}
	d := s.run(t, config)
	var limit unix.Rlimit
	if err := unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	bank := newCustomers(t, s.state, 3, dice(t).Uint64())
	for round := range 3 {
		bank.areServedMore(t)
		none := limit
		none.Cur = 3
		if err := unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_NOFILE, &none, nil); err != nil {
			t.Fatal(err)
		}
		for _, w := range s.workers() {
			_ = syscall.Kill(w.pid, syscall.SIGKILL) // it may have ended
		}
		eventually(t, func() error {
			if n := strings.Count(s.log(t), "deliveries and calls pause"); n <= round {
				return errors.New("no pause")
			}
			return nil
		})
		if !d.alive() {
			t.Fatal("the kernel has ended")
		}
		if err := unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
			t.Fatal(err)
		}
	}
	bank.areServedMore(t)
	bank.settle(t)
	if out := s.must(t, "ps"); strings.Contains(out, "stopped") || strings.Contains(out, "failed") {
		t.Error(out)
	}
	d.stop()
	s.must(t, "check")
}
