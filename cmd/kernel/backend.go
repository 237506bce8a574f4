package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
	"ocapkernel.dev/supervisor"
)

// Options are what the command line decides about a kernel.
type Options struct {
	// Dir is the state directory, as an absolute path. It exists, is closed to others, and is ours
	// alone until the process ends.
	Dir string
	// Durability is "power" or "process".
	Durability string
	// AcceptRollback lets the kernel run on a state that is older than what it acknowledged.
	AcceptRollback bool
	// Paused makes a kernel that does nothing by itself, to look at its state.
	Paused bool
	// System is the absolute path of the file that declares the system subclusters, empty if none are.
	System string
	// UpgradeSystem replaces those that are declared with another configuration than they run.
	UpgradeSystem bool
	Logger        hclog.Logger
	// Version is the version of this program.
	Version string
}

// Kernel is a kernel whose state is open.
type Kernel interface {
	control.Backend
	// Run does the kernel's work until ctx ends or Shutdown is called, and returns when every worker is
	// stopped and the state is closed. Until then, and afterwards, the methods of Backend may be
	// called; while it stops they fail with CodeStopping. It is called once, whatever happens.
	Run(ctx context.Context) error
}

// backend is a host.Kernel as the control server wants it: names, shapes and errors are translated,
// nothing is decided.
type backend struct {
	*host.Kernel
	opts     Options
	workers  *supervisor.Supervisor
	stopping atomic.Bool
}

// newKernel opens the state and recovers what was under way.
func newKernel(_ context.Context, o Options) (_ Kernel, err error) {
	leaveProcessors()
	stock, err := stockProgram()
	if err != nil {
		return nil, err
	}
	durability := badgerstore.Power
	if o.Durability == "process" {
		durability = badgerstore.Process
	}
	dir := filepath.Join(o.Dir, "db")
	store, err := badgerstore.Open(dir, badgerstore.Options{Durability: durability, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	workers, err := supervisor.New(supervisor.Config{RunDir: runDir(o.Dir), Logger: o.Logger, StockProgram: stock})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	k, err := host.Open(host.Config{
		Store: store, Witness: storage.NewWitness(filepath.Join(o.Dir, "witness")), AcceptRollback: o.AcceptRollback, Paused: o.Paused,
		Workers: workers, Logger: o.Logger, FreeBytes: func() (uint64, error) { return freeBytes(dir) },
	})
	if errors.Is(err, storage.ErrRolledBack) {
		err = &hinted{err, "to go on with what is left, and forget the calls that were under way: run --accept-rollback"}
	}
	if err != nil {
		return nil, errors.Join(err, workers.Close(context.Background()), store.Close())
	}
	return &backend{Kernel: k, opts: o, workers: workers}, nil
}

// leaveProcessors leaves half of the processors to the workers, which do the work. The loop is one
// goroutine; with two processors of two the kernel spends a third more CPU time, most of it on waking the
// other thread.
func leaveProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	}
}

// stockProgram is vatworker, beside this program.
func stockProgram() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the worker program: %w", err)
	}
	return filepath.Join(filepath.Dir(self), "vatworker"), nil
}

// runDir is a directory for what go-plugin leaves: beside the state, or, where that makes a path too long
// for a socket's name, under a name that is this state's in the directory for temporary files.
func runDir(state string) string {
	const most = 80 // of 107, which leaves room for a file in it
	if dir := filepath.Join(state, "run"); len(dir) <= most {
		return dir
	}
	sum := sha256.Sum256([]byte(state))
	return filepath.Join(os.TempDir(), fmt.Sprintf("ocapkernel-%d-%s", os.Getuid(), hex.EncodeToString(sum[:6])))
}

func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// workerModules returns the names of the modules in a worker program, which is named as in a
// configuration; the empty name is the stock one.
func workerModules(ctx context.Context, program string) ([]string, error) {
	if program == "" {
		var err error
		if program, err = stockProgram(); err != nil {
			return nil, err
		}
	}
	return supervisor.Modules(ctx, program)
}

