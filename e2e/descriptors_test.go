package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const customers = 3
	orders, failures := make([][]transfer, customers), make(chan error, customers)
	var answered atomic.Int64
	var wg sync.WaitGroup
	for c := range customers {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				tr := transfer{from: c, to: (c + 1) % customers, amount: 1 + n%3}
				if err := order(s.state, fmt.Sprintf("c%d-%d", c, n), &tr); err != nil {
					failures <- err
					return
				}
				orders[c] = append(orders[c], tr)
				answered.Add(1)
			}
		})
	}
	for round := range 3 {
		before := answered.Load()
		eventually(t, func() error {
			if now := answered.Load(); now < before+10 {
				return fmt.Errorf("%d transfers are answered", now-before)
			}
			return nil
		})
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
	before := answered.Load()
	eventually(t, func() error {
		if now := answered.Load(); now < before+10 {
			return fmt.Errorf("%d transfers are answered", now-before)
		}
		return nil
	})
	stop()
	wg.Wait()
	select {
	case err := <-failures:
		t.Fatal(err)
	default:
	}
	checkBank(t, s.state, orders)
	if out := s.must(t, "ps"); strings.Contains(out, "stopped") || strings.Contains(out, "failed") {
		t.Error(out)
	}
	t.Log(s.must(t, "ps"), s.must(t, "poisoned", "ls"), tail(s.log(t), 60))
	d.stop()
	s.must(t, "check")
}
