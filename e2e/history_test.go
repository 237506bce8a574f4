package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

// A question is one call of a history: of the bank, or of a register.
type question struct {
	method   string
	from, to int // accounts of a transfer; from is that of a balance, or the number that cas expects
	amount   int // of a transfer; the number that write and cas put into a register
}

// reply is the answer to it. Of a call whose caller has left it is not known whether it happens, and when.
type reply struct {
	unknown bool
	refused bool
	n       int
}

// A history is what concurrent clients have asked of one object, when, and what they were answered, also when. It is to be
// linearizable: each call has happened in one moment between the two.
type history struct {
	start time.Time

	mu struct {
		sync.Mutex
		ops []porcupine.Operation
		err error
		// took are the times that calls took.
		took []time.Duration
	}
}

func (h *history) now() int64 { return int64(time.Since(h.start)) }

// add takes a call that has ended, or whose caller has left.
func (h *history) add(client int, q question, called int64, r reply) {
	op := porcupine.Operation{ClientId: client, Input: q, Call: called, Output: r, Return: h.now()}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.unknown {
		op.Return = math.MaxInt64
	} else {
		h.mu.took = append(h.mu.took, time.Duration(op.Return-called))
	}
	h.mu.ops = append(h.mu.ops, op)
}

func (h *history) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.err = errors.Join(h.mu.err, err)
}

// failure returns what no client may see.
func (h *history) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.err
}

// answered returns the number of calls that were answered.
func (h *history) answered() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.mu.took)
}

// mostUnknown is how many callers leave without an answer: each such call may have happened at any time, so that the checker has to
// try many orders.
const mostUnknown = 6

// talk has clients ask questions of the root of a subcluster, until done is closed. Each repeats a call under its ticket until
// it is answered, whatever dies meanwhile; some leave after the first try.
func (h *history) talk(dir, sub string, clients int, r *rand.Rand, next func(*rand.Rand) question, done <-chan struct{}) *sync.WaitGroup {
	h.start = time.Now()
	wg := &sync.WaitGroup{}
	left := make(chan struct{}, mostUnknown)
	for i := range clients {
		dice := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				q := next(dice)
				patience := time.Duration(0)
				if dice.IntN(40) == 0 {
					select {
					case left <- struct{}{}:
						patience = time.Duration(1 + dice.Int64N(int64(20*time.Millisecond)))
					default:
					}
				}
				called := h.now()
				answer, err := persist(dir, fmt.Sprintf("%s-%d-%d", sub, i, n), sub, q, patience)
				if err != nil {
					h.fail(fmt.Errorf("client %d, call %d, %+v: %w", i, n, q, err))
					return
				}
				h.add(i, q, called, answer)
			}
		})
	}
	return wg
}

// persist repeats a call until it is answered, or, if patience is not zero, until that is over.
func persist(dir, id, target string, q question, patience time.Duration) (reply, error) {
	most := 2 * time.Minute
	if patience > 0 {
		most = patience
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	var args []json.RawMessage
	switch q.method {
	case "transfer":
		args = []json.RawMessage{quoted(accounts[q.from]), quoted(accounts[q.to]), fmt.Append(nil, q.amount)}
	case "balance":
		args = []json.RawMessage{quoted(accounts[q.from])}
	case "write":
		args = []json.RawMessage{fmt.Append(nil, q.amount)}
	case "cas":
		args = []json.RawMessage{fmt.Append(nil, q.from), fmt.Append(nil, q.amount)}
	}
	for {
		out, err := sendOnce(ctx, dir, control.SendRequest{Ticket: control.Ticket{ID: id}, Target: target, Method: q.method, Wait: true, Timeout: 20 * time.Second, Args: args})
		switch {
		case err != nil || out.Status == control.Pending:
			select {
			case <-time.After(10 * time.Millisecond): // the kernel is away: it comes back
				continue
			case <-ctx.Done():
			}
			if patience > 0 {
				return reply{unknown: true}, nil
			}
			return reply{}, fmt.Errorf("no answer for ever: %w", err)
		case out.Status == control.Fulfilled:
			return read(out.Value)
		case out.Error.Code == errcode.Rejected && q.method == "transfer":
			return reply{refused: true}, nil
		}
		return reply{}, fmt.Errorf("rejected with %s: %s", out.Error.Code, out.Error.Message)
	}
}

// read reads an answer: a number, a boolean or nothing.
func read(text json.RawMessage) (r reply, err error) {
	switch string(text) {
	case "true":
		r.n = 1
	case "false", `{"$undefined":true}`:
	default:
		err = json.Unmarshal(text, &r.n)
	}
	return r, err
}

// balances are the state of the bank: it is a function of the calls in their order.
type balances [3]int

// bankModel says what the bank may answer.
var bankModel = porcupine.Model{
	Init: func() any { return balances{1000, 1000, 1000} },
	Step: func(state, input, output any) (bool, any) {
		b, q, r := state.(balances), input.(question), output.(reply)
		switch q.method {
		case "balance":
			return r.unknown || r.n == b[q.from], b
		case "audit":
			return r.unknown || r.n == b[0]+b[1]+b[2], b
		}
		if enough := b[q.from] >= q.amount; !enough {
			return r.unknown || r.refused, b
		}
		b[q.from] -= q.amount
		b[q.to] += q.amount
		return r.unknown || !r.refused, b
	},
	DescribeOperation: describe,
}

// registerModel says what a register may answer.
var registerModel = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		n, q, r := state.(int), input.(question), output.(reply)
		switch q.method {
		case "read":
			return r.unknown || r.n == n, n
		case "write":
			return true, q.amount
		}
		if n != q.from {
			return r.unknown || r.n == 0, n
		}
		return r.unknown || r.n == 1, q.amount
	},
	DescribeOperation: describe,
}

