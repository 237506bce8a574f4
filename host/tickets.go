package host

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
)

// Answer is the state of a host call.
type Answer struct {
	Ticket   string
	Pending  bool
	Rejected bool
	// Acknowledged reports whether the answer was acknowledged.
	Acknowledged bool
	Value        kernel.Data
}

// tickets are the host calls: the callers that wait for an answer, by ticket, and the time at which answers are forgotten.
type tickets struct {
	*core
	names  *directory
	subs   *subclusters
	system *system

	waiting   map[string][]chan struct{} // for the answer of a ticket
	expiring  bool                       // a timer will call expire
	settings  settings
	keepUntil time.Time // nothing is forgotten before that, since the wall clock was set
}

// Epoch is [Shell.Epoch].
func (ts *tickets) Epoch(ctx context.Context) (string, error) {
	return ask(ctx, ts.core, func(done func(string, error)) { done(ts.machine.Epoch(), nil) })
}

// ticket completes a ticket: an empty epoch means the present one. A ticket of another epoch is UNKNOWN.
func (ts *tickets) ticket(epoch, id string) (string, error) {
	if epoch != "" && epoch != ts.machine.Epoch() {
		return "", &kernel.Refusal{Code: errcode.Unknown, Detail: fmt.Sprintf("ticket %s.%s is of another epoch than this state's, %s", epoch, id, ts.machine.Epoch())}
	}
	return ts.machine.Epoch() + "." + id, nil
}

// Call is [Shell.Call].
func (ts *tickets) Call(ctx context.Context, epoch, id, target string, methArgs kernel.Data, wait bool) (Answer, error) {
	sum := sha256.New()
	for _, s := range append([]string{target, methArgs.Body}, toStrings(methArgs.Slots)...) {
		sum.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		sum.Write([]byte(s))
	}
	hash := hex.EncodeToString(sum.Sum(nil))
	a, err := ask(ctx, ts.core, func(done func(Answer, error)) {
		call := func() { ts.call(ctx, epoch, id, target, hash, methArgs, done) }
		if ts.diskFull() {
			call() // it is refused, unless it is known
			return
		}
		ts.whenRoom(len(methArgs.Body), call)
	})
	if err != nil || !a.Pending || !wait {
		return a, err
	}
	return ts.await(ctx, a.Ticket)
}

