// Package controltest holds a kernel without vats, for tests of programs that speak to one.
package controltest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

// Epoch is the epoch of a fake's tickets, until its state is cleared.
const Epoch = "e1"

// Fake is a [control.Backend] with behaviour. Its state is in memory. Every object understands:
//
//	echo(args…)   is fulfilled with the array of its arguments
//	count()       is fulfilled with the number of calls that had an effect, itself included
//	fail(text)    is rejected with an error of that text
//	reject(value) is rejected with the value
//	revoked()     is rejected by the kernel, with REVOKED, as is every call of an object after [Fake.Revoke]
//	silent()      is fulfilled with undefined
//	garbage()     is fulfilled with a body that is no value
//	hang()        is settled by [Fake.Release], or not at all
//
// A configuration is any text, unless it contains "mistake". Each launch makes one vat, named root; and, where
// the text contains "channel", an IO channel named console. [Fake.Declare] declares system subclusters.
type Fake struct {
	// Info is the answer of Status and ps, but for the parts that the fake itself knows. Set it before use.
	Info control.Status
	// stop is closed by Shutdown.
	stop     chan struct{}
	stopOnce sync.Once

	mu struct {
		sync.Mutex
		launched int
		epochs   int
		clusters []control.Subcluster
		vats     []control.Vat
		channels []control.Channel
		declared []Declaration
		poisoned []control.Poisoned
		calls    map[string]*call
		effects  int
		revoked  map[string]bool
	}
}

type call struct {
	content string
	target  string
	// promise is the kref of its result.
	promise string
	answer  control.Answer
	settled chan struct{}
	// dropped is set once the answer was acknowledged.
	dropped bool
}

// New returns a fake with one poisoned message, named m7.
func New() *Fake {
	f := &Fake{
		Info: control.Status{PID: 4242, State: control.Running, Durability: "power", Cranks: 17, Commit: 18, Version: "fake"},
		stop: make(chan struct{}),
	}
	f.mu.epochs = 1
	f.mu.calls = make(map[string]*call)
	f.mu.revoked = make(map[string]bool)
	f.mu.poisoned = []control.Poisoned{{
		ID: "m7", Vat: "v1", Name: "root", Target: "ko1", Method: "explode", Attempts: 3,
		Code: errcode.DeliveryPoisoned, Message: "the message killed its vat 3 times",
	}}
	return f
}

// Run returns when ctx ends or Shutdown was called. After that, calls that wait still wait until their context
// ends: the server sees to that.
func (f *Fake) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-f.stop:
	}
	return nil
}

// Adopt makes a subcluster that was launched in an earlier life.
func (f *Fake) Adopt(s control.Subcluster) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.add(s)
}

func (f *Fake) add(s control.Subcluster) {
	f.mu.launched++
	if n, err := strconv.Atoi(strings.TrimPrefix(s.ID, "s")); err == nil {
		f.mu.launched = max(f.mu.launched, n) // ids are not used again
	}
	f.mu.clusters = append(f.mu.clusters, s)
	f.mu.vats = append(f.mu.vats, control.Vat{
		ID: s.Vats["root"], Name: "root", Subcluster: s.ID, PID: 1000 + f.mu.launched, State: control.VatRunning, RSSBytes: 12 << 20,
	})
}

// Release settles every call of hang, with null.
func (f *Fake) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.mu.calls {
		if c.answer.Status == control.Pending {
			c.settle(control.Fulfilled, control.Data{Body: "#null"})
		}
	}
}

// Effects returns the number of calls that had an effect.
func (f *Fake) Effects() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.effects
}

// Status implements [control.Backend].
func (f *Fake) Status(context.Context) (control.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.Info
	s.Epoch = f.epoch()
	s.Clusters = copies(f.mu.clusters)
	s.Subclusters, s.Vats = len(f.mu.clusters), len(f.mu.vats)
	return s, nil
}

// PS implements [control.Backend].
func (f *Fake) PS(context.Context) ([]control.Vat, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.mu.vats), nil
}

// CheckConfig implements [control.Backend].
func (f *Fake) CheckConfig(_ context.Context, r control.LaunchRequest) error {
	if !strings.Contains(string(r.Config), "mistake") {
		return nil
	}
	err := control.Errorf(errcode.Invalid, "1 mistake in %s", r.Path)
	err.Details = []string{r.Path + ":1:1: bootstrap: there is a mistake"}
	return err
}

