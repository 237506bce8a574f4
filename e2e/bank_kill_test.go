package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

// transfer is one transfer that a customer ordered, and its outcome.
type transfer struct {
	from, to int
	amount   int
	applied  bool // else the bank refused it
}

var accounts = []string{"alice", "bob", "carol"}

// envInt reads a number from the environment.
func envInt(t *testing.T, name string, otherwise uint64) uint64 {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestTortureBank runs the bank under load while its workers and its kernel are killed at random. Each customer
// repeats a call under its ticket until it is answered, across deaths of the kernel. The teller waits across
// vats in straight-line code. Each transfer happens exactly once and its customer gets the true answer: in the
// end the balances agree with the answers.
//
// KILLS sets the number of kills, KILL_SEED replays the choices of one run (not its timing).
func TestTortureBank(t *testing.T) {
	tortureBank(t, descriptor, int(envInt(t, "KILLS", 200)))
}

// TestTortureBankOverGRPC is the same over gRPC, with a fifth of the kills.
func TestTortureBankOverGRPC(t *testing.T) {
	t.Parallel()
	tortureBank(t, overGRPC, int(envInt(t, "KILLS", 200)/5))
}

func tortureBank(t *testing.T, over transport, kills int) {
	t.Helper()
	config, err := filepath.Abs("../examples/bank/cluster.json")
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteOver(t, over)
	seed := envInt(t, "KILL_SEED", rand.Uint64())
	t.Logf("KILL_SEED=%d KILLS=%d", seed, kills)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := s.state
	k := s.run(t, config)

	bank := newCustomers(t, dir, 6, seed)
	kernels := 0
	for n := range kills {
		if n%10 == 9 {
			kernels++
			k.kill()
			k = s.run(t, config)
		} else {
			killWorker(t, dir, rng)
		}
		pause(rng, 120*time.Millisecond)
		// On a busy machine workers may be killed faster than they start: there is to be load all the same.
		bank.areServed(t, int64(n/4))
	}
	bank.settle(t)
	total := 0
	for _, list := range bank.orders {
		total += len(list)
	}
	t.Logf("%d transfers, %d kills, %d of them of the kernel", total, kills, kernels)
	if total < kills/4 {
		t.Errorf("only %d transfers: there was no load", total)
	}
	k.stop()
	s.must(t, "check") // recounts every reference
}

// order sends a transfer under its ticket until there is an answer.
func order(dir, id string, tr *transfer) error { return orderOf("s1", dir, id, tr) }

// orderOf is order, of the bank that is a subcluster.
func orderOf(sub, dir, id string, tr *transfer) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for {
		out, err := sendOnce(ctx, dir, control.SendRequest{
			Ticket: control.Ticket{ID: id}, Target: sub, Method: "transfer", Wait: true, Timeout: 20 * time.Second,
			Args: []json.RawMessage{quoted(accounts[tr.from]), quoted(accounts[tr.to]), []byte(strconv.Itoa(tr.amount))},
		})
		switch {
		case err != nil && ctx.Err() != nil:
			return fmt.Errorf("no answer for ever: %w", err)
		case err != nil || out.Status == control.Pending:
			select { // the kernel is away: it comes back
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return errors.New("pending for ever")
			}
			continue
		case out.Status == control.Fulfilled:
			tr.applied = true
		case out.Error.Code != errcode.Rejected:
			return fmt.Errorf("rejected with %s: %s", out.Error.Code, out.Error.Message)
		}
		return nil
	}
}

func quoted(s string) json.RawMessage { return []byte(strconv.Quote(s)) }

// sendOnce sends one call on a connection of its own.
func sendOnce(ctx context.Context, dir string, r control.SendRequest) (control.Outcome, error) {
	c, err := control.Dial(ctx, dir)
	if err != nil {
		return control.Outcome{}, err
	}
	defer c.Close()
	return c.Send(ctx, r)
}

// killWorker kills one worker that is alive, if there is one.
func killWorker(t *testing.T, dir string, rng *rand.Rand) {
	c, err := control.Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	vats, err := c.PS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, v := range vats {
		if v.PID > 0 {
			pids = append(pids, v.PID)
		}
		if v.State == control.VatStopped {
			t.Fatalf("vat %s was stopped by kills from outside", v.ID)
		}
	}
	if len(pids) > 0 {
		_ = syscall.Kill(pids[rng.IntN(len(pids))], syscall.SIGKILL) // it may just have ended
	}
}

// checkBank compares the money in the bank with the answers to its customers.
func checkBank(t *testing.T, dir string, orders [][]transfer) {
	want := [3]int{1000, 1000, 1000}
	for _, list := range orders {
		for _, tr := range list {
			if tr.applied {
				want[tr.from] -= tr.amount
				want[tr.to] += tr.amount
			}
		}
	}
	ask := func(method string, args ...json.RawMessage) int {
		deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := sendOnce(deadline, dir, control.SendRequest{Target: "s1", Method: method, Args: args, Wait: true})
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := json.Unmarshal(out.Value, &n); err != nil {
			t.Fatalf("%s: %+v: %v", method, out, err)
		}
		return n
	}
	if sum := ask("audit"); sum != 3000 {
		t.Errorf("audit tells %d, want 3000", sum)
	}
	for i, name := range accounts {
		if got := ask("balance", quoted(name)); got != want[i] {
			t.Errorf("%s has %d, the answers say %d", name, got, want[i])
		}
	}
}