// call is Call in the loop. A call of a subcluster by its name, s1, while that is launching is accepted when the
// subcluster runs, or fails with the launch.
func (ts *tickets) call(ctx context.Context, epoch, id, target, hash string, methArgs kernel.Data, done func(Answer, error)) {
	fail := func(err error) { ts.refuse(err, func(err error) { done(Answer{}, err) }) }
	if ts.stopping { // it has waited for room
		done(Answer{}, ErrStopping)
		return
	}
	ticket, err := ts.ticket(epoch, id)
	if err != nil {
		fail(err)
		return
	}
	st, err := ts.machine.Ticket(ticket)
	if err != nil {
		fail(err)
		return
	}
	if ts.diskFull() && !st.Found {
		done(Answer{}, ts.noRoom())
		return
	}
	var root kernel.KRef
	if !st.Found {
		// The target of a known ticket may be gone: its answer is not.
		var launching kernel.SubID
		if root, launching, err = ts.names.target(target); codeOf(err) == errcode.NotFound {
			if err = ts.system.whyNotThere(target, err); err == nil { // it is to be launched yet
				ts.subs.whenChanged(func() {
					if ctx.Err() != nil {
						done(Answer{}, ctx.Err())
						return
					}
					ts.call(ctx, epoch, id, target, hash, methArgs, done)
				})
				return
			}
		}
		if err != nil {
			fail(err)
			return
		}
		if launching != "" {
			ts.subs.whenSettled(launching, func(failure string) {
				switch {
				case failure != "":
					done(Answer{}, &LaunchError{launching, failure})
				case ts.stopping:
					done(Answer{}, ErrStopping)
				case ctx.Err() != nil: // the caller has left
					done(Answer{}, ctx.Err())
				default:
					ts.call(ctx, epoch, id, target, hash, methArgs, done)
				}
			})
			return
		}
	}
	st, c, err := ts.machine.Call(kernel.HostCall{Ticket: ticket, Hash: hash, Target: root, MethArgs: methArgs}, ts.nowMillis())
	if err != nil {
		fail(err)
		return
	}
	ts.apply(c)
	fault.Point(fault.CallAccepted)
	ts.whenDurable(func() { done(answer(ticket, st), nil) })
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

// Await is [Shell.Await].
func (ts *tickets) Await(ctx context.Context, epoch, id string) (Answer, error) {
	ticket, err := ask(ctx, ts.core, func(done func(string, error)) { done(ts.ticket(epoch, id)) })
	if err != nil {
		return Answer{}, err
	}
	return ts.await(ctx, ticket)
}

func (ts *tickets) await(ctx context.Context, ticket string) (Answer, error) {
	for {
		var woken chan struct{}
		a, err := ask(context.WithoutCancel(ctx), ts.core, func(done func(Answer, error)) {
			st, err := ts.machine.Ticket(ticket)
			switch {
			case err != nil:
				ts.refuse(err, func(err error) { done(Answer{}, err) })
			case !st.Found:
				done(Answer{}, &kernel.Refusal{Code: errcode.Unknown, Detail: fmt.Sprintf("ticket %s is unknown: it was never used, or its time is over", ticket)})
			case st.Pending:
				woken = make(chan struct{})
				ts.waiting[ticket] = append(ts.waiting[ticket], woken)
				done(answer(ticket, st), nil)
			default:
				ts.whenDurable(func() { done(answer(ticket, st), nil) })
			}
		})
		if err != nil || !a.Pending {
			return a, err
		}
		select {
		case <-woken:
		case <-ctx.Done():
			ts.post(func() { ts.forgetWaiter(ticket, woken) })
			return a, nil
		case <-ts.done:
			return a, ErrStopping
		}
	}
}

func (ts *tickets) forgetWaiter(ticket string, woken chan struct{}) {
	list := slices.DeleteFunc(ts.waiting[ticket], func(c chan struct{}) bool { return c == woken })
	if ts.waiting[ticket] = list; len(list) == 0 {
		delete(ts.waiting, ticket)
	}
}

// answered wakes the callers that wait for a ticket, whose answer is durable now.
func (ts *tickets) answered(ticket string) {
	fault.Point(fault.TicketAnswered)
	for _, woken := range ts.waiting[ticket] {
		close(woken)
	}
	delete(ts.waiting, ticket)
	ts.expireLater(ts.cfg.KeepAnswers)
}

// Acknowledge is [Shell.Acknowledge].
func (ts *tickets) Acknowledge(ctx context.Context, epoch, id string) error {
	fault.Point(fault.TicketAcknowledged)
	return change(ctx, ts.core, func() (kernel.Commit, error) {
		ticket, err := ts.ticket(epoch, id)
		if err != nil {
			return kernel.Commit{}, err
		}
		st, err := ts.machine.Ticket(ticket)
		switch {
		case err != nil:
			return kernel.Commit{}, err
		case !st.Found:
			return kernel.Commit{}, &kernel.Refusal{Code: errcode.Unknown, Detail: fmt.Sprintf("ticket %s is unknown", ticket)}
		case st.Pending:
			return kernel.Commit{}, &kernel.Refusal{Code: errcode.Conflict, Detail: fmt.Sprintf("the call of ticket %s is not settled", ticket)}
		}
		return ts.machine.Acknowledge(ticket)
	})
}

// Release is [Shell.Release].
func (ts *tickets) Release(epoch, id string) {
	ts.post(func() {
		if ticket, err := ts.ticket(epoch, id); err == nil {
			c, err := ts.machine.Acknowledge(ticket)
			if err != nil {
				ts.log.Error("an answer cannot be let go", "ticket", ticket, "err", err)
				return
			}
			ts.apply(c)
		}
	})
}

// expireTime is the longest wait before the next check for expired answers: their times are those of the wall clock, which
// may be set meanwhile.
const expireTime = time.Minute

// expireLater makes sure that expire runs.
func (ts *tickets) expireLater(d time.Duration) {
	if !ts.expiring {
		ts.expiring = true
		ts.after(min(max(d, time.Second), expireTime), func() { ts.expiring = false; ts.expire() })
	}
}

// expire forgets the calls whose time is over. The answers of a kernel whose wall clock is set forward by years,
// because it was wrong when the machine started, say, are not old: nothing is forgotten for KeepAnswers then.
func (ts *tickets) expire() {
	now := time.Now()
	if ts.settings.set(now) {
		ts.keepUntil = now.Add(ts.cfg.KeepAnswers)
	}
	if d := ts.keepUntil.Sub(now); d > 0 {
		ts.expireLater(d)
		return
	}
	old := now.UnixMilli() - ts.cfg.KeepAnswers.Milliseconds()
	var next int64
	c, err := ts.removal(func() (c kernel.Commit, err error) {
		c, next, err = ts.machine.Expire(old)
		return c, err
	})
	if err != nil {
		ts.log.Error("answers cannot be forgotten: that is tried again later", "err", err)
		ts.expireLater(expireTime)
		return
	}
	ts.apply(c)
	switch {
	case c.Number != 0 && next != 0 && next < old:
		ts.after(0, ts.expire)
	case next != 0:
		ts.expireLater(time.UnixMilli(next).Add(ts.cfg.KeepAnswers + time.Second).Sub(now.Round(0)))
	}
}
