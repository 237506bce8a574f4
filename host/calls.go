package host

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/supervisor"
)

// ask runs f in the loop and waits for it to call done with what it has to answer; f may keep done for
// later. If ctx ends first, what f has begun goes on.
func ask[T any](ctx context.Context, k *Kernel, f func(done func(T, error))) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var zero T
	answers := make(chan answer, 1)
	done := func(v T, err error) {
		select {
		case answers <- answer{v, err}:
		default: // answered before
		}
	}
	if !k.post(func() {
		if k.stopping {
			done(zero, ErrStopping)
			return
		}
		f(done)
	}) {
		return zero, ErrStopping
	}
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-k.done:
		select {
		case a := <-answers:
			return a.value, a.err
		default:
			return zero, ErrStopping
		}
	}
}

// change runs an input of the machine and answers when its commit is durable.
func change(ctx context.Context, k *Kernel, input func() (kernel.Commit, error)) error {
	_, err := ask(ctx, k, func(done func(struct{}, error)) {
		c, err := input()
		if err != nil {
			k.refuse(err, func(err error) { done(struct{}{}, err) })
			return
		}
		k.apply(c)
		k.whenDurable(func() { done(struct{}{}, nil) })
	})
	return err
}

// refuse answers with an error of the machine; one that is no refusal ends the kernel.
func (k *Kernel) refuse(err error, done func(error)) {
	if _, ok := err.(*kernel.Refusal); !ok {
		k.fail(err)
	}
	done(err)
}

// Answer is where a host call stands.
type Answer struct {
	Ticket   string
	Pending  bool
	Rejected bool
	// Acknowledged says that the answer was let go.
	Acknowledged bool
	Value        kernel.Data
}

// Epoch is the epoch of the tickets that this state knows.
func (k *Kernel) Epoch(ctx context.Context) (string, error) {
	return ask(ctx, k, func(done func(string, error)) { done(k.machine.Epoch(), nil) })
}

// ticket completes a ticket: an empty epoch means the present one. Another one is UNKNOWN.
func (k *Kernel) ticket(epoch, id string) (string, error) {
	if epoch != "" && epoch != k.machine.Epoch() {
		return "", &kernel.Refusal{Code: capdata.UNKNOWN, Detail: fmt.Sprintf("ticket %s.%s is of another epoch than this state's, %s", epoch, id, k.machine.Epoch())}
	}
	return k.machine.Epoch() + "." + id, nil
}

// Call sends a message to an object or promise, or to the root of a subcluster. It returns when the call
// is durable; with wait when it is settled, or when ctx ends: then the answer is Pending, with no error.
// The same call under the same ticket has one effect and one answer; another call is refused with
// [kernel.CodeConflict].
func (k *Kernel) Call(ctx context.Context, epoch, id, target string, methArgs kernel.Data, wait bool) (Answer, error) {
	sum := sha256.New()
	for _, s := range append([]string{target, methArgs.Body}, toStrings(methArgs.Slots)...) {
		sum.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		sum.Write([]byte(s))
	}
	hash := hex.EncodeToString(sum.Sum(nil))
	a, err := ask(ctx, k, func(done func(Answer, error)) {
		fail := func(err error) { k.refuse(err, func(err error) { done(Answer{}, err) }) }
		ticket, err := k.ticket(epoch, id)
		if err != nil {
			fail(err)
			return
		}
		st, err := k.machine.Ticket(ticket)
		if err != nil {
			fail(err)
			return
		}
		if k.diskFull && !st.Found {
			done(Answer{}, ErrDiskFull)
			return
		}
		var root kernel.KRef
		if !st.Found {
			// The target of a known ticket may be gone: its answer is not.
			if root, err = k.target(target); err != nil {
				fail(err)
				return
			}
		}
		st, c, err := k.machine.Call(kernel.HostCall{Ticket: ticket, Hash: hash, Target: root, MethArgs: methArgs}, nowMillis())
		if err != nil {
			fail(err)
			return
		}
		k.apply(c)
		k.whenDurable(func() { done(answer(ticket, st), nil) })
	})
	if err != nil || !a.Pending || !wait {
		return a, err
	}
	return k.await(ctx, a.Ticket)
}