func describe(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) }

func nextOfBank(r *rand.Rand) question {
	switch r.IntN(6) {
	case 0, 1, 2:
		return question{method: "transfer", from: r.IntN(3), to: r.IntN(3), amount: 1 + r.IntN(700)}
	case 3, 4:
		return question{method: "balance", from: r.IntN(3)}
	}
	return question{method: "audit"}
}

func nextOfRegister(r *rand.Rand) question {
	switch r.IntN(4) {
	case 0, 1:
		return question{method: "read"}
	case 2:
		return question{method: "write", amount: r.IntN(5)}
	}
	return question{method: "cas", from: r.IntN(5), amount: r.IntN(5)}
}

// linearizable checks the history. If HISTORIES names a directory, what is not linearizable is drawn in a file there.
func (h *history) linearizable(t testing.TB, m porcupine.Model) bool {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.err != nil {
		t.Fatal(h.mu.err)
	}
	result, info := porcupine.CheckOperationsVerbose(m, h.mu.ops, time.Minute)
	if result == porcupine.Unknown {
		t.Fatalf("a history of %d calls was not checked within a minute", len(h.mu.ops))
	}
	if dir := os.Getenv("HISTORIES"); result == porcupine.Illegal && dir != "" {
		f, err := os.CreateTemp(dir, "history*.html")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(porcupine.Visualize(m, info, f), f.Close()); err != nil {
			t.Fatal(err)
		}
		t.Logf("the history is drawn in %s", f.Name())
	}
	return result == porcupine.Ok
}

// What may be answered, and what may not.
func TestHistories(t *testing.T) {
	t.Parallel()
	const open = math.MaxInt64
	type op = porcupine.Operation
	transfer := question{method: "transfer", from: 0, to: 1, amount: 600}
	alice, audit := question{method: "balance"}, question{method: "audit"}
	for name, c := range map[string]struct {
		ops  []op
		want bool
	}{
		"a transfer, and the balance after it":       {[]op{{Input: transfer, Call: 0, Output: reply{}, Return: 1}, {Input: alice, Call: 2, Output: reply{n: 400}, Return: 3}}, true},
		"a balance as before the transfer":           {[]op{{Input: transfer, Call: 0, Output: reply{}, Return: 1}, {Input: alice, Call: 2, Output: reply{n: 1000}, Return: 3}}, false},
		"a balance beside the transfer":              {[]op{{Input: transfer, Call: 0, Output: reply{}, Return: 4}, {Input: alice, Call: 2, Output: reply{n: 1000}, Return: 3, ClientId: 1}}, true},
		"the second of two that had not both enough": {[]op{{Input: transfer, Call: 0, Output: reply{}, Return: 1}, {Input: transfer, Call: 2, Output: reply{refused: true}, Return: 3}}, true},
		"both of them":                                      {[]op{{Input: transfer, Call: 0, Output: reply{}, Return: 1}, {Input: transfer, Call: 2, Output: reply{}, Return: 3}}, false},
		"a refusal with enough":                             {[]op{{Input: transfer, Call: 0, Output: reply{refused: true}, Return: 1}}, false},
		"one whose caller left, and that happened":          {[]op{{Input: transfer, Call: 0, Output: reply{unknown: true}, Return: open}, {Input: alice, Call: 2, Output: reply{n: 400}, Return: 3}}, true},
		"the same, and then it did not":                     {[]op{{Input: transfer, Call: 0, Output: reply{unknown: true}, Return: open}, {Input: alice, Call: 2, Output: reply{n: 400}, Return: 3}, {Input: alice, Call: 4, Output: reply{n: 1000}, Return: 5}}, false},
		"one whose caller left, and that happened later on": {[]op{{Input: transfer, Call: 0, Output: reply{unknown: true}, Return: open}, {Input: alice, Call: 2, Output: reply{n: 1000}, Return: 3}}, true},
		"money that is on its way":                          {[]op{{Input: transfer, Call: 0, Output: reply{}, Return: 4}, {Input: audit, Call: 2, Output: reply{n: 2400}, Return: 3, ClientId: 1}}, false},
	} {
		h := &history{}
		h.mu.ops = c.ops
		if got := h.linearizable(t, bankModel); got != c.want {
			t.Errorf("%s: linearizable %t, want %t", name, got, c.want)
		}
	}
}
