package host

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/kernel"
)

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
func (k *Shell) Epoch(ctx context.Context) (string, error) {
	return ask(ctx, k, func(done func(string, error)) { done(k.machine.Epoch(), nil) })
}

// ticket completes a ticket: an empty epoch means the present one. Another one is UNKNOWN.
func (k *Shell) ticket(epoch, id string) (string, error) {
	if epoch != "" && epoch != k.machine.Epoch() {
		return "", &kernel.Refusal{Code: capdata.CodeUnknown, Detail: fmt.Sprintf("ticket %s.%s is of another epoch than this state's, %s", epoch, id, k.machine.Epoch())}
	}
	return k.machine.Epoch() + "." + id, nil
}

// Call sends a message to an object or promise, or to the root of a subcluster or vat. A subcluster that is launching is
// waited for; if its launch fails the error is the [LaunchError], and if ctx ends first, the call was not accepted.
// It returns when the call is durable; with wait when it is settled, or when ctx ends: then the answer is Pending, with no error.
// The same call under the same ticket has one effect and one answer; another call is refused with
// [kernel.CodeConflict].
func (k *Shell) Call(ctx context.Context, epoch, id, target string, methArgs kernel.Data, wait bool) (Answer, error) {
	sum := sha256.New()
	for _, s := range append([]string{target, methArgs.Body}, toStrings(methArgs.Slots)...) {
		sum.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		sum.Write([]byte(s))
	}
	hash := hex.EncodeToString(sum.Sum(nil))
	a, err := ask(ctx, k, func(done func(Answer, error)) {
		call := func() { k.call(ctx, epoch, id, target, hash, methArgs, done) }
		if k.diskFull() {
			call() // it is refused, unless it is known
			return
		}
		k.whenRoom(len(methArgs.Body), call)
	})
	if err != nil || !a.Pending || !wait {
		return a, err
	}
	return k.await(ctx, a.Ticket)
}

// call is Call in the loop. A call of a subcluster by its name, s1, while that is launching is accepted when the
// subcluster runs, or fails with the launch.
func (k *Shell) call(ctx context.Context, epoch, id, target, hash string, methArgs kernel.Data, done func(Answer, error)) {
	fail := func(err error) { k.refuse(err, func(err error) { done(Answer{}, err) }) }
	if k.stopping { // it has waited for room
		done(Answer{}, ErrStopping)
		return
	}
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
	if k.diskFull() && !st.Found {
		done(Answer{}, k.noRoom())
		return
	}
	var root kernel.KRef
	if !st.Found {
		// The target of a known ticket may be gone: its answer is not.
		var launching kernel.SubID
		if root, launching, err = k.target(target); codeOf(err) == kernel.CodeNotFound {
			if err = k.whyNotThere(target, err); err == nil { // it is to be launched yet
				k.whenChanged(func() {
					if ctx.Err() != nil {
						done(Answer{}, ctx.Err())
						return
					}
					k.call(ctx, epoch, id, target, hash, methArgs, done)
				})
				return
			}
		}
		if err != nil {
			fail(err)
			return
		}
		if launching != "" {
			k.whenSettled(launching, func(failure string) {
				switch {
				case failure != "":
					done(Answer{}, &LaunchError{launching, failure})
				case k.stopping:
					done(Answer{}, ErrStopping)
				case ctx.Err() != nil: // nobody wants it any more
					done(Answer{}, ctx.Err())
				default:
					k.call(ctx, epoch, id, target, hash, methArgs, done)
				}
			})
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

// Await waits for the answer of an earlier call. If ctx ends first the answer is Pending, with no error.
// A ticket that is not known is UNKNOWN.
func (k *Shell) Await(ctx context.Context, epoch, id string) (Answer, error) {
	ticket, err := ask(ctx, k, func(done func(string, error)) { done(k.ticket(epoch, id)) })
	if err != nil {
		return Answer{}, err
	}
	return k.await(ctx, ticket)
}

func (k *Shell) await(ctx context.Context, ticket string) (Answer, error) {
	for {
		var woken chan struct{}
		a, err := ask(context.WithoutCancel(ctx), k, func(done func(Answer, error)) {
			st, err := k.machine.Ticket(ticket)
			switch {
			case err != nil:
				k.refuse(err, func(err error) { done(Answer{}, err) })
			case !st.Found:
				done(Answer{}, &kernel.Refusal{Code: capdata.CodeUnknown, Detail: fmt.Sprintf("ticket %s is unknown: it was never used, or its time is over", ticket)})
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

func (k *Shell) forgetWaiter(ticket string, woken chan struct{}) {
	list := slices.DeleteFunc(k.waiting[ticket], func(c chan struct{}) bool { return c == woken })
	if k.waiting[ticket] = list; len(list) == 0 {
		delete(k.waiting, ticket)
	}
}

// answered wakes those who wait for a ticket whose answer is durable.
func (k *Shell) answered(ticket string) {
	for _, woken := range k.waiting[ticket] {
		close(woken)
	}
	delete(k.waiting, ticket)
	k.expireLater(expireTime)
}

// Acknowledge lets the answer of a settled call go. A call that is pending is refused with
// [kernel.CodeConflict].
func (k *Shell) Acknowledge(ctx context.Context, epoch, id string) error {
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
			return kernel.Commit{}, &kernel.Refusal{Code: capdata.CodeUnknown, Detail: fmt.Sprintf("ticket %s is unknown", ticket)}
		case st.Pending:
			return kernel.Commit{}, &kernel.Refusal{Code: kernel.CodeConflict, Detail: fmt.Sprintf("the call of ticket %s is not settled", ticket)}
		}
		return k.machine.Acknowledge(ticket)
	})
}

// Release is Acknowledge by somebody who has seen the answer and does not wait for it to go. A kernel that dies
// before that is durable keeps it for KeepAnswers.
func (k *Shell) Release(epoch, id string) {
	k.post(func() {
		if ticket, err := k.ticket(epoch, id); err == nil {
			c, err := k.machine.Acknowledge(ticket)
			if err != nil {
				k.log.Error("an answer cannot be let go", "ticket", ticket, "err", err)
				return
			}
			k.apply(c)
		}
	})
}

// expireTime is the longest wait before it is looked again for answers whose time is over: the time is that of the wall
// clock, which may be set meanwhile.
const expireTime = time.Minute

// expireLater makes sure that expire runs.
func (k *Shell) expireLater(d time.Duration) {
	if !k.expiring {
		k.expiring = true
		k.after(min(max(d, time.Second), expireTime), func() { k.expiring = false; k.expire() })
	}
}

// expire forgets the calls whose time is over. The answers of a kernel whose wall clock is set forward by years,
// because it was wrong when the machine started, say, are not old: nothing is forgotten for KeepAnswers then.
func (k *Shell) expire() {
	now := time.Now()
	if k.settings.set(now) {
		k.keepUntil = now.Add(k.cfg.KeepAnswers)
	}
	if d := k.keepUntil.Sub(now); d > 0 {
		k.expireLater(d)
		return
	}
	old := now.UnixMilli() - k.cfg.KeepAnswers.Milliseconds()
	c, next, err := k.machine.Expire(old)
	if err != nil {
		k.fail(err)
		return
	}
	k.apply(c)
	switch {
	case c.Number != 0 && next != 0 && next < old:
		k.after(0, k.expire)
	case next != 0:
		k.expireLater(time.UnixMilli(next).Add(k.cfg.KeepAnswers + time.Second).Sub(now.Round(0)))
	}
}