func toStrings[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

func answer(ticket string, st kernel.TicketState) Answer {
	return Answer{Ticket: ticket, Pending: st.Pending, Rejected: st.Rejected, Acknowledged: st.Acknowledged, Value: st.Value}
}

// target finds the object or promise that a host names.
func (k *Kernel) target(s string) (kernel.KRef, error) {
	if kref, ok := kernel.ParseKRef(s); ok {
		return kref, nil
	}
	id, ok := kernel.ParseSubID(s)
	if !ok {
		return "", &kernel.Refusal{Code: kernel.CodeInvalid, Detail: fmt.Sprintf("%q is no target: want ko4, kp7 or s1", s)}
	}
	sub, found, err := k.machine.Subcluster(id)
	if err != nil {
		return "", err
	}
	if !found {
		return "", &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("there is no subcluster %s", id)}
	}
	return sub.Root, nil
}

// Await waits for the answer of an earlier call. If ctx ends first the answer is Pending, with no error.
// A ticket that is not known is UNKNOWN.
func (k *Kernel) Await(ctx context.Context, epoch, id string) (Answer, error) {
	ticket, err := ask(ctx, k, func(done func(string, error)) { done(k.ticket(epoch, id)) })
	if err != nil {
		return Answer{}, err
	}
	return k.await(ctx, ticket)
}

func (k *Kernel) await(ctx context.Context, ticket string) (Answer, error) {
	for {
		var woken chan struct{}
		a, err := ask(context.WithoutCancel(ctx), k, func(done func(Answer, error)) {
			st, err := k.machine.Ticket(ticket)
			switch {
			case err != nil:
				k.fail(err)
				done(Answer{}, err)
			case !st.Found:
				done(Answer{}, &kernel.Refusal{Code: capdata.UNKNOWN, Detail: fmt.Sprintf("ticket %s is unknown: it was never used, or its time is over", ticket)})
			case st.Pending:
				woken = make(chan struct{})
				k.waiting[ticket] = append(k.waiting[ticket], woken)
				done(answer(ticket, st), nil)
			default:
				k.whenDurable(func() { done(answer(ticket, st), nil) })
			}
		})
		if err != nil || !a.Pending {
			return a, err
		}
		select {
		case <-woken:
		case <-ctx.Done():
			k.post(func() { k.forgetWaiter(ticket, woken) })
			return a, nil
		case <-k.done:
			return a, ErrStopping
		}
	}
}

func (k *Kernel) forgetWaiter(ticket string, woken chan struct{}) {
	list := slices.DeleteFunc(k.waiting[ticket], func(c chan struct{}) bool { return c == woken })
	if k.waiting[ticket] = list; len(list) == 0 {
		delete(k.waiting, ticket)
	}
}

// answered wakes those who wait for a ticket whose answer is durable.
func (k *Kernel) answered(ticket string) {
	for _, woken := range k.waiting[ticket] {
		close(woken)
	}
	delete(k.waiting, ticket)
	k.expireLater()
}

// Acknowledge lets the answer of a settled call go. A call that is pending is refused with
// [kernel.CodeConflict].
func (k *Kernel) Acknowledge(ctx context.Context, epoch, id string) error {
	return change(ctx, k, func() (kernel.Commit, error) {
		ticket, err := k.ticket(epoch, id)
		if err != nil {
			return kernel.Commit{}, err
		}
		st, err := k.machine.Ticket(ticket)
		switch {
		case err != nil:
			return kernel.Commit{}, err
		case !st.Found:
			return kernel.Commit{}, &kernel.Refusal{Code: capdata.UNKNOWN, Detail: fmt.Sprintf("ticket %s is unknown", ticket)}
		case st.Pending:
			return kernel.Commit{}, &kernel.Refusal{Code: kernel.CodeConflict, Detail: fmt.Sprintf("the call of ticket %s is not settled", ticket)}
		}
		return k.machine.Acknowledge(ticket)
	})
}

// expireLater makes sure that expire runs some time after the answer that is settled now has expired.
func (k *Kernel) expireLater() {
	if !k.expiring {
		k.expiring = true
		k.after(k.cfg.KeepAnswers+time.Second, func() { k.expiring = false; k.expire() })
	}
}

