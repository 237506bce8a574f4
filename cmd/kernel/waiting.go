package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"ocapkernel.dev/control"
)

// A person who waits for longer than firstTold hears what for, and each tellEvery what has come to it since.
const (
	firstTold = 2 * time.Second
	tellEvery = 2 * time.Second
	mostTold  = 12 // lines, in one wait
)

// tellWaits says on stderr what a command waits for that needs the kernel, until stop is called: each thing once.
// Target is what is called, empty if nothing is. Stop returns when nothing more will be printed.
func (a *app) tellWaits(ctx context.Context, target string) (stop func()) {
	dir, err := a.stateDir()
	if err != nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		timer := time.NewTimer(firstTold)
		defer timer.Stop()
		told := map[string]bool{}
		for len(told) < mostTold {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			for _, line := range a.waits(ctx, dir, target) {
				if ctx.Err() == nil && !told[line] && len(told) < mostTold {
					told[line] = true
					fmt.Fprintf(a.stderr, "kernel: waiting: %s\n", printable(line))
				}
			}
			timer.Reset(tellEvery)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// waits asks the kernel of dir what keeps it from launching, or from answering a call of target.
func (a *app) waits(ctx context.Context, dir, target string) []string {
	ctx, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	client, err := control.Dial(ctx, dir)
	if err != nil {
		return []string{"the kernel does not answer yet"}
	}
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil {
		return nil // whoever waits hears of it
	}
	systems, _ := client.System(ctx) // what is known is told
	vats, _ := client.PS(ctx)
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if status.State == control.DiskFull {
		say("the disk of the state directory is full: new work waits until there is space")
	}
	for _, why := range status.Pauses {
		say("%s", why)
	}
	for _, c := range status.Clusters {
		switch c.State {
		case control.SubclusterLaunching:
			say("%s (%s) is launching: its bootstrap method has not answered", c.ID, origin(c))
		case control.SubclusterFailed, control.SubclusterTerminating:
			say("%s (%s) is being removed", c.ID, origin(c))
		}
	}
	if target == "" {
		for _, s := range systems {
			if s.Declared && s.State == control.SystemLaunching && s.Subcluster == "" {
				say("the system subcluster %s waits for its turn", s.Name)
			}
		}
	}
	callee := calleeOf(ctx, client, status, target)
	for _, v := range vats {
		name := fmt.Sprintf("vat %s (%s) of %s", v.ID, v.Name, v.Subcluster)
		switch {
		case v.State == control.VatFailed:
			say("%s cannot be started, which is tried again: %s", name, v.Why)
		case v.ID != callee:
		case v.State == control.VatHeld:
			say("%s is held back: %s", name, v.Why)
		case v.State == control.VatSuspended:
			say("%s is suspended: its system subcluster is not declared in this run (run --system FILE)", name)
		case v.State == control.VatStarting:
			say("%s is being started", name)
		case v.Queue > 0:
			say("%s is busy: %s for it", name, plural(v.Queue, "message")+" wait")
		}
	}
	return lines
}

// calleeOf finds the vat that a call of target is for, as far as that can be told.
func calleeOf(ctx context.Context, client *control.Client, status control.Status, target string) (vat string) {
	if i := slices.IndexFunc(status.Clusters, func(c control.Subcluster) bool {
		return target != "" && (c.ID == target || c.System == target)
	}); i >= 0 {
		target = status.Clusters[i].Root
	}
	switch {
	case target == "":
		return ""
	case control.CheckKRef(target) == nil:
		in, _ := client.Inspect(ctx, target) // without an answer, nothing is told
		return in.Owner
	}
	found, _ := client.FindVat(ctx, target) // likewise
	return found.ID
}
