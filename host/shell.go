package host

import (
	"context"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// Shell is a running kernel. What it does is done by its owners: each of them owns a part of what the loop knows beside the
// stored state, and only its methods change that part. Others ask it, or tell it, by its methods.
//
//	vats         workers, cranks, memory, what is held back
//	work         the machine's own work
//	subclusters  launches, changes, reloads, resets and ends
//	system       the system subclusters of this run, and their turns
//	names        the directory of names
//	objects      what is behind service objects, and the calls of it
//	registry     the services of this run, by name
//	tickets      those who wait for the answers of host calls
//	operator     what a person asks and orders; it owns nothing
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

	lost    bool   // the state is not ours any more
	dropped uint64 // messages without result, for full queues
}

// newShell makes the owners, and lets each know those whom it asks.
func newShell(cfg Config) (*Shell, error) {
	c := newCore(cfg, logging.Named(cfg.Logger, "host"))
	s := &Shell{
		core: c, vats: newVats(c), work: &work{core: c}, subs: newSubclusters(c), system: newSystem(c), names: newDirectory(c),
		objects: newObjects(c), registry: &registry{core: c}, tickets: &tickets{core: c, waiting: map[string][]chan struct{}{}},
		operator: &operator{core: c},
	}
	c.effects = s
	s.vats.subs, s.vats.names = s.subs, s.names
	s.subs.vats, s.subs.system, s.subs.names, s.subs.objects, s.subs.registry = s.vats, s.system, s.names, s.objects, s.registry
	s.names.running = s.vats
	s.system.subs = s.subs
	s.objects.vats, s.objects.subs, s.objects.registry = s.vats, s.subs, s.registry
	s.registry.objects = s.objects
	s.tickets.names, s.tickets.subs, s.tickets.system = s.names, s.subs, s.system
	s.operator.shell = s
	if err := s.registry.fill(newFacet(s)); err != nil {
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
// changes, or none. Vats, channels and services can be added, and how vats are run and what only new operations of channels
// and services heed can change; what would delete something is a [*ReplaceError], unless Replace names the subcluster. Then
// the subcluster is deleted and launched anew; a kernel that dies meanwhile leaves that to the next one. If that launch fails
// nothing is left of the subcluster, and the error says why. Applied twice Apply changes nothing more. An empty name stands
// for the subcluster that runs what is at the configuration's path.
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
// error is a refusal with [kernel.CodeConflict], and nothing is changed.
func (s *Shell) Ensure(ctx context.Context, cfg *cluster.Config) (Ensured, error) {
	return s.subs.Ensure(ctx, cfg)
}

// Launch begins a subcluster and returns when bootstrap has answered. If the launch fails, for whatever
// reason, the error says why, and nothing of it is left.
func (s *Shell) Launch(ctx context.Context, cfg *cluster.Config) (kernel.Subcluster, error) {
	return s.subs.Launch(ctx, cfg)
}

// Terminate removes a subcluster. It returns when nothing of it is left: no vat, row or process.
func (s *Shell) Terminate(ctx context.Context, id kernel.SubID) error {
	return s.subs.Terminate(ctx, id)
}

// Reload removes a subcluster and launches it again from the configuration that it was launched with, or, if it is a
// system subcluster, as it is declared in this run. It is named by its id, or its name if it is a system subcluster;
// empty means all that run. A system subcluster that is declared and could not be launched is launched. It returns
// what runs then.
func (s *Shell) Reload(ctx context.Context, which string) ([]kernel.Subcluster, error) {
	return s.subs.Reload(ctx, which)
}

// Reset removes all subclusters and begins another epoch, so that every ticket handed out before is unknown.
// When nothing is left of them it returns, and the declared system subclusters are launched again. Numbers are
// not used twice: no name that somebody has kept comes to mean something else. Whether the caller waits or not, and
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

// FindVat finds the vat that a person names: by its id (v3), by its subcluster and name (s1/mint, or
// controller/worker for a vat of a system subcluster), or by its name alone, if no other vat has it. An id goes before a
// name that looks like one.
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
// [kernel.CodeConflict].
func (s *Shell) Call(ctx context.Context, epoch, id, target string, methArgs kernel.Data, wait bool) (Answer, error) {
	return s.tickets.Call(ctx, epoch, id, target, methArgs, wait)
}

// Await waits for the answer of an earlier call. If ctx ends first the answer is Pending, with no error.
// A ticket that is not known is UNKNOWN.
func (s *Shell) Await(ctx context.Context, epoch, id string) (Answer, error) {
	return s.tickets.Await(ctx, epoch, id)
}

// Acknowledge lets the answer of a settled call go. A call that is pending is refused with
// [kernel.CodeConflict].
func (s *Shell) Acknowledge(ctx context.Context, epoch, id string) error {
	return s.tickets.Acknowledge(ctx, epoch, id)
}

// Release is Acknowledge by somebody who has seen the answer and does not wait for it to go. A kernel that dies
// before that is durable keeps it for KeepAnswers.
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

// Register adds a service to this run, under a name that has none: subclusters that are launched from now on may name
// it. If an earlier run had one under the name, those who hold that hold this one now, and what is sent to it is
// answered again; calls that waited for it go on.
func (s *Shell) Register(ctx context.Context, name string, r service.Registration) error {
	return s.registry.Register(ctx, name, r)
}

// Unregister takes a service away from this run. What is pending is rejected with SERVICE_GONE, and so is what
// comes later: its object is gone for good, and a service that is registered under the name in a later
// run is another one.
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

// IsRevoked says whether an object is revoked.
func (s *Shell) IsRevoked(ctx context.Context, kref kernel.KRef) (bool, error) {
	return s.operator.IsRevoked(ctx, kref)
}

// Inspect tells what a reference is, and who has to do with it.
func (s *Shell) Inspect(ctx context.Context, kref kernel.KRef) (kernel.Inspection, error) {
	return s.operator.Inspect(ctx, kref)
}

// TerminateVat ends one vat. Its subcluster goes on without it, and ends with the last one.
func (s *Shell) TerminateVat(ctx context.Context, v kernel.VatID) error {
	return s.operator.TerminateVat(ctx, v)
}

// TerminateAll removes all subclusters, and returns when nothing is left of them.
func (s *Shell) TerminateAll(ctx context.Context) error {
	return s.operator.TerminateAll(ctx)
}

// Collect does what earlier commits have left to be done, and returns when there is nothing more of it.
func (s *Shell) Collect(ctx context.Context) error {
	return s.operator.Collect(ctx)
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
// whether there are more. It reads one slice of them after the other, so that neither the loop nor the memory is held by
// their bodies.
func (s *Shell) Poisoned(ctx context.Context, after uint64, limit int) (list []Poison, more bool, err error) {
	return s.operator.Poisoned(ctx, after, limit)
}

// Unpoison takes a poisoned message away; with retry it is delivered again, without a result.
func (s *Shell) Unpoison(ctx context.Context, n uint64, retry bool) error {
	return s.operator.Unpoison(ctx, n, retry)
}

// Status describes the kernel. What it tells may not be durable yet.
func (s *Shell) Status(ctx context.Context) (Status, error) {
	return s.operator.Status(ctx)
}

// Vats describes all vats and their workers. What it tells may not be durable yet.
func (s *Shell) Vats(ctx context.Context) ([]VatStatus, error) {
	return s.operator.Vats(ctx)
}

// Stored lists rows of a vat's store, in the order of their keys, those with a prefix that are behind a key, and says
// whether there are more: at most limit rows, and fewer if they are long. It reads them in slices, between which the
// kernel goes on.
func (s *Shell) Stored(ctx context.Context, vat, prefix, after string, limit int) (v kernel.Vat, rows []StoredRow, more bool, err error) {
	return s.operator.Stored(ctx, vat, prefix, after, limit)
}

// EarlierDeaths is how many starts in a row before this one have ended by the kernel's own doing.
func (s *Shell) EarlierDeaths() int { return s.vats.earlierDeaths }
