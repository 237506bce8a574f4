package host

import (
	"time"

	"ocapkernel.dev/kernel"
)

// ownWork is what the loop knows of the machine's own work that cannot be done: items that touch rows which cannot
// be read. Each is put at the end of the line, so that the others are done, and tried again after a while.
type ownWork struct {
	failures int // in a row
	why      string
	// notBefore is when work is taken up again; zero: at once.
	notBefore time.Time
}

// canWork says whether the machine has work that may be done now. While a commit waits none is done: the loop would fill
// the next group, and then wait itself. A kernel that is to look at a state does none: the work removes what there is outside
// of the state, too.
func (k *Shell) canWork() bool {
	return k.working && !k.cfg.Paused && !k.pipeline.Waits() && !time.Now().Before(k.work.notBefore)
}

// doWork does one slice of the machine's own work.
func (k *Shell) doWork() {
	var c kernel.Commit
	var more bool
	err := k.isolated(func() (err error) {
		c, more, err = k.machine.Work(nowMillis())
		return err
	})
	if err == nil {
		k.apply(c)
		k.working = more
		if c.Number != 0 {
			k.work.failures = 0
		}
		return
	}
	if why := oneLine(err); why != k.work.why {
		k.work.why = why
		k.log.Error("what is left of something that ended cannot be removed: it is tried again later", "err", why)
	}
	k.work.failures++
	pause := wait(k.work.failures)
	k.work.notBefore = time.Now().Add(pause)
	k.after(pause, func() {}) // the loop looks again
	if err := k.isolated(func() error {
		c, err := k.machine.Postpone()
		if err == nil {
			k.apply(c)
		}
		return err
	}); err != nil {
		k.log.Error("work cannot be put off", "err", err)
	}
}
