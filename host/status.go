package host

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/workers"
)

// Poison is a poisoned message, without its body.
type Poison struct {
	N      uint64
	Vat    kernel.VatID
	Name   string // of the vat
	Target kernel.KRef
	// Method is the one that the message called, or ? if that cannot be read: a vat wrote it.
	Method    string
	Attempts  uint64
	Code, Why string
}

// Poisoned is [Shell.Poisoned].
func (op *operator) Poisoned(ctx context.Context, after uint64, limit int) (list []Poison, more bool, err error) {
	const rows, size = 64, 1 << 20 // whose bodies are in memory at a time
	list, err = question(ctx, op.core, nil, func(q *kernel.View) (list []Poison, err error) {
		names := map[kernel.VatID]string{}
		for cursor, first := "", true; first || cursor != ""; first = false {
			var messages []kernel.Poison
			if messages, cursor, err = q.PoisonedAfter(cursor, rows, size); err != nil {
				return nil, err
			}
			for _, p := range messages {
				if p.N <= after {
					continue
				}
				if _, known := names[p.Vat]; !known {
					v, _, err := q.Vat(p.Vat)
					if err != nil {
						return nil, err
					}
					names[p.Vat] = v.Name
				}
				method, _, err := capdata.DecodeCall(p.MethArgs.Body, len(p.MethArgs.Slots))
				if err != nil {
					method = "?"
				}
				list = append(list, Poison{p.N, p.Vat, names[p.Vat], p.Target, strings.Clone(method), p.Attempts, p.Code, p.Why})
			}
			slices.SortFunc(list, func(a, b Poison) int { return cmp.Compare(a.N, b.N) })
			list = list[:min(len(list), limit+1)] // the one beyond tells that there are more
		}
		return list, nil
	})
	more = len(list) > limit
	return list[:min(len(list), limit):min(len(list), limit)], more, err
}

// Unpoison is [Shell.Unpoison].
func (op *operator) Unpoison(ctx context.Context, n uint64, retry bool) error {
	return change(ctx, op.core, func() (kernel.Commit, error) {
		v, found, err := op.machine.PoisonedVat(n)
		if err == nil && !found {
			err = &kernel.Refusal{Code: errcode.NotFound, Detail: fmt.Sprintf("there is no poisoned message %d", n)}
		}
		if err != nil {
			return kernel.Commit{}, err
		}
		return op.machine.Unpoison(v, n, retry)
	})
}

// Status is the state of the kernel.
type Status struct {
	Epoch    string
	DiskFull bool
	// Pauses has a sentence for each shortage that the kernel waits for.
	Pauses         []string
	Cranks, Commit uint64 // Commit is the newest durable one
	Vats           int
	Subclusters    []kernel.Subcluster
	// Suspended are the subclusters whose vats do not run: this run does not declare the subcluster, or its channels are not
	// there yet.
	Suspended map[kernel.SubID]bool
	// Dropped counts the messages, in this run, that were dropped because a queue was full and that had no listener for their
	// answer.
	Dropped uint64
	// Held are the vats that are held back, and why.
	Held map[kernel.VatID]string
}

// Status is [Shell.Status].
func (op *operator) Status(ctx context.Context) (Status, error) {
	var st Status
	subs, err := op.subclusters(ctx, func() {
		st = Status{
			Epoch: op.machine.Epoch(), DiskFull: op.diskFull(), Pauses: op.pauses(), Cranks: op.machine.Cranks(), Commit: op.pipeline.Durable(),
			Suspended: op.subs.allSuspended(), Dropped: op.dropped, Held: op.vats.heldBack(),
		}
	})
	if err != nil {
		return Status{}, err
	}
	st.Subclusters = subs
	for _, s := range subs {
		if !s.State.Leaving() { // of those that leave some are removed already
			st.Vats += len(s.Vats)
		}
	}
	return st, nil
}

// VatStatus is the state of a vat and its worker.
type VatStatus struct {
	kernel.Vat
	// Pid is 0 if there is no process.
	Pid int
	// RSSBytes is the resident memory of the process.
	RSSBytes int64
	// Starting says that a process is being started, or waited for; Failed that the last start failed; Held that the
	// vat is held back. Why is the reason of the failure, the stop, or the hold.
	Starting, Failed, Held bool
	Why                    string

	worker workers.Worker
}

// Vats is [Shell.Vats].
func (op *operator) Vats(ctx context.Context) ([]VatStatus, error) {
	var known map[kernel.VatID]vat
	list, err := question(ctx, op.core, func() { known = op.vats.all() }, func(q *kernel.View) ([]VatStatus, error) {
		rows, err := q.Vats()
		out := make([]VatStatus, len(rows))
		for i, row := range rows {
			out[i] = VatStatus{Vat: row, Why: row.Stopped}
			if row.Corrupt != nil {
				out[i].Held, out[i].Why = true, oneLine(row.Corrupt)
			}
			if v, ok := known[row.ID]; ok {
				v.describe(&out[i])
			}
		}
		return out, err
	})
	for i := range list {
		if w := list[i].worker; w != nil {
			list[i].RSSBytes = w.RSSBytes()
		}
	}
	slices.SortFunc(list, func(a, b VatStatus) int {
		if n := len(a.ID) - len(b.ID); n != 0 {
			return n
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return list, err
}
