package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"ocapkernel.dev/control"
)

// A person who waits for longer than firstTold gets the reason, and each tellEvery the new ones.
const (
	firstTold = 2 * time.Second
	tellEvery = 2 * time.Second
	mostTold  = 12 // lines, in one wait
)

// tellWaits prints the reasons for which a command waits for the kernel on stderr, each once, until stop is
// called. target is the target of a call, or "". stop returns when nothing more will be printed.
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

// waits asks the kernel of dir for the reasons that keep it from launching, or from answering a call of target.
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
		return nil // the command itself reports it
	}
	systems, _ := client.System(ctx) // known reasons are shown all the same
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
		if line := a.vatWaits(v, v.ID == callee); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// vatWaits returns the reason that keeps a vat from its work; "" if there is none that concerns the waiting
// command. A vat that cannot be started concerns it, also if another one was called.
func (a *app) vatWaits(v control.Vat, called bool) string {
	name := fmt.Sprintf("vat %s (%s) of %s", v.ID, v.Name, v.Subcluster)
	queue := plural(v.Queue, "message")
	if v.Queue != 1 {
		queue += " wait for it"
	} else {
		queue += " waits for it"
	}
	switch {
	case v.State == control.VatFailed:
		return fmt.Sprintf("%s cannot be started, which is tried again: %s", name, v.Why)
	case !called:
		return ""
	case v.State == control.VatHeld:
		return fmt.Sprintf("%s is held back: %s (%s); %s", name, v.Why, queue, strings.TrimLeft(a.letGo(v.ID), " "))
	case v.State == control.VatSuspended:
		return fmt.Sprintf("%s is suspended: its system subcluster is not declared in this run (run --system FILE), or its channels are not open yet (kernel logs); %s", name, queue)
	case v.State == control.VatStarting:
		return name + " is being started"
	case v.Queue > 0:
		return fmt.Sprintf("%s is busy: %s", name, queue)
	}
	return ""
}

// calleeOf finds the vat that a call of target is for, as far as that can be found out.
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
		in, _ := client.Inspect(ctx, target) // without an answer, nothing is shown
		return in.Owner
	}
	found, _ := client.FindVat(ctx, target) // likewise
	return found.ID
}
