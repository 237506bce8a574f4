package host

import (
	"context"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// Shell is a running kernel. Its work is done by its owners: each owns a part of the loop's tables, and only the owner's
// methods change them. An owner asks and tells another one by methods.
//
//	vats         workers, cranks, memory, vats that are held back
//	work         the machine's own work
//	subclusters  launches, changes, reloads, resets and ends
//	system       the system subclusters of this run, and their turns
//	names        the directory of names
//	objects      the objects behind service objects, and their calls
//	registry     the services of this run, by name
//	tickets      the callers that wait for the answers of host calls
//	operator     a person's questions and orders; it owns no table
//	driver       the steps of a kernel that a test drives
type Shell struct {
	*core
	vats     *vats
	work     *work
	subs     *subclusters
	system   *system
	names    *directory
	objects  *objects
	registry *registry
	tickets  *tickets
	operator *operator
	driver   *driver

	lost bool // the state is not ours any more
}

// newShell makes the owners, and gives each the owners that it calls.
func newShell(cfg Config) (*Shell, error) {
	c := newCore(cfg, logging.Named(cfg.Logger, "host"))
	s := &Shell{
		core: c, vats: newVats(c), work: &work{core: c}, subs: newSubclusters(c), system: newSystem(c), names: newDirectory(c),
		objects: newObjects(c), registry: &registry{core: c}, tickets: &tickets{core: c, waiting: map[string][]chan struct{}{}},
		operator: &operator{core: c}, driver: &driver{core: c},
	}
	c.effects = s
	s.vats.subs, s.vats.names = s.subs, s.names
	s.subs.vats, s.subs.system, s.subs.names, s.subs.objects, s.subs.registry = s.vats, s.system, s.names, s.objects, s.registry
	s.names.running = s.vats
	s.system.subs = s.subs
	s.objects.vats, s.objects.subs, s.objects.registry = s.vats, s.subs, s.registry
	s.registry.objects = s.objects
	s.tickets.names, s.tickets.subs, s.tickets.system = s.names, s.subs, s.system
	s.operator.vats, s.operator.work, s.operator.subs, s.operator.names = s.vats, s.work, s.subs, s.names
	s.operator.objects, s.operator.registry = s.objects, s.registry
	s.driver.vats, s.driver.work = s.vats, s.work
	if err := s.registry.fill(newFacet(s.operator)); err != nil {
		s.pipeline.Stop()
		return nil, err
	}
	return s, nil
}

// Run does the kernel's work until ctx ends or Stop is called, then stops the workers in order, commits,
// and closes the store. It returns an error if it ended for another reason, or could not end in order.
// It is called once.
func (s *Shell) Run(ctx context.Context) error {
	defer close(s.done)
	s.until(ctx.Done())
	defer context.AfterFunc(ctx, func() { s.pipeline.Hurry(true) })() // as in Stop
	s.guard(s.tickets.expire)
	if !s.cfg.Paused {
		s.guard(s.subs.resumeReset)
		s.guard(func() { s.fail(s.objects.resume()) })
		s.objects.awaitObjects()
		s.guard(s.system.start)
	}
	s.watchOwned()
	s.after(wellTime, s.vats.ranWell)
	s.run(ctx)
	return s.close()
}

// Stop makes Run return. It may be called at any time, and returns at once.
func (s *Shell) Stop() {
	s.stopOnce.Do(func() {
		s.pipeline.Hurry(true) // the loop may be waiting for the committer
		close(s.stop)
	})
}

// Apply changes a running subcluster to another configuration, in one commit: a kernel that dies has made all of the
// changes, or none. Apply can add vats, channels and services, change how vats are run, and change settings that only new
// operations of channels and services heed. A change that would delete something is a [*ReplaceError], unless Replace names
// the subcluster. Then the subcluster is deleted and launched anew; if a kernel dies meanwhile, the next one goes on with
// that. If that launch fails, nothing is left of the subcluster, and the error has the reason. A second Apply of the same
// configuration changes nothing. An empty name stands for the subcluster that was launched from the configuration's path.
func (s *Shell) Apply(ctx context.Context, name string, cfg *cluster.Config, o ApplyOptions) (Applied, error) {
	return s.subs.Apply(ctx, name, cfg, o)
}

// Suspended says which subclusters are there and do not run in this run.
func (s *Shell) Suspended(ctx context.Context) (map[kernel.SubID]bool, error) {
	return s.subs.Suspended(ctx)
}

// Ensure returns the subcluster that runs a configuration, and launches it if there is none. A subcluster runs it
// if it was launched, by this run or an earlier one, from a file of the same path and text; system subclusters
// do not count. A subcluster of that path that is on its way is waited for: a launch until it is settled, a
// removal until nothing is left, a reload until the new one runs. If one of the same path runs another text, the
// error is a refusal with [errcode.Conflict], and nothing is changed.
func (s *Shell) Ensure(ctx context.Context, cfg *cluster.Config) (Ensured, error) {
	return s.subs.Ensure(ctx, cfg)
}

// Launch begins a subcluster and returns when bootstrap has answered. If the launch fails, the error has the reason, and
// nothing of the subcluster is left.
func (s *Shell) Launch(ctx context.Context, cfg *cluster.Config) (kernel.Subcluster, error) {
	return s.subs.Launch(ctx, cfg)
}

// Terminate removes a subcluster. It returns when nothing of it is left: no vat, row or process.
func (s *Shell) Terminate(ctx context.Context, id kernel.SubID) error {
	return s.subs.Terminate(ctx, id)
}

// Reload removes a subcluster, launches it again, and returns the subclusters that were launched. A system subcluster is
// launched as this run declares it, any other from the configuration that it was launched with. which is the id of the
// subcluster, or the name of a system subcluster; empty means all running subclusters. A declared system subcluster that
// could not be launched before is launched.
func (s *Shell) Reload(ctx context.Context, which string) ([]kernel.Subcluster, error) {
	return s.subs.Reload(ctx, which)
}

// Reset removes all subclusters and begins another epoch, so that every ticket handed out before is unknown.
// When nothing is left of them it returns, and the declared system subclusters are launched again. Numbers are
// not used twice: a name that a client has kept never names another object. Whether the caller waits or not, and
// through the death of the kernel: once begun, it is finished.
func (s *Shell) Reset(ctx context.Context) error {
	return s.subs.Reset(ctx)
}

// SystemList describes the system subclusters: those that are declared in the order of their declaration, then the
// others.
func (s *Shell) SystemList(ctx context.Context) ([]SystemStatus, error) {
	return s.system.List(ctx)
}

// SystemReady returns when each declared system subcluster runs, or could not be launched; then the error is a
// [*SystemError].
func (s *Shell) SystemReady(ctx context.Context) error {
	return s.system.Ready(ctx)
}

// FindVat returns the vat with an id (v3), with a subcluster and name (s1/mint, or controller/worker for a vat of a system
// subcluster), or with a name that no other vat has. An id goes before a name of the same form.
func (s *Shell) FindVat(ctx context.Context, name string) (kernel.Vat, error) {
	return s.names.FindVat(ctx, name)
}

// FindSubcluster finds the subcluster that a person names: by its id (s1), or a system subcluster by its name.
func (s *Shell) FindSubcluster(ctx context.Context, name string) (kernel.Subcluster, error) {
	return s.names.FindSubcluster(ctx, name)
}

// Epoch is the epoch of the tickets that this state knows.
func (s *Shell) Epoch(ctx context.Context) (string, error) {
	return s.tickets.Epoch(ctx)
}

// Call sends a message to an object or promise, or to the root of a subcluster or vat. A subcluster that is launching is
// waited for; if its launch fails the error is the [LaunchError], and if ctx ends first, the call was not accepted.
// It returns when the call is durable; with wait when it is settled, or when ctx ends: then the answer is Pending, with no error.
// The same call under the same ticket has one effect and one answer; another call is refused with
// [errcode.Conflict].
func (s *Shell) Call(ctx context.Context, epoch, id, target string, methArgs kernel.Data, wait bool) (Answer, error) {
	return s.tickets.Call(ctx, epoch, id, target, methArgs, wait)
}

// Await waits for the answer of an earlier call. If ctx ends first the answer is Pending, with no error.
// A ticket that is not known is UNKNOWN.
func (s *Shell) Await(ctx context.Context, epoch, id string) (Answer, error) {
	return s.tickets.Await(ctx, epoch, id)
}

// Acknowledge lets the answer of a settled call go. A call that is pending is refused with
// [errcode.Conflict].
func (s *Shell) Acknowledge(ctx context.Context, epoch, id string) error {
	return s.tickets.Acknowledge(ctx, epoch, id)
}

// Release is Acknowledge for a caller that has seen the answer and does not wait for the removal. If the kernel dies before
// the removal is durable, the answer is kept for KeepAnswers.
func (s *Shell) Release(epoch, id string) {
	s.tickets.Release(epoch, id)
}

// Restart gives a vat a fresh worker, with the memory that it had, or, with forget, from its durable state
// alone. It revives a stopped vat.
func (s *Shell) Restart(ctx context.Context, id kernel.VatID, forget bool) error {
	return s.vats.Restart(ctx, id, forget)
}

// Rehearse gives the past of a vat, since it was last at rest, to a fresh worker, and returns a line for
// each delivery and syscall, and one for where it diverges. Meanwhile the vat gets no deliveries. It
// changes nothing.
func (s *Shell) Rehearse(ctx context.Context, id kernel.VatID) ([]string, error) {
	return s.vats.Rehearse(ctx, id)
}

// Register adds a service to this run, under a name that has none: subclusters that are launched from now on may name it.
// If an earlier run had a service under the name, its holders hold this one now: messages to it are answered again, and
// calls that waited for it go on.
func (s *Shell) Register(ctx context.Context, name string, r service.Registration) error {
	return s.registry.Register(ctx, name, r)
}

// Unregister takes a service away from this run. Pending and later calls are rejected with SERVICE_GONE: the service's
// object is gone for good, and a service that is registered under the name in a later run is another one.
func (s *Shell) Unregister(ctx context.Context, name string) error {
	return s.registry.Unregister(ctx, name)
}

// ServiceNames lists the services that a configuration may name.
func (s *Shell) ServiceNames(system bool) []string {
	return s.registry.ServiceNames(system)
}

// Revoke makes an object refuse every message from now on, those in queues included. It cannot be undone.
func (s *Shell) Revoke(ctx context.Context, kref kernel.KRef) error {
	return s.operator.Revoke(ctx, kref)
}

// IsRevoked reports whether an object is revoked.
func (s *Shell) IsRevoked(ctx context.Context, kref kernel.KRef) (bool, error) {
	return s.operator.IsRevoked(ctx, kref)
}

// Inspect returns the state of a reference, its owner or decider, and the counts of its holders.
func (s *Shell) Inspect(ctx context.Context, kref kernel.KRef) (kernel.Inspection, error) {
	return s.operator.Inspect(ctx, kref)
}

// Holds returns why the kernel keeps an object or a promise, at most limit reasons, and whether there are more. It reads the whole
// state, beside the loop.
func (s *Shell) Holds(ctx context.Context, kref kernel.KRef, limit int) (list []kernel.Hold, more bool, err error) {
	return s.operator.Holds(ctx, kref, limit)
}

// TerminateVat ends one vat. Its subcluster goes on without it, and ends with the last one.
func (s *Shell) TerminateVat(ctx context.Context, v kernel.VatID) error {
	return s.operator.TerminateVat(ctx, v)
}

// TerminateAll removes all subclusters, and returns when nothing is left of them.
func (s *Shell) TerminateAll(ctx context.Context) error {
	return s.operator.TerminateAll(ctx)
}

// Collect does the work that earlier commits have left, and asks vats for references that they no longer hold, as well those
// that are never asked otherwise: each one about which there is something to expect, or, if only is not empty, that vat alone,
// in any case. It returns when nothing is left to be told or removed.
func (s *Shell) Collect(ctx context.Context, only kernel.VatID) (Collected, error) {
	return s.operator.Collect(ctx, only)
}

// Tally counts what the state keeps. It reads all of it, beside the loop.
func (s *Shell) Tally(ctx context.Context) (kernel.Tally, error) {
	return s.operator.Tally(ctx)
}

// PingVat asks a vat for a sign of life, and answers pong: its process is well, and it is not in the middle of a
// delivery, or ends the one that it has before ctx does. A vat without a process is well, too: it needs none.
func (s *Shell) PingVat(ctx context.Context, id kernel.VatID) (string, error) {
	return s.operator.PingVat(ctx, id)
}

// ServiceList describes all service objects.
func (s *Shell) ServiceList(ctx context.Context) ([]ServiceStatus, error) {
	return s.operator.ServiceList(ctx)
}

// Poisoned lists the oldest poisoned messages with a number above after, at most limit of them, oldest first, and says
// whether there are more. It reads the messages of one moment beside the loop, a slice at a time, so that their bodies hold
// neither the loop nor the memory.
func (s *Shell) Poisoned(ctx context.Context, after uint64, limit int) (list []Poison, more bool, err error) {
	return s.operator.Poisoned(ctx, after, limit)
}

// Unpoison takes a poisoned message away; with retry it is delivered again, without a result.
func (s *Shell) Unpoison(ctx context.Context, n uint64, retry bool) error {
	return s.operator.Unpoison(ctx, n, retry)
}

// Status describes the kernel. The described state may not be durable yet.
func (s *Shell) Status(ctx context.Context) (Status, error) {
	return s.operator.Status(ctx)
}

// Vats describes all vats and their workers. The described state may not be durable yet.
func (s *Shell) Vats(ctx context.Context) ([]VatStatus, error) {
	return s.operator.Vats(ctx)
}

// Stored lists rows of a vat's store, in the order of their keys, those with a prefix that are behind a key, and says
// whether there are more: at most limit rows, and fewer if they are long. It reads the rows of one moment, and the kernel
// goes on meanwhile.
func (s *Shell) Stored(ctx context.Context, vat, prefix, after string, limit int) (v kernel.Vat, rows []StoredRow, more bool, err error) {
	return s.operator.Stored(ctx, vat, prefix, after, limit)
}

// EarlierDeaths is how many starts in a row before this one have ended by the kernel's own doing.
func (s *Shell) EarlierDeaths() int { return s.vats.earlierDeaths }