// coded gives an error of the host the code that clients branch on.
func coded(err error) error {
	var refusal *kernel.Refusal
	var launch *host.LaunchError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return control.Errorf(refusal.Code, "%s", refusal.Detail)
	case errors.As(err, &launch):
		return control.Errorf(control.CodeRejected, "%s", launch.Error())
	case errors.Is(err, host.ErrStopping):
		return control.Errorf(control.CodeStopping, "%s", err)
	case errors.Is(err, host.ErrDiskFull):
		return control.Errorf(control.CodeDiskFull, "%s", err)
	}
	return err
}

func (b *backend) Run(ctx context.Context) error {
	context.AfterFunc(ctx, func() { b.stopping.Store(true) })
	defer b.stopping.Store(true)
	return b.Kernel.Run(ctx)
}

func (b *backend) Shutdown(context.Context) error {
	b.stopping.Store(true)
	b.Stop()
	return nil
}

func (b *backend) Status(ctx context.Context) (control.Status, error) {
	s, err := b.Kernel.Status(ctx)
	if err != nil {
		return control.Status{}, coded(err)
	}
	out := control.Status{
		PID: os.Getpid(), State: control.Running, Durability: b.opts.Durability, Cranks: s.Cranks, Commit: s.Commit,
		Epoch: s.Epoch, Vats: s.Vats, Dropped: s.Dropped, Version: b.opts.Version, Clusters: []control.Subcluster{},
	}
	switch {
	case b.stopping.Load():
		out.State = control.Stopping
	case s.DiskFull:
		out.State = control.DiskFull
	}
	for _, sub := range s.Subclusters {
		out.Clusters = append(out.Clusters, subcluster(sub))
	}
	out.Subclusters = len(out.Clusters)
	return out, nil
}

func subcluster(s kernel.Subcluster) control.Subcluster {
	out := control.Subcluster{ID: string(s.ID), Root: string(s.Root), Vats: map[string]string{}, Source: s.Source, Hash: s.Hash}
	for _, v := range s.Vats {
		out.Vats[v.Name] = string(v.Vat)
	}
	return out
}

func (b *backend) PS(ctx context.Context) ([]control.Vat, error) {
	list, err := b.Kernel.Vats(ctx)
	if err != nil {
		return nil, coded(err)
	}
	out := make([]control.Vat, len(list))
	for i, v := range list {
		out[i] = control.Vat{
			ID: string(v.ID), Name: v.Name, Subcluster: string(v.Sub), PID: v.Pid, State: vatState(v),
			Restarts: int(v.Restarts), Queue: int(v.Queue), RSSBytes: v.RSSBytes, Transcript: int(v.Records),
		}
		if v.Lost {
			out[i].Transcript = -1
		}
		if v.SpanAt != 0 {
			out[i].SpanMillis = max(time.Now().UnixMilli()-v.SpanAt, 1)
		}
	}
	return out, nil
}

func vatState(v host.VatStatus) control.VatState {
	switch {
	case v.Terminated:
		return control.VatTerminating
	case v.Stopped != "":
		return control.VatStopped
	case v.Failed:
		return control.VatFailed
	case v.Starting:
		return control.VatStarting
	case v.Pid != 0:
		return control.VatRunning
	}
	return control.VatIdle
}

func (b *backend) Launch(ctx context.Context, r control.LaunchRequest) (control.Subcluster, control.Data, error) {
	cfg, err := cluster.Parse(r.Path, r.Config)
	err = cluster.CheckModules(cfg, err, func(program string) ([]string, error) { return workerModules(ctx, program) })
	if err = checkServed(cfg, err); err != nil {
		return control.Subcluster{}, control.Data{}, configError(r.Path, err)
	}
	sub, err := b.Kernel.Launch(ctx, cfg)
	return subcluster(sub), data(sub.Result), coded(err)
}

func data(d kernel.Data) control.Data {
	out := control.Data{Body: d.Body}
	for _, s := range d.Slots {
		out.Slots = append(out.Slots, string(s))
	}
	return out
}

