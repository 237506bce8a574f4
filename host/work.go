package host

import (
	"time"

	"ocapkernel.dev/kernel"
)

// work is the machine's own work, which earlier commits have left. Items that touch unreadable rows cannot be done: each is
// put at the end of the line, so that the others are done, and tried again after a while.
type work struct {
	*core
	working  bool // the machine has some
	failures int  // in a row
	why      string
	// notBefore is when work is taken up again; zero: at once.
	notBefore time.Time
}

// mayBe says that the machine may have work: asking costs one cached read.
func (w *work) mayBe() { w.working = true }

// can reports whether the machine has work that may be done now. While a commit waits it returns false: the loop would fill
// the next group, and then wait itself. It returns false in a paused kernel, too: the work removes things outside of the
// state as well.
func (w *work) can() bool {
	return w.working && !w.cfg.Paused && !w.pipeline.Waits() && !w.now().Before(w.notBefore)
}

// do does one slice of the machine's own work.
func (w *work) do() {
	var more bool
	c, err := w.removal(func() (c kernel.Commit, err error) {
		c, more, err = w.machine.Work(w.nowMillis())
		return c, err
	})
	if err == nil {
		w.apply(c)
		w.working = more
		if c.Number != 0 {
			w.failures = 0
		}
		return
	}
	if why := oneLine(err); why != w.why {
		w.why = why
		w.log.Error("what is left of something that ended cannot be removed: it is tried again later", "err", why)
	}
	w.failures++
	pause := wait(w.failures)
	until := w.now().Add(pause)
	w.notBefore = until
	w.workAfter(pause, func() { // the loop tries again
		if w.notBefore.Equal(until) {
			w.notBefore = time.Time{}
		}
	})
	if err := w.isolated(func() error {
		c, err := w.machine.Postpone()
		if err == nil {
			w.apply(c)
		}
		return err
	}); err != nil {
		w.log.Error("work cannot be put off", "err", err)
	}
}