// expire forgets the calls whose time is over.
func (k *Kernel) expire() {
	c, next, err := k.machine.Expire(nowMillis() - k.cfg.KeepAnswers.Milliseconds())
	if err != nil {
		k.fail(err)
		return
	}
	k.apply(c)
	switch {
	case c.Number != 0 && next != 0 && next < nowMillis()-k.cfg.KeepAnswers.Milliseconds():
		k.after(0, k.expire)
	case next != 0 && !k.expiring:
		k.expiring = true
		due := time.UnixMilli(next).Add(k.cfg.KeepAnswers + time.Second)
		k.after(max(time.Until(due), time.Second), func() { k.expiring = false; k.expire() })
	}
}

// Launch begins a subcluster and returns when bootstrap has answered. If the launch fails, for whatever
// reason, the error says why, and nothing of it is left.
func (k *Kernel) Launch(ctx context.Context, cfg *cluster.Config) (kernel.Subcluster, error) {
	l := kernel.Launch{Bootstrap: cfg.Bootstrap, Source: cfg.Source, Hash: cfg.Hash}
	for _, v := range cfg.Vats {
		stored, err := cluster.MarshalStored(v)
		if err != nil {
			return kernel.Subcluster{}, err
		}
		l.Vats = append(l.Vats, kernel.LaunchVat{
			Name: v.Name, Config: stored, MaxQueue: uint64(v.Limits.Queue), MaxRestarts: uint64(v.MaxRestarts),
			MaxRecords: uint64(v.Limits.Transcript),
			Never:      v.Restart == cluster.RestartNever, StopOnFault: v.OnFault == cluster.FaultStop,
		})
	}
	return ask(ctx, k, func(done func(kernel.Subcluster, error)) {
		if k.diskFull {
			done(kernel.Subcluster{}, ErrDiskFull)
			return
		}
		id, c, err := k.machine.Launch(l)
		if err != nil {
			k.refuse(err, func(err error) { done(kernel.Subcluster{}, err) })
			return
		}
		k.log.Info("launch begun", "subcluster", id, "vats", len(l.Vats))
		k.launches[id] = func(failure string) {
			if failure != "" {
				k.whenGone(id, func() { done(kernel.Subcluster{}, &LaunchError{id, failure}) })
				return
			}
			sub, _, err := k.machine.Subcluster(id)
			done(sub, err)
		}
		k.apply(c)
		k.after(cfg.Limits.Bootstrap, func() {
			c, err := k.machine.FailLaunch(id, fmt.Sprintf("bootstrap has not settled within %s (limits.bootstrap)", cfg.Limits.Bootstrap))
			if err != nil {
				k.fail(err)
				return
			}
			k.apply(c)
		})
	})
}

// LaunchError says why a launch failed. Nothing of the subcluster is left.
type LaunchError struct {
	Sub kernel.SubID
	Why string
}

func (e *LaunchError) Error() string { return "the launch failed: " + e.Why }

func (k *Kernel) launchSettled(e kernel.LaunchSettled) {
	if e.Failure != "" {
		k.log.Error("launch failed", "subcluster", e.Sub, "why", e.Failure)
	} else {
		k.log.Info("launched", "subcluster", e.Sub)
	}
	if tell := k.launches[e.Sub]; tell != nil {
		delete(k.launches, e.Sub)
		tell(e.Failure)
	}
}

// Terminate removes a subcluster. It returns when nothing of it is left: no vat, row or process.
func (k *Kernel) Terminate(ctx context.Context, id kernel.SubID) error {
	_, err := ask(ctx, k, func(done func(struct{}, error)) {
		c, err := k.machine.Terminate(id)
		if err != nil {
			k.refuse(err, func(err error) { done(struct{}{}, err) })
			return
		}
		k.whenGone(id, func() { done(struct{}{}, nil) })
		k.apply(c)
	})
	return err
}

// whenGone calls f when nothing of a subcluster is left, durably, and no process of its vats.
func (k *Kernel) whenGone(id kernel.SubID, f func()) {
	k.gone[id] = append(k.gone[id], f)
	k.tellGone(id)
}

func (k *Kernel) subGone(id kernel.SubID) {
	k.log.Info("subcluster removed", "subcluster", id)
	k.buried[id] = true
	k.tellGone(id)
}

func (k *Kernel) tellGone(id kernel.SubID) {
	if !k.buried[id] {
		return
	}
	for _, sub := range k.leaving { // is one of them there? The order does not matter
		if sub == id {
			return
		}
	}
	for _, f := range k.gone[id] {
		f()
	}
	delete(k.gone, id)
	delete(k.buried, id)
	for _, v := range k.vats { // removed in any order: nothing is said about it
		if v.sub == id {
			delete(k.vats, v.id)
		}
	}
}

