package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
)

// reload is a subcluster that is removed, to be launched again. The machine stores the reload; this entry is the loop's
// part of it.
type reload struct {
	done func(kernel.Subcluster, error)
	// launching says that it is being launched, queued that it waits for its turn.
	launching, queued bool
}

// reload removes a running subcluster and launches it again, under the same name: a system subcluster as this run declares
// it, any other from the configuration that it was launched with. Before the subcluster is removed, its worker programs p
// are checked, beside the loop; reload is refused if one is missing, has changed, or lacks a vat's module. by is the call
// that waits for the reload, if there is one. done is called in the loop; a refusal says that the reload was not begun.
func (ss *subclusters) reload(s kernel.Subcluster, by callID, p *programs, done func(kernel.Subcluster, error)) {
	refuse := func(err error) { ss.refuse(err, func(err error) { done(kernel.Subcluster{}, err) }) }
	if ss.suspended[s.ID] {
		refuse(&kernel.Refusal{Code: errcode.Invalid, Detail: fmt.Sprintf("the system subcluster %s is not declared in this run", s.System)})
		return
	}
	cfg, declared := ss.system.declared(s.System)
	err := ss.isolated(func() (err error) {
		if !declared {
			if cfg, err = ss.configOf(s.ID); err != nil {
				return err
			}
		}
		_, err = ss.machineLaunch(launch{cfg: cfg, system: s.System})
		return err
	})
	if _, ok := err.(*kernel.Refusal); err != nil && !ok {
		err = &kernel.Refusal{Code: errcode.Invalid, Detail: fmt.Sprintf("what subcluster %s would be launched from cannot be read: %v", s.ID, err)}
	}
	if err != nil {
		refuse(err)
		return
	}
	if p == nil {
		ss.reloadChecked(s, by, done)
		return
	}
	ss.aside(func() {
		err := p.check(ss.ctx, cfg)
		ss.later(func() {
			switch {
			case ss.stopping:
				done(kernel.Subcluster{}, ErrStopping)
			case err != nil:
				refuse(err)
			default:
				ss.reloadChecked(s, by, done)
			}
		})
	})
}

// reloadChecked is reload after the checks.
func (ss *subclusters) reloadChecked(s kernel.Subcluster, by callID, done func(kernel.Subcluster, error)) {
	refuse := func(err error) { ss.refuse(err, func(err error) { done(kernel.Subcluster{}, err) }) }
	if ss.resets > 0 {
		refuse(errCleared)
		return
	}
	c, err := ss.removal(func() (kernel.Commit, error) { return ss.machine.ReloadBy(s.ID, by) })
	if err != nil {
		refuse(err)
		return
	}
	ss.log.Info("subcluster is loaded anew", "subcluster", s.ID, "system", s.System)
	fault.Point(fault.ReloadBegun)
	ss.reloads[s.ID] = &reload{done: done}
	ss.apply(c)
}

// pending lists the subclusters that are to be launched again, without those of which it is known that they cannot be.
func (ss *subclusters) pending() ([]kernel.Reload, error) {
	list, err := ss.machine.Reloads()
	return slices.DeleteFunc(list, func(r kernel.Reload) bool { return r.Corrupt != nil || ss.unreadable[r.Sub] }), err
}

// reloadNext launches the subclusters that are gone and have a stored reload, including reloads of an earlier kernel.
func (ss *subclusters) reloadNext() {
	list, err := ss.machine.Reloads()
	if err != nil {
		ss.fail(err)
		return
	}
	inSlices(ss.core, list, func(m kernel.Reload) { ss.reloadOf(m.Sub) }, func() {})
}

// reloadOf launches a subcluster that is gone and has a stored reload. The reload of a system subcluster waits for a run that
// declares it.
func (ss *subclusters) reloadOf(id kernel.SubID) {
	m, found, err := ss.machine.ReloadOf(id)
	if err != nil {
		ss.fail(err)
		return
	}
	cfg, declared := ss.system.declared(m.System)
	switch {
	case !found:
		return
	case m.Corrupt != nil:
		ss.notRelaunched(id, m.Corrupt)
		return
	case m.System != "" && ss.cfg.System == nil:
		return
	case m.System != "" && !declared:
		ss.log.Warn("system subcluster is no longer declared: it is not launched again", "name", m.System, "subcluster", id)
		ss.dropReload(id, "it is no longer declared")
		ss.objects.forgetCall(m.By)
		return
	case !m.Gone || ss.diskFull():
		return // its end, or space on the disk, comes back here
	case m.System == "":
		if cfg, err = cluster.UnmarshalStoredConfig(m.Config); err != nil {
			ss.notRelaunched(id, err)
			return
		}
	}
	r := ss.reloads[id]
	if r == nil {
		r = &reload{done: func(_ kernel.Subcluster, err error) {
			if err != nil {
				ss.log.Error("subcluster was not launched again", "subcluster", id, "err", err)
			}
		}}
		ss.reloads[id] = r
	}
	ss.whenGone(id, func() { ss.relaunch(m, cfg, r) })
	ss.whenDurable(func() {
		ss.removed[id] = true // an earlier kernel may have removed it, and no second Gone event follows
		ss.tellGone(id)
	})
}

