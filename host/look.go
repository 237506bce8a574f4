package host

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/workers"
)

// Restart gives a vat a fresh worker, with the memory that it had, or, with forget, from its durable state
// alone. It revives a stopped vat.
func (k *Shell) Restart(ctx context.Context, id kernel.VatID, forget bool) error {
	return change(ctx, k, func() (kernel.Commit, error) {
		c, err := k.machine.Restart(id, forget)
		if v := k.vats[id]; v != nil && err == nil {
			v.startFailures, v.deaths, v.notBefore, v.startFailure = 0, 0, time.Time{}, ""
			k.letGo(id)
		}
		return c, err
	})
}

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

// Poisoned lists the oldest poisoned messages with a number above after, at most limit of them, oldest first, and says
// whether there are more. It reads one slice of them after the other, so that neither the loop nor the memory is held by
// their bodies.
func (k *Shell) Poisoned(ctx context.Context, after uint64, limit int) (list []Poison, more bool, err error) {
	const rows, size = 64, 1 << 20
	type slice struct {
		messages []kernel.Poison
		names    map[kernel.VatID]string
		next     string
	}
	for cursor, first := "", true; first || cursor != ""; first = false {
		s, err := look(ctx, k, func() (s slice, err error) {
			s.names = map[kernel.VatID]string{}
			s.messages, s.next, err = k.machine.PoisonedAfter(cursor, rows, size)
			for _, p := range s.messages {
				if _, known := s.names[p.Vat]; !known && err == nil {
					var v kernel.Vat
					v, _, err = k.machine.Vat(p.Vat)
					s.names[p.Vat] = v.Name
				}
			}
			return s, err
		})
		if err != nil {
			return nil, false, err
		}
		for _, p := range s.messages {
			if p.N <= after {
				continue
			}
			method, _, err := capdata.DecodeCall(p.MethArgs.Body, len(p.MethArgs.Slots))
			if err != nil {
				method = "?"
			}
			list = append(list, Poison{p.N, p.Vat, s.names[p.Vat], p.Target, strings.Clone(method), p.Attempts, p.Code, p.Why})
		}
		slices.SortFunc(list, func(a, b Poison) int { return cmp.Compare(a.N, b.N) })
		if len(list) > limit {
			list, more = list[:limit:limit], true
		}
		cursor = s.next
	}
	return list, more, nil
}

// Unpoison takes a poisoned message away; with retry it is delivered again, without a result.
func (k *Shell) Unpoison(ctx context.Context, n uint64, retry bool) error {
	return change(ctx, k, func() (kernel.Commit, error) {
		v, found, err := k.machine.PoisonedVat(n)
		if err == nil && !found {
			err = &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("there is no poisoned message %d", n)}
		}
		if err != nil {
			return kernel.Commit{}, err
		}
		return k.machine.Unpoison(v, n, retry)
	})
}

// Status is the state of the kernel.
type Status struct {
	Epoch    string
	DiskFull bool
	// Pauses says what the kernel lacks, and waits for; each is a sentence for a person.
	Pauses         []string
	Cranks, Commit uint64 // Commit is the newest durable one
	Vats           int
	Subclusters    []kernel.Subcluster
	// Suspended are those whose vats do not run: they are not declared in this run, or their channels are not there
	// yet.
	Suspended map[kernel.SubID]bool
	// Dropped counts the messages that were dropped, in this run, because a queue was full and nobody
	// waited for an answer.
	Dropped uint64
	// Held are the vats that are held back, and why.
	Held map[kernel.VatID]string
}

// Status describes the kernel. What it tells may not be durable yet.
func (k *Shell) Status(ctx context.Context) (Status, error) {
	subs, err := k.subclusters(ctx)
	if err != nil {
		return Status{}, err
	}
	n := 0
	for _, s := range subs {
		if !s.State.Leaving() { // of those that leave some are removed already
			n += len(s.Vats)
		}
	}
	return ask(ctx, k, func(done func(Status, error)) {
		done(Status{
			Epoch: k.machine.Epoch(), DiskFull: k.diskFull(), Pauses: k.pauses(), Cranks: k.machine.Cranks(), Commit: k.pipeline.Durable(),
			Vats: n, Subclusters: subs, Suspended: maps.Clone(k.suspended), Dropped: k.dropped, Held: k.heldBack(),
		}, nil)
	})
}

// VatStatus is the state of a vat and its worker.
type VatStatus struct {
	kernel.Vat
	// Pid is 0 if there is no process.
	Pid int
	// RSSBytes is the resident memory of the process.
	RSSBytes int64
	// Starting says that a process is being started, or waited for; Failed that the last start failed; Held that the
	// vat is held back. Why says why it failed, was stopped, or is held back.
	Starting, Failed, Held bool
	Why                    string

	worker workers.Worker
}

// Vats describes all vats and their workers. What it tells may not be durable yet.
func (k *Shell) Vats(ctx context.Context) ([]VatStatus, error) {
	list, err := paged(ctx, k, func(after kernel.VatID) ([]VatStatus, kernel.VatID, error) {
		vats, next, err := k.machine.VatsAfter(after)
		out := make([]VatStatus, len(vats))
		for i, v := range vats {
			out[i] = VatStatus{Vat: v, Why: v.Stopped}
			if v.Corrupt != nil {
				out[i].Held, out[i].Why = true, oneLine(v.Corrupt)
			}
			if w := k.vats[v.ID]; w != nil {
				if out[i].Failed = w.startFailures > 0; out[i].Failed {
					out[i].Why = w.startFailure
				}
				if w.held != "" {
					out[i].Held, out[i].Why = true, w.held
				}
				out[i].Starting = !w.up && (w.worker != nil || v.HasWork)
				if w.worker != nil {
					out[i].Pid, out[i].worker = w.worker.Pid(), w.worker
				}
			}
		}
		return out, next, err
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