func (b *backend) Terminate(ctx context.Context, s string) error {
	id, ok := kernel.ParseSubID(s)
	if !ok {
		return control.Errorf(control.CodeInvalid, "%q is no subcluster: want s1", s)
	}
	return coded(b.Kernel.Terminate(ctx, id))
}

func (b *backend) RestartVat(ctx context.Context, s string, forget bool) error {
	id, ok := kernel.ParseVatID(s)
	if !ok {
		return control.Errorf(control.CodeInvalid, "%q is no vat: want v1", s)
	}
	return coded(b.Restart(ctx, id, forget))
}

// ReplayVat is part of control.Backend.
func (b *backend) ReplayVat(ctx context.Context, s string) ([]string, error) {
	id, ok := kernel.ParseVatID(s)
	if !ok {
		return nil, control.Errorf(control.CodeInvalid, "%q is no vat: want v1", s)
	}
	lines, err := b.Rehearse(ctx, id)
	return lines, coded(err)
}

func (b *backend) Send(ctx context.Context, c control.Call) (control.Answer, error) {
	methArgs := kernel.Data{Body: c.MethArgs.Body}
	for _, s := range c.MethArgs.Slots {
		kref, ok := kernel.ParseKRef(s)
		if !ok {
			return control.Answer{}, control.Errorf(control.CodeInvalid, "%q is no reference: want ko4 or kp7", s)
		}
		methArgs.Slots = append(methArgs.Slots, kref)
	}
	a, err := b.Call(ctx, c.Ticket.Epoch, c.Ticket.ID, c.Target, methArgs, c.Wait)
	return answer(a, err)
}

func answer(a host.Answer, err error) (control.Answer, error) {
	if err != nil {
		return control.Answer{}, coded(err)
	}
	t, err := control.ParseTicket(a.Ticket)
	if err != nil {
		return control.Answer{}, err
	}
	out := control.Answer{Ticket: t, Status: control.Fulfilled, Value: data(a.Value)}
	switch {
	case a.Acknowledged:
		return control.Answer{}, control.Errorf(capdata.CodeUnknown, "the answer of ticket %s was acknowledged and let go", a.Ticket)
	case a.Pending:
		out.Status = control.Pending
	case a.Rejected:
		out.Status = control.Rejected
	}
	return out, nil
}

func (b *backend) Await(ctx context.Context, t control.Ticket) (control.Answer, error) {
	return answer(b.Kernel.Await(ctx, t.Epoch, t.ID))
}

func (b *backend) Acknowledge(ctx context.Context, t control.Ticket) error {
	return coded(b.Kernel.Acknowledge(ctx, t.Epoch, t.ID))
}

func (b *backend) PoisonedList(ctx context.Context) ([]control.Poisoned, error) {
	list, err := b.Poisoned(ctx)
	if err != nil {
		return nil, coded(err)
	}
	vats, err := b.Kernel.Vats(ctx)
	if err != nil {
		return nil, coded(err)
	}
	names := map[kernel.VatID]string{}
	for _, v := range vats {
		names[v.ID] = v.Name
	}
	out := make([]control.Poisoned, len(list))
	for i, p := range list {
		method, _, err := capdata.DecodeCall(p.MethArgs.Body, len(p.MethArgs.Slots))
		if err != nil {
			method = "?" // a vat sent it: it may be anything
		}
		out[i] = control.Poisoned{
			ID: strconv.FormatUint(p.N, 10), Vat: string(p.Vat), Name: names[p.Vat], Target: string(p.Target), Method: method,
			Attempts: int(p.Attempts), Code: control.Code(p.Code), Message: p.Why,
		}
	}
	return out, nil
}

func (b *backend) PoisonedRetry(ctx context.Context, id string) error {
	return b.unpoison(ctx, id, true)
}

func (b *backend) PoisonedDrop(ctx context.Context, id string) error {
	return b.unpoison(ctx, id, false)
}

func (b *backend) unpoison(ctx context.Context, id string, retry bool) error {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return control.Errorf(control.CodeInvalid, "%q is no poisoned message: want its number, see poisoned ls", id)
	}
	return coded(b.Unpoison(ctx, n, retry))
}
