package host

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/supervisor"
)

// Restart gives a vat a fresh worker, with the memory that it had, or, with forget, from its durable state
// alone. It revives a stopped vat.
func (k *Kernel) Restart(ctx context.Context, id kernel.VatID, forget bool) error {
	return change(ctx, k, func() (kernel.Commit, error) {
		c, err := k.machine.Restart(id, forget)
		if v := k.vats[id]; v != nil && err == nil {
			v.startFailures, v.deaths, v.notBefore = 0, 0, time.Time{}
		}
		return c, err
	})
}

// Poisoned lists the poisoned messages of all vats.
func (k *Kernel) Poisoned(ctx context.Context) ([]kernel.Poison, error) {
	return ask(ctx, k, func(done func([]kernel.Poison, error)) {
		vats, err := k.machine.Vats()
		var all []kernel.Poison
		for _, v := range vats {
			list, e := k.machine.Poisoned(v.ID)
			if e != nil {
				err = e
				break
			}
			all = append(all, list...)
		}
		slices.SortFunc(all, func(a, b kernel.Poison) int { return int(int64(a.N) - int64(b.N)) })
		done(all, err)
	})
}

// Unpoison takes a poisoned message away; with retry it is delivered again, without a result.
func (k *Kernel) Unpoison(ctx context.Context, n uint64, retry bool) error {
	return change(ctx, k, func() (kernel.Commit, error) {
		vats, err := k.machine.Vats()
		if err != nil {
			return kernel.Commit{}, err
		}
		for _, v := range vats {
			if list, err := k.machine.Poisoned(v.ID); err != nil {
				return kernel.Commit{}, err
			} else if slices.ContainsFunc(list, func(p kernel.Poison) bool { return p.N == n }) {
				return k.machine.Unpoison(v.ID, n, retry)
			}
		}
		return kernel.Commit{}, &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("there is no poisoned message %d", n)}
	})
}

// Status is the state of the kernel.
type Status struct {
	Epoch          string
	DiskFull       bool
	Cranks, Commit uint64 // Commit is the newest durable one
	Vats           int
	Subclusters    []kernel.Subcluster
	// Suspended are those whose vats do not run: they are not declared in this run, or their channels are not there
	// yet.
	Suspended map[kernel.SubID]bool
	// Dropped counts the messages that were dropped, in this run, because a queue was full and nobody
	// waited for an answer.
	Dropped uint64
}

// Status describes the kernel. What it tells may not be durable yet.
func (k *Kernel) Status(ctx context.Context) (Status, error) {
	return ask(ctx, k, func(done func(Status, error)) {
		subs, err := k.machine.Subclusters()
		if err != nil {
			k.fail(err)
		}
		n := 0
		for _, s := range subs {
			n += len(s.Vats)
		}
		done(Status{
			Epoch: k.machine.Epoch(), DiskFull: k.diskFull, Cranks: k.machine.Cranks(), Commit: k.group.durable,
			Vats: n, Subclusters: subs, Suspended: maps.Clone(k.suspended), Dropped: k.dropped,
		}, err)
	})
}

// VatStatus is the state of a vat and its worker.
type VatStatus struct {
	kernel.Vat
	// Pid is 0 if there is no process.
	Pid int
	// RSSBytes is the resident memory of the process.
	RSSBytes int64
	// Starting says that a process is being started, or waited for; Failed that the last start failed, and Why what
	// went wrong.
	Starting, Failed bool
	Why              string
}

// Vats describes all vats and their workers. What it tells may not be durable yet.
func (k *Kernel) Vats(ctx context.Context) ([]VatStatus, error) {
	list, err := ask(ctx, k, func(done func([]VatStatus, error)) {
		vats, err := k.machine.Vats()
		if err != nil {
			k.fail(err)
		}
		out := make([]VatStatus, len(vats))
		for i, v := range vats {
			out[i] = VatStatus{Vat: v}
			if w := k.vats[v.ID]; w != nil {
				out[i].Failed, out[i].Why = w.startFailures > 0, w.startFailure
				out[i].Starting = !w.up && (w.worker != nil || v.HasWork)
				if w.worker != nil {
					out[i].Pid = w.worker.Pid()
				}
			}
		}
		done(out, err)
	})
	for i := range list {
		if list[i].Pid != 0 {
			list[i].RSSBytes, _ = supervisor.RSS(list[i].Pid) // a process that has just ended has none
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