// CheckSystem implements [control.Backend].
func (f *Fake) CheckSystem(ctx context.Context, r control.LaunchRequest) error {
	return f.CheckConfig(ctx, r)
}

// Launch implements [control.Backend].
func (f *Fake) Launch(ctx context.Context, r control.LaunchRequest) (control.Subcluster, control.Data, error) {
	if err := f.CheckConfig(ctx, r); err != nil {
		return control.Subcluster{}, control.Data{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.launch(control.Subcluster{Source: r.Path, Hash: hash(string(r.Config))})
	if strings.Contains(string(r.Config), "channel") {
		f.open(s.ID)
	}
	return clone(s), control.Data{Body: `#"$0.Alleged: root"`, Slots: []string{s.Root}}, nil
}

// launch gives a new subcluster its ids. The fake's mu is held.
func (f *Fake) launch(s control.Subcluster) control.Subcluster {
	n := f.mu.launched + 1
	s.ID, s.Root, s.Vats = fmt.Sprintf("s%d", n), fmt.Sprintf("ko%d", n), map[string]string{"root": fmt.Sprintf("v%d", n)}
	s.State = control.SubclusterRunning
	f.add(s)
	return s
}

func hash(config string) string {
	sum := sha256.Sum256([]byte(config))
	return hex.EncodeToString(sum[:])
}

// clone copies a subcluster, so that copies outside of the fake do not change any more.
func clone(s control.Subcluster) control.Subcluster {
	s.Vats = maps.Clone(s.Vats)
	return s
}

func copies(list []control.Subcluster) []control.Subcluster {
	out := make([]control.Subcluster, len(list))
	for i, s := range list {
		out[i] = clone(s)
	}
	return out
}

// Terminate implements [control.Backend].
func (f *Fake) Terminate(_ context.Context, subcluster string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.subcluster(subcluster)
	if err == nil {
		f.remove(s.ID)
	}
	return err
}

func (f *Fake) remove(subcluster string) {
	f.mu.clusters = slices.DeleteFunc(f.mu.clusters, func(s control.Subcluster) bool { return s.ID == subcluster })
	f.mu.vats = slices.DeleteFunc(f.mu.vats, func(v control.Vat) bool { return v.Subcluster == subcluster })
	f.mu.channels = slices.DeleteFunc(f.mu.channels, func(c control.Channel) bool { return c.Subcluster == subcluster })
}

// ReplayVat implements [control.Backend].
func (f *Fake) ReplayVat(_ context.Context, vat string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.vat(vat); err != nil {
		return nil, err
	}
	return []string{"delivery 1: start", "all 1 deliveries came out as recorded"}, nil
}

// RestartVat implements [control.Backend]. With forget the vat's worker is gone afterwards.
func (f *Fake) RestartVat(_ context.Context, vat string, forget bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, err := f.vat(vat)
	if err != nil {
		return err
	}
	v.Restarts++
	if forget {
		v.PID, v.State, v.RSSBytes = 0, control.VatIdle, 0
	}
	return nil
}

// Send implements [control.Backend].
func (f *Fake) Send(ctx context.Context, c control.Call) (control.Answer, error) {
	known, err := f.accept(c)
	if err != nil {
		return control.Answer{}, err
	}
	if !c.Wait {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		ctx = done
	}
	return f.wait(ctx, known)
}

func (f *Fake) accept(c control.Call) (*call, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ofThisEpoch(c.Ticket); err != nil {
		return nil, err
	}
	content := fmt.Sprint(c.Target, c.MethArgs)
	if known, ok := f.mu.calls[c.Ticket.ID]; ok {
		if known.content != content {
			return nil, control.Errorf(errcode.Conflict, "ticket %s.%s was used for another call", f.epoch(), c.Ticket.ID)
		}
		return known, nil
	}
	target, err := f.target(c.Target)
	if err != nil {
		return nil, err
	}
	method, args, err := capdata.DecodeCall(c.MethArgs.Body, len(c.MethArgs.Slots))
	if err != nil {
		return nil, err
	}
	f.mu.effects++
	made := &call{
		content: content, settled: make(chan struct{}), target: target, promise: fmt.Sprintf("kp%d", f.mu.effects),
		answer: control.Answer{Ticket: control.Ticket{Epoch: f.epoch(), ID: c.Ticket.ID}, Status: control.Pending},
	}
	f.mu.calls[c.Ticket.ID] = made
	if f.mu.revoked[made.target] {
		made.settle(control.Rejected, control.Data{Body: capdata.KernelError(errcode.Revoked, made.target+" was revoked")})
		return made, nil
	}
	return made, made.perform(method, args, c.MethArgs.Slots, f.mu.effects)
}

// perform runs a method. The fake's mu is held.
func (c *call) perform(method string, args []any, slots []string, effects int) error {
	status, value := control.Fulfilled, any(args)
	switch method {
	case "echo":
	case "silent":
		value = capdata.Undefined{}
	case "count":
		value = float64(effects)
	case "fail":
		text := "failed"
		if len(args) > 0 {
			text, _ = args[0].(string)
		}
		status, value = control.Rejected, &capdata.Error{Name: "Error", Message: text}
	case "reject":
		status, value = control.Rejected, args[0]
	case "revoked":
		c.settle(control.Rejected, control.Data{Body: capdata.KernelError(errcode.Revoked, "ko9 was revoked")})
		return nil
	case "garbage":
		c.settle(control.Fulfilled, control.Data{Body: "no smallcaps"})
		return nil
	case "hang":
		return nil
	default:
		status, value = control.Rejected, &capdata.Error{Name: "TypeError", Message: "no method " + method}
	}
	body, err := capdata.Encode(value)
	if err != nil {
		return err
	}
	c.settle(status, control.Data{Body: body, Slots: slots})
	return nil
}

func (c *call) settle(status control.Settlement, value control.Data) {
	c.answer.Status, c.answer.Value = status, value
	close(c.settled)
}

// Await implements [control.Backend].
func (f *Fake) Await(ctx context.Context, t control.Ticket) (control.Answer, error) {
	known, err := f.find(t)
	if err != nil {
		return control.Answer{}, err
	}
	return f.wait(ctx, known)
}

func (f *Fake) wait(ctx context.Context, c *call) (control.Answer, error) {
	select {
	case <-c.settled:
	default:
		select {
		case <-c.settled:
		case <-ctx.Done():
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.dropped {
		return control.Answer{}, control.Errorf(errcode.Unknown, "the answer of %s was acknowledged", c.answer.Ticket)
	}
	return c.answer, nil
}

// Acknowledge implements [control.Backend].
func (f *Fake) Acknowledge(_ context.Context, t control.Ticket) error {
	known, err := f.find(t)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if known.answer.Status == control.Pending {
		return control.Errorf(errcode.Conflict, "%s has no answer yet", known.answer.Ticket)
	}
	known.dropped = true
	return nil
}

// epoch returns the present epoch.
func (f *Fake) epoch() string { return fmt.Sprintf("e%d", f.mu.epochs) }

func (f *Fake) ofThisEpoch(t control.Ticket) error {
	if t.Epoch != "" && t.Epoch != f.epoch() {
		return control.Errorf(errcode.Unknown, "ticket %s is of another epoch", t)
	}
	return nil
}

func (f *Fake) find(t control.Ticket) (*call, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ofThisEpoch(t); err != nil {
		return nil, err
	}
	known, ok := f.mu.calls[t.ID]
	if !ok {
		return nil, control.Errorf(errcode.Unknown, "there is no call %s", t)
	}
	return known, nil
}

// PoisonedList implements [control.Backend].
func (f *Fake) PoisonedList(_ context.Context, after string, limit int) (list []control.Poisoned, more bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list = slices.Clone(f.mu.poisoned)
	if i := slices.IndexFunc(list, func(p control.Poisoned) bool { return p.ID == after }); i >= 0 {
		list = list[i+1:]
	}
	n := min(limit, len(list))
	return list[:n], n < len(list), nil
}

// PoisonedRetry implements [control.Backend].
func (f *Fake) PoisonedRetry(ctx context.Context, id string) error { return f.PoisonedDrop(ctx, id) }

// PoisonedDrop implements [control.Backend].
func (f *Fake) PoisonedDrop(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.mu.poisoned)
	f.mu.poisoned = slices.DeleteFunc(f.mu.poisoned, func(p control.Poisoned) bool { return p.ID == id })
	if len(f.mu.poisoned) == n {
		return control.Errorf(errcode.NotFound, "there is no poisoned message %s", id)
	}
	return nil
}

// Shutdown implements [control.Backend].
func (f *Fake) Shutdown(context.Context) error {
	f.stopOnce.Do(func() { close(f.stop) })
	return nil
}