// notRelaunched logs, once in a run, that a subcluster is not launched again, since its stored configuration cannot be
// read. The reload stays stored: the operator may restore the state from a copy, or launch the configuration file again.
func (ss *subclusters) notRelaunched(id kernel.SubID, why error) {
	if !ss.unreadable[id] {
		ss.unreadable[id] = true
		defer ss.tellChanged() // nothing waits for it any more
		ss.log.Error("subcluster is not launched again: its stored configuration is damaged; kernel launch FILE launches it", "subcluster", id, "err", why)
	}
}

// dropReload gives up launching a subcluster again.
func (ss *subclusters) dropReload(id kernel.SubID, why string) {
	ss.input(ss.removal(func() (kernel.Commit, error) { return ss.machine.DropReload(id, why) }))
}

// cancelReload gives up the reload of a subcluster that is terminated meanwhile.
func (ss *subclusters) cancelReload(id kernel.SubID) {
	m, found, err := ss.machine.ReloadOf(id)
	if err != nil {
		ss.fail(err)
		return
	}
	if found {
		ss.dropReload(id, "the subcluster was terminated")
		ss.tellChanged()
		ss.objects.forgetCall(m.By)
	}
	if r := ss.reloads[id]; r != nil && !r.launching {
		delete(ss.reloads, id)
		r.done(kernel.Subcluster{}, &kernel.Refusal{Code: errcode.Conflict, Detail: fmt.Sprintf("subcluster %s was terminated meanwhile", id)})
	}
}

// relaunch launches a subcluster again after its rows, processes and channels are gone; a system subcluster in its turn.
func (ss *subclusters) relaunch(m kernel.Reload, cfg *cluster.Config, r *reload) {
	if m.System == "" {
		ss.relaunchNow(m, cfg, r, func() {})
		return
	}
	if ss.reloads[m.Sub] != r || r.launching || r.queued {
		return
	}
	r.queued = true
	ss.system.takeTurn(turn{
		name:   m.System,
		begin:  func(end func()) { ss.relaunchNow(m, cfg, r, end) },
		cancel: func(error) {}, // its caller tells r
	})
}

// relaunchNow is relaunch when it is its turn; end is called when that is over.
func (ss *subclusters) relaunchNow(m kernel.Reload, cfg *cluster.Config, r *reload, end func()) {
	if ss.reloads[m.Sub] != r || r.launching {
		end() // the reload was called off, or has begun
		return
	}
	fault.Point(fault.Relaunch)
	r.launching = true
	by := m.By
	if _, waits, err := ss.machine.ServiceCall(by); err != nil || !waits {
		by = callID{} // the caller is gone, maybe in this very reload, or its row cannot be read
	}
	ss.launch(launch{cfg: cfg, system: m.System, by: by, replaces: m.Sub}, func(s kernel.Subcluster, err error) {
		delete(ss.reloads, m.Sub)
		if err != nil && !errors.Is(err, ErrDiskFull) && !ss.stopping { // it would not come out otherwise the next time
			why := err.Error()
			if failed, ok := errors.AsType[*LaunchError](err); ok {
				why = failed.Why
			}
			ss.dropReload(m.Sub, why)
			ss.objects.forgetCall(by)
		}
		if m.System != "" {
			ss.system.settled(m.System, s, err)
		}
		r.done(s, err)
		end()
		ss.tellChanged()
	})
}

// Reload is [Shell.Reload].
func (ss *subclusters) Reload(ctx context.Context, which string) ([]kernel.Subcluster, error) {
	return ask(ctx, ss.core, func(done func([]kernel.Subcluster, error)) { ss.reloadAll(which, done) })
}

// reloadAll is Reload in the loop.
func (ss *subclusters) reloadAll(which string, done func([]kernel.Subcluster, error)) {
	ids := ss.names.all()
	if which != "" {
		sub, err := ss.names.subNamed(which)
		switch {
		case err != nil && codeOf(err) != errcode.NotFound:
			ss.refuse(err, func(err error) { done(nil, err) })
			return
		case err == nil && sub.State == kernel.SubRunning:
			ids = []kernel.SubID{sub.ID}
		default:
			ss.system.launchDeclared(which, done)
			return
		}
	}
	var out []kernel.Subcluster
	var failed error
	p := ss.programs()
	left := 1
	one := func() {
		if left--; left == 0 {
			done(slices.DeleteFunc(out, func(s kernel.Subcluster) bool { return s.ID == "" }), failed)
		}
	}
	inSlices(ss.core, ids, func(id kernel.SubID) {
		s, found, err := ss.machine.Subcluster(id)
		if err != nil {
			failed = err
			return
		}
		if !found || s.State != kernel.SubRunning || which == "" && ss.suspended[id] {
			return
		}
		i := len(out)
		out = append(out, kernel.Subcluster{})
		left++
		ss.reload(s, callID{}, p, func(s kernel.Subcluster, err error) {
			out[i] = s
			if err != nil && failed == nil {
				failed = err
			}
			one()
		})
	}, one)
}
