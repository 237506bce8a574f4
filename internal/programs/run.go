package programs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Cluster takes messages for the vats of a cluster whose vats are [Vats], with the module [Module]. It
// retries each call until the call succeeds, whatever dies meanwhile, or until ctx ends.
type Cluster interface {
	// Send has a message accepted under an id: a message with a known id is not sent again.
	Send(ctx context.Context, id, vat, method string, args ...json.RawMessage) error
	// Ask does the same, and returns the answer of the message.
	Ask(ctx context.Context, id, vat, method string, args ...json.RawMessage) (Answer, error)
}

// Answer is the answer of a message: a value as JSON, a rejection in words, or that the vat has left.
type Answer struct {
	Value    json.RawMessage
	Rejected string
	Left     bool
}

// Run has a cluster run a script, and returns, sorted, all that the script leaves: the answers, and the stored
// rows of the vats. told is called after each answer, from one goroutine.
func (sc Script) Run(ctx context.Context, c Cluster, told func()) ([]string, error) {
	r := &run{Script: sc, cluster: c, told: told}
	asides := make([]chan result, len(sc.messages))
	for i, m := range sc.messages {
		id := fmt.Sprintf("m%03d-%s", i, m.to)
		steps, err := json.Marshal(m.steps)
		if err != nil {
			return nil, err
		}
		if !m.aside {
			if err := r.note(r.ask(ctx, id, m.to, steps)); err != nil {
				return nil, fmt.Errorf("%s: %w", id, err)
			}
			continue
		}
		// The message is accepted before the next one is sent, and so arrives before it.
		if err := c.Send(ctx, id, m.to, "run", steps); err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
		asides[i] = make(chan result, 1)
		go func() { asides[i] <- r.ask(ctx, id, m.to, steps) }()
	}
	for _, aside := range asides {
		if aside == nil {
			continue
		}
		if err := r.note(<-aside); err != nil {
			return nil, err
		}
	}
	// A program that one vat watches runs in another, so that all programs have to end before a vat is
	// inspected.
	for _, round := range []string{"wait", "look"} {
		for _, name := range Vats {
			rows, err := r.dump(ctx, round+"-"+name, name)
			if err != nil {
				return nil, fmt.Errorf("vat %s: %w", name, err)
			}
			if round == "look" {
				for _, row := range rows {
					r.left = append(r.left, name+" "+row)
				}
			}
		}
	}
	slices.Sort(r.left)
	for _, what := range r.left {
		if strings.Contains(what, misordered) {
			return nil, fmt.Errorf("messages overtook others: %s", what)
		}
	}
	return r.left, nil
}

// run is a script that runs.
type run struct {
	Script
	cluster Cluster
	told    func()
	left    []string
}

// result is the outcome of a message, in words.
type result struct {
	text string
	err  error
}

func (r *run) note(got result) error {
	if got.err == nil {
		r.left = append(r.left, got.text)
		r.told()
	}
	return got.err
}

func (r *run) ask(ctx context.Context, id, to string, steps json.RawMessage) result {
	a, err := r.cluster.Ask(ctx, id, to, "run", steps)
	switch {
	case err != nil:
		return result{err: err}
	case a.Left:
		return result{text: id + ": the vat has left"}
	case a.Rejected != "":
		return result{text: id + ": " + a.Rejected}
	}
	return result{text: fmt.Sprintf("%s: %s", id, a.Value)}
}

// dump waits until all continuations of a vat were called, and returns the stored rows of the vat.
func (r *run) dump(ctx context.Context, id, name string) ([]string, error) {
	for n := 0; ; n++ {
		a, err := r.cluster.Ask(ctx, fmt.Sprintf("%s-%d", id, n), name, "dump")
		switch {
		case err != nil:
			return nil, err
		case a.Left:
			return []string{"left"}, nil
		case a.Rejected != "":
			return nil, fmt.Errorf("its rows are not told: %s", a.Rejected)
		}
		r.told()
		var rows []string
		if err := json.Unmarshal(a.Value, &rows); err != nil {
			return nil, fmt.Errorf("%s: %w", a.Value, err)
		}
		heard := 0
		for _, row := range rows {
			if strings.HasPrefix(row, "heard ") {
				heard++
			}
		}
		if heard >= r.heard[name] {
			return rows, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d continuations were called: %q", heard, r.heard[name], rows)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
