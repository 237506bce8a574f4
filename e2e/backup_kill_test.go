package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/control"
)

// TestBackupsUnderKillsAreWhole takes backups of the bank while transfers go on and workers and kernels are killed. Each
// backup that a command has finished is of one moment: restored, every invariant holds, all money is there once the bank has
// come to rest, and the tickets of before are unknown.
func TestBackupsUnderKillsAreWhole(t *testing.T) {
	t.Parallel()
	config, err := filepath.Abs("../examples/bank/cluster.json")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	rng := dice(t)
	k := s.run(t, config)
	bank := newCustomers(t, s.state, 4, rng.Uint64())
	const backups = 3
	done := 0
	for n := 0; done < backups; n++ {
		file := fmt.Sprintf("%d.backup", n)
		taken := make(chan said, 1)
		go func() { taken <- s.cli("backup", file, "--json") }()
		pause(rng, 60*time.Millisecond)
		switch n % 3 {
		case 0:
			killWorker(t, s.state, rng)
		case 1:
			k.kill()
			k = s.run(t, config)
		}
		if o := <-taken; o.exit != 0 {
			// Its kernel was killed: there is no file, and no part of one.
			left, err := filepath.Glob(filepath.Join(s.dir, "*"+file+"*"))
			hidden, _ := filepath.Glob(filepath.Join(s.dir, ".*"+file+"*"))
			if len(left)+len(hidden) > 0 || err != nil {
				t.Errorf("a backup that failed has left %v, %v", append(left, hidden...), err)
			}
			if n > 20*backups {
				t.Fatalf("no backup succeeds: %v", o)
			}
			continue
		}
		done++
		checkRestored(t, s, file)
	}
	bank.settle(t)
	k.stop()
	s.must(t, "check")
}

// checkRestored restores a backup of the bank, and checks the bank.
func checkRestored(t *testing.T, s *site, file string) {
	t.Helper()
	other := *s
	other.state = filepath.Join(s.dir, "restored")
	defer func() { _ = os.RemoveAll(other.state) }() // the site is checked for it
	var restored struct {
		Epoch string
		From  struct{ Epoch string }
	}
	other.read(t, &restored, "restore", file)
	other.must(t, "check")
	k := other.run(t)
	var status control.Status
	other.read(t, &status, "status")
	if status.Epoch != restored.Epoch || restored.Epoch == restored.From.Epoch {
		t.Errorf("the epoch is %s, %s is restored from %s", status.Epoch, restored.Epoch, restored.From.Epoch)
	}
	if o := other.cli("await", restored.From.Epoch+".c0-0"); o.exit != 1 || !strings.Contains(o.stderr, "epoch") {
		t.Errorf("a ticket of the former epoch: %v", o)
	}
	eventually(t, func() error { // the transfers of the moment of the backup come to their end
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := sendOnce(ctx, other.state, control.SendRequest{Target: "s1", Method: "audit", Wait: true})
		var sum int
		if err = errors.Join(err, json.Unmarshal(out.Value, &sum)); err != nil {
			return err
		}
		if sum != 3000 {
			return fmt.Errorf("audit tells %d, want 3000", sum)
		}
		return nil
	})
	k.stop()
	other.must(t, "check")
}
