package host

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"ocapkernel.dev/host/pipeline"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// core is the access of the loop's steps to the machine: a step gives the machine an input, and applies the commit that the
// machine returns. All methods of core are for steps.
type core struct {
	*loop
	cfg      Config
	log      *slog.Logger
	machine  *kernel.Machine
	layers   *storage.Layers
	pipeline *pipeline.Pipeline[func()]
	effects  effects
	applying bool // a commit is being applied; it stays so if that breaks off
}

// effects receives the effects and the trace of each commit. Its methods run within the step that applies the commit.
// Effects inside this process are performed at once; every other effect waits until the commit is durable.
type effects interface {
	perform(e kernel.Effect)
	trace(e kernel.Event)
	// eased is called when a shortage is over.
	eased()
	// applied is called for each commit.
	applied()
}

// Room tells whether the kernel has the space and descriptors to go on. Its methods may be called from any goroutine.
type Room = pipeline.Room

func newCore(cfg Config, log *slog.Logger) *core {
	layers := storage.NewLayers(cfg.Store, cfg.CacheBytes)
	return &core{
		loop: newLoop(log, cfg.Driven != nil), cfg: cfg, log: log, layers: layers,
		pipeline: pipeline.New[func()](pipeline.Config{
			Store: cfg.Store, Layers: layers, Witness: cfg.Witness, Room: cfg.Room, Log: log,
			Inline: cfg.Driven != nil, Single: cfg.Driven != nil && cfg.Driven.Single,
		}),
	}
}

// use takes the machine, which is opened on the core's layers. stored is the newest commit that is in the store.
func (c *core) use(m *kernel.Machine, stored uint64) {
	c.machine = m
	c.pipeline.Stored(stored)
}

// apply applies a commit of the machine: its writes are visible at once, and its effects wait until the writes are durable,
// but for effects inside this process. apply applies no other commit: a consequence of an effect is a step of its own.
// apply waits for the committer if the commit finds no room.
func (c *core) apply(commit kernel.Commit) {
	if commit.Number == 0 {
		return
	}
	outer := c.applying
	c.applying = true
	c.became(c.pipeline.Add(commit.Number, commit.Writes))
	for _, e := range commit.Trace {
		c.effects.trace(e)
	}
	for _, e := range commit.Effects {
		c.effects.perform(e)
	}
	c.effects.applied()
	fault.Point(fault.CommitApplied)
	c.became(c.pipeline.Bound())
	c.applying = outer
}

// became lists the functions held for commits that are durable now, as steps to be run next. With an error no later commit
// becomes durable, and the kernel ends.
func (c *core) became(durable []func(), err error) {
	for _, step := range durable {
		c.soon(step)
	}
	if err != nil {
		c.fail(err)
	}
	if c.pipeline.Eased() {
		c.soon(c.effects.eased)
	}
}

// committed takes the committer's answer to a group.
func (c *core) committed(answer error) { c.became(c.pipeline.Committed(answer)) }

// flush hands the current group to the committer, if it is its time.
func (c *core) flush() {
	c.pipeline.Flush()
	c.became(nil, nil)
}

// handOver hands the current group to the committer whether it is its time or not, and waits for the committer if that is
// busy.
func (c *core) handOver() { c.became(c.pipeline.HandOver()) }

// look has the pipeline act on signals of the committer and of timers.
func (c *core) look() {
	c.pipeline.Look()
	c.became(nil, nil)
}

// flushAll makes all applied commits durable, and runs the functions held for them. The loop has ended.
func (c *core) flushAll() {
	for c.fatal == nil && (c.hasNext() || !c.pipeline.Idle()) {
		c.guard(c.handOver)
	}
}

// whenDurable has the loop run f once everything applied so far is durable, and never before the present
// step has ended.
func (c *core) whenDurable(f func()) {
	if !c.pipeline.Hold(f) {
		c.soon(f)
	}
}

// whenRoom calls take, in the loop, when its commit of about so many bytes does not have the loop wait. Inputs are taken in
// their order.
func (c *core) whenRoom(bytes int, take func()) {
	if !c.pipeline.Enter(bytes, take) {
		take()
	}
}

// lacks returns the kernel's shortage in words; it is empty if there is none.
func (c *core) lacks() string { return c.pipeline.Lacks() }

// diskFull reports whether the disk has too little room.
func (c *core) diskFull() bool { return c.pipeline.Full() }

// noRoom is the error for a request that is refused while the disk is full.
func (c *core) noRoom() error { return fmt.Errorf("%w: %s", ErrDiskFull, c.lacks()) }

// pauses returns a sentence for each shortage, and for a witness that falls behind.
func (c *core) pauses() []string {
	var out []string
	if lacks := c.lacks(); lacks != "" {
		out = append(out, lacks)
	}
	if why := c.pipeline.Behind(); why != "" {
		out = append(out, "the witness falls behind: "+why)
	}
	return out
}

// fail ends the kernel: the state in memory can no longer be trusted or kept.
func (c *core) fail(err error) {
	if err != nil {
		c.pipeline.Halt()
		c.end(err)
	}
}

// input applies the commit of an input, given the results of the machine's method. A refusal changes nothing. An input that
// fails because rows cannot be read changes nothing either, and its error goes to the log.
func (c *core) input(commit kernel.Commit, err error) {
	var refusal *kernel.Refusal
	switch {
	case err == nil:
		c.apply(commit)
	case !errors.As(err, &refusal):
		c.log.Error("something cannot be done, and changed nothing", "err", err)
		c.checkStore()
	}
}

// isolated runs a part of a step and turns its panic into an error, unless the panic came while a commit was being applied.
// If the store itself is damaged the kernel ends.
func (c *core) isolated(step func() error) (err error) {
	defer func() {
		if err != nil {
			c.checkStore()
		}
	}()
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if c.applying {
			panic(p) // guard ends the kernel
		}
		c.log.Error("invariant broken", "err", p, "stack", string(debug.Stack()))
		err = fmt.Errorf("invariant broken: %v", p)
	}()
	return step()
}

// removal returns the commit of a removal. The thing is removed even if its rows, or rows that the removal touches, are
// missing or cannot be read: the log names such rows. A refusal changes nothing.
func (c *core) removal(change func() (kernel.Commit, error)) (commit kernel.Commit, err error) {
	attempt := func(change func() (kernel.Commit, error)) error {
		return c.isolated(func() (err error) {
			commit, err = change()
			return err
		})
	}
	err = attempt(change)
	refusal := (*kernel.Refusal)(nil)
	if err == nil || errors.As(err, &refusal) || c.fatal != nil {
		return commit, err
	}
	c.log.Error("rows cannot be read: what they belong to is removed all the same", "err", err)
	err = attempt(func() (kernel.Commit, error) { return c.machine.Salvage(change) })
	return commit, err
}

// checkStore ends the kernel if the store itself is damaged, which is not one vat's trouble: no row can be trusted. It is
// called when a row could not be read.
func (c *core) checkStore() {
	const anyKey = "any" // a damaged store answers no question
	if _, _, err := c.cfg.Store.Get(anyKey); errors.Is(err, storage.ErrCorrupt) {
		c.fail(err)
	}
}
