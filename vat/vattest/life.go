package vattest

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
)

// life is the vat of one worker, as the test watches it. Its fields are those of the worker's goroutine while the worker does a
// delivery, and of the test's at all other times.
type life struct {
	worker.Vat
	k     *Kernel
	start wire.Start
	// given counts the deliveries so far. The first of them are the vat's past.
	given uint64
	// last is the last delivery that was not of the past.
	last   crank
	parked int
	closed chan struct{} // when the code of the vat has ended
}

// newLife makes the vat of a worker, on the worker's goroutine.
func (k *Kernel) newLife(start wire.Start, s worker.Store, _ *slog.Logger) (worker.Vat, error) {
	id := kernel.VatID(start.Vat)
	if before := k.life(id); before != nil {
		<-before.closed // the code of one life does not run beside that of the next
	}
	l := &life{k: k, start: start, closed: make(chan struct{})}
	var err error
	if l.Vat, err = k.program.New(start, s, logging.New(logging.Trace, l.log)); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.lives[id] = l
	return l, nil
}

// life returns the vat of a worker that lives; nil if there is none.
func (k *Kernel) life(v kernel.VatID) *life {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.lives[v]
}

// Deliver is part of being a [worker.Vat].
func (l *life) Deliver(d wire.Deliver) wire.Done {
	done := l.Vat.Deliver(d)
	if l.given++; !l.isAgain() {
		l.last = crank{deliver: d, syscalls: done.Syscalls}
		numbered := done
		numbered.Number = d.Number
		if frame, err := worker.AppendDone(nil, numbered, l.start); err == nil { // else the worker ends
			l.last.frame = frame[wire.HeaderBytes:]
		}
	}
	l.parked = done.Outcome.Parked
	return done
}

// isAgain reports whether the delivery counted last is one of the past.
func (l *life) isAgain() bool { return l.given <= l.start.Replays }

// Close ends the vat's goroutines.
func (l *life) Close() {
	defer close(l.closed)
	if c, ok := l.Vat.(interface{ Close() }); ok {
		c.Close()
	}
}

// atRest asks the vat whether it is at rest; known is false for a vat that cannot tell.
func (l *life) atRest() (rest, known bool) {
	r, ok := l.Vat.(interface{ AtRest() bool })
	return ok && r.AtRest(), ok
}

// delivered takes note of a crank that was committed.
func (k *Kernel) delivered(e kernel.Delivered, l *life) {
	if !k.helpers {
		k.tb.Helper()
	}
	done := l.last
	k.follow(e.Vat, done.syscalls)
	if k.life(e.Vat) == nil { // it has left in this crank
		k.past(l).add(done)
		return
	}
	rest, known := l.atRest()
	if known && rest != (e.Records == 0) && !k.vat(e.Vat).Lost {
		k.tb.Errorf("vat %s: the kernel says that it is at rest: %t, and the vat itself: %t", l.start.Name, !rest, rest)
	}
	done.rest = rest
	k.past(l).add(done)
	k.unused(l, done.deliver.Delivery, e.Records)
}

// died takes note of the death of a worker.
func (k *Kernel) died(e kernel.Died) {
	switch e.Cause {
	case kernel.CauseStopped, kernel.CauseKernel, kernel.CauseKilled, kernel.CauseFault:
		return // the test's doing, or told otherwise
	case kernel.CauseStart: // the kernel would try it for ever, unless it was the launch that failed
		if info, found, err := k.view.Vat(e.Vat); err != nil || found && !info.Terminated {
			k.tb.Helper()
			k.tb.Fatalf("start of %s: %s", info.Name, e.Detail)
		}
	default:
		k.tb.Helper()
		k.tb.Errorf("vat %s: %s: %s", e.Vat, e.Cause, e.Detail)
	}
}

// memoryLost takes note of a vat that starts from its store.
func (k *Kernel) memoryLost(e kernel.MemoryLost) {
	k.tb.Helper()
	p := k.pasts[e.Vat]
	if p == nil {
		return // it has done nothing yet
	}
	p.lose()
	why, diverged := strings.CutPrefix(e.Why, "its replay diverged: ")
	if !diverged {
		return
	}
	name := p.start.Name
	if k.OnDivergence == nil {
		k.tb.Errorf("vat %s does not do the same again: %s", name, why)
	} else {
		k.OnDivergence(name, errors.New(why))
	}
}

// complain fails the test for the mistakes of the program that the vat itself can report to no caller.
func (k *Kernel) complain(l *life) {
	if !k.helpers {
		k.tb.Helper()
	}
	if l == nil {
		return
	}
	if w, ok := l.Vat.(interface{ Complaints() []string }); ok {
		for _, text := range w.Complaints() {
			k.complainOf(l, text)
		}
	}
}

func (k *Kernel) complainOf(l *life, text string) {
	k.tb.Helper()
	name := l.start.Name
	if k.complained[name+": "+text] {
		return
	}
	k.complained[name+": "+text] = true
	if k.OnComplaint != nil {
		k.OnComplaint(name, text)
	} else {
		k.tb.Errorf("vat %s: %s", name, text)
	}
}

// log logs a line of the vat. A turn may log on a goroutine of its own, while the test waits for it.
func (l *life) log(line logging.Line) {
	if l.given >= l.start.Replays { // else the line was logged when it happened
		l.k.log("vat "+l.start.Name, line)
	}
}

// log writes a line into the log of the test.
func (k *Kernel) log(who string, l logging.Line) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %s", who, logging.LevelName(l.Level), l.Message)
	for i := 0; i+1 < len(l.Args); i += 2 {
		value := fmt.Sprint(l.Args[i+1])
		if strings.Contains(value, "\n") { // a stack
			value = "\n\t" + strings.ReplaceAll(strings.TrimSpace(value), "\n", "\n\t")
		}
		fmt.Fprintf(&b, " %v=%s", l.Args[i], value)
	}
	k.tb.Log(b.String())
}
