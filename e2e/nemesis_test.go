package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/control"
	"ocapkernel.dev/internal/torture"
)

// nemesis disturbs a site: it kills and stops its kernels and its workers, and makes its disk slow.
//
// A slow disk is one that others use: goroutines write to the file system of the state and have each 8 MiB synced, so that
// the kernel's commits wait behind that. This needs no rights and no tools, which cgroups, dm-delay and FUSE do; on a file system
// in memory it delays nothing. On ext4 it makes a call take 70 to 120 ms where it took 10. The test logs how many calls were answered
// meanwhile.
type nemesis struct {
	*site
	t   *testing.T
	r   *rand.Rand
	d   *daemon
	row *torture.Row
	// did counts what it did, by kind.
	did map[string]int
	// slow are the calls that were answered while the disk was slow, and for how long it was.
	slowCalls int
	slowTime  time.Duration
}

// disturb does one thing.
func (n *nemesis) disturb(answered func() int) {
	what := []string{"kill worker", "kill worker", "kill worker", "stop worker", "stop worker", "kill kernel", "stop kernel", "slow disk"}[n.r.IntN(8)]
	n.did[what]++
	if what == "kill worker" || what == "kill kernel" {
		n.row.Kills++
	} else {
		n.row.Faults++
	}
	workers := n.workers()
	switch what {
	case "kill worker":
		if len(workers) > 0 {
			_ = syscall.Kill(workers[n.r.IntN(len(workers))].pid, syscall.SIGKILL) // it may be gone by now
		}
	case "stop worker":
		if len(workers) > 0 {
			pid := workers[n.r.IntN(len(workers))].pid
			_ = syscall.Kill(pid, syscall.SIGSTOP) // the same
			pause(n.r, 300*time.Millisecond)
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	case "kill kernel":
		n.d.kill()
		n.d = n.run(n.t)
	case "stop kernel":
		n.d.signal(syscall.SIGSTOP)
		pause(n.r, 300*time.Millisecond)
		n.d.signal(syscall.SIGCONT)
	case "slow disk":
		before, begun := answered(), time.Now()
		n.slowDisk(time.Duration(200+n.r.Int64N(300)) * time.Millisecond)
		n.slowCalls += answered() - before
		n.slowTime += time.Since(begun)
	}
}

// slowDisk has others use the disk for a while.
func (n *nemesis) slowDisk(d time.Duration) {
	ctx, cancel := context.WithTimeout(n.t.Context(), d)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 4 {
		block := make([]byte, 8<<20)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(block) // what a disk cannot leave out; it never fails
		wg.Go(func() {
			if err := write(ctx, filepath.Join(n.dir, fmt.Sprint("busy", i)), block); err != nil {
				n.t.Error(err)
			}
		})
	}
	wg.Wait()
}

// write writes a file over and over, and has it synced each time.
func write(ctx context.Context, path string, block []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for ctx.Err() == nil && err == nil {
		_, err = f.WriteAt(block, 0)
		err = errors.Join(err, f.Sync())
	}
	return errors.Join(err, f.Close(), os.Remove(path))
}

// Clients of the bank and of a register get answers as if each call had happened in one moment, whatever is killed, stopped or
// slow meanwhile.
func TestCallsAreLinearizable(t *testing.T) {
	t.Parallel()
	histories(t, 7*time.Second, time.Time{})
}

// The same for longer, over and over.
func TestTortureHistories(t *testing.T) {
	if !torture.Long() {
		t.Skip("TORTURE_MINUTES is not set")
	}
	histories(t, 15*time.Second, torture.Until(t, 10, 0))
}

// histories makes histories that take so long each, at least one, until a time.
func histories(t *testing.T, each time.Duration, until time.Time) {
	seed := torture.Seed(t)
	row := torture.Row{Part: "histories", Seed: seed}
	defer func() {
		if t.Failed() {
			row.Findings = 1
		}
		torture.Report(t, row)
	}()
	r := rand.New(rand.NewPCG(seed, 0))
	bankFile, err := filepath.Abs("../examples/bank/cluster.json")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	n := &nemesis{site: s, t: t, r: r, d: s.run(t), row: &row, did: map[string]int{}}
	for first := true; first || time.Now().Before(until); first = false {
		bank, register := &history{}, &history{}
		var subs [2]control.Launched
		s.read(t, &subs[0], "launch", bankFile)
		subs[1].ID = s.launchRegister(t, "test.register")
		done := make(chan struct{})
		talking := bank.talk(s.state, subs[0].ID, 4, r, nextOfBank, done)
		reading := register.talk(s.state, subs[1].ID, 4, r, nextOfRegister, done)
		answered := func() int { return bank.answered() + register.answered() }
		for end := time.Now().Add(each); time.Now().Before(end); {
			before := answered()
			n.disturb(answered)
			pause(r, 100*time.Millisecond)
			eventually(t, func() error { // there is to be load, also on a machine that is busy
				if answered() == before && bank.failure() == nil && register.failure() == nil {
					return errors.New("nothing is answered")
				}
				return nil
			})
		}
		close(done)
		talking.Wait()
		reading.Wait()
		for name, ok := range map[string]bool{"bank": bank.linearizable(t, bankModel), "register": register.linearizable(t, registerModel)} {
			if !ok {
				t.Errorf("the history of the %s is not linearizable: HISTORIES=DIR draws it", name)
			}
		}
		all := slices.Concat(bank.mu.took, register.mu.took)
		slices.Sort(all)
		t.Logf("%d calls of the bank, %d of the register; median %v, longest %v", len(bank.mu.ops), len(register.mu.ops), all[len(all)/2], all[len(all)-1])
		row.Scenarios += 2
		for _, sub := range subs {
			s.must(t, "terminate", sub.ID)
		}
	}
	t.Logf("did %v; while the disk was slow, for %v, %d calls were answered", n.did, n.slowTime, n.slowCalls)
	n.d.stop()
	s.must(t, "check")
}

// launchRegister launches a register behind another one.
func (s *site) launchRegister(t testing.TB, module string) string {
	t.Helper()
	var l control.Launched
	s.read(t, &l, "launch", s.file(t, "register.json", fmt.Sprintf(`{"bootstrap": "front", "vats": {
		"front": {"module": "test.register", "worker": "bin/testworker"}, "behind": {"module": %q, "worker": "bin/testworker"},
	}}`, module)))
	return l.ID
}

// A register that answers some reads from an old copy is found.
func TestStaleReadsAreFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	h, done := &history{}, make(chan struct{})
	wg := h.talk(s.state, s.launchRegister(t, "test.stale"), 3, dice(t), nextOfRegister, done)
	eventually(t, func() error {
		if n := h.answered(); n < 200 {
			return fmt.Errorf("%d calls are answered", n)
		}
		return nil
	})
	close(done)
	wg.Wait()
	if h.linearizable(t, registerModel) {
		t.Errorf("a history with old values passes for that of a register")
	}
	d.stop()
}