// Restart gives a vat a fresh worker, with the memory that it had, or, with forget, from its durable state
// alone. It revives a stopped vat.
func (k *Kernel) Restart(ctx context.Context, id kernel.VatID, forget bool) error {
	return change(ctx, k, func() (kernel.Commit, error) {
		c, err := k.machine.Restart(id, forget)
		if v := k.vats[id]; v != nil && err == nil {
			v.startFailures, v.deaths, v.notBefore = 0, 0, time.Time{}
		}
		return c, err
	})
}

// Poisoned lists the poisoned messages of all vats.
func (k *Kernel) Poisoned(ctx context.Context) ([]kernel.Poison, error) {
	return ask(ctx, k, func(done func([]kernel.Poison, error)) {
		vats, err := k.machine.Vats()
		var all []kernel.Poison
		for _, v := range vats {
			list, e := k.machine.Poisoned(v.ID)
			if e != nil {
				err = e
				break
			}
			all = append(all, list...)
		}
		slices.SortFunc(all, func(a, b kernel.Poison) int { return int(int64(a.N) - int64(b.N)) })
		done(all, err)
	})
}

// Unpoison takes a poisoned message away; with retry it is delivered again, without a result.
func (k *Kernel) Unpoison(ctx context.Context, n uint64, retry bool) error {
	return change(ctx, k, func() (kernel.Commit, error) {
		vats, err := k.machine.Vats()
		if err != nil {
			return kernel.Commit{}, err
		}
		for _, v := range vats {
			if list, err := k.machine.Poisoned(v.ID); err != nil {
				return kernel.Commit{}, err
			} else if slices.ContainsFunc(list, func(p kernel.Poison) bool { return p.N == n }) {
				return k.machine.Unpoison(v.ID, n, retry)
			}
		}
		return kernel.Commit{}, &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("there is no poisoned message %d", n)}
	})
}

// Status is the state of the kernel.
type Status struct {
	Epoch          string
	DiskFull       bool
	Cranks, Commit uint64 // Commit is the newest durable one
	Vats           int
	Subclusters    []kernel.Subcluster
}

// Status describes the kernel. What it tells may not be durable yet.
func (k *Kernel) Status(ctx context.Context) (Status, error) {
	return ask(ctx, k, func(done func(Status, error)) {
		subs, err := k.machine.Subclusters()
		if err != nil {
			k.fail(err)
		}
		n := 0
		for _, s := range subs {
			n += len(s.Vats)
		}
		done(Status{
			Epoch: k.machine.Epoch(), DiskFull: k.diskFull, Cranks: k.machine.Cranks(), Commit: k.group.durable,
			Vats: n, Subclusters: subs,
		}, err)
	})
}

// VatStatus is the state of a vat and its worker.
type VatStatus struct {
	kernel.Vat
	// Pid is 0 if there is no process.
	Pid int
	// RSSBytes is the resident memory of the process.
	RSSBytes int64
	// Starting says that a process is being started, or waited for; Failed that the last start failed.
	Starting, Failed bool
}

// Vats describes all vats and their workers. What it tells may not be durable yet.
func (k *Kernel) Vats(ctx context.Context) ([]VatStatus, error) {
	list, err := ask(ctx, k, func(done func([]VatStatus, error)) {
		vats, err := k.machine.Vats()
		if err != nil {
			k.fail(err)
		}
		out := make([]VatStatus, len(vats))
		for i, v := range vats {
			out[i] = VatStatus{Vat: v}
			if w := k.vats[v.ID]; w != nil {
				out[i].Failed = w.startFailures > 0
				out[i].Starting = !w.up && (w.worker != nil || v.HasWork)
				if w.worker != nil {
					out[i].Pid = w.worker.Pid()
				}
			}
		}
		done(out, err)
	})
	for i := range list {
		if list[i].Pid != 0 {
			list[i].RSSBytes, _ = supervisor.RSS(list[i].Pid) // a process that has just ended has none
		}
	}
	slices.SortFunc(list, func(a, b VatStatus) int {
		if n := len(a.ID) - len(b.ID); n != 0 {
			return n
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return list, err
}
