package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
)

// reload is a subcluster that is removed, to be launched again. That it is stands in the machine: this is what the
// loop knows beside.
type reload struct {
	done func(kernel.Subcluster, error)
	// launching says that it is being launched, queued that it waits for its turn.
	launching, queued bool
}

// reload removes a running subcluster and launches it again, under the same name: a system subcluster as this run
// declares it, others from what they were launched with. Before anything is removed, what is to be launched is checked,
// beside the loop: the programs p are what they were, or reload is refused. by is the call that waits for it, if there is
// one. done is called in the loop; its error is a refusal if nothing was begun.
func (k *Shell) reload(s kernel.Subcluster, by callID, p *programs, done func(kernel.Subcluster, error)) {
	refuse := func(err error) { k.refuse(err, func(err error) { done(kernel.Subcluster{}, err) }) }
	if k.suspended[s.ID] {
		refuse(&kernel.Refusal{Code: kernel.CodeInvalid, Detail: fmt.Sprintf("the system subcluster %s is not declared in this run", s.System)})
		return
	}
	cfg, declared := k.declared(s.System)
	err := k.isolated(func() (err error) {
		if !declared {
			if cfg, err = k.configOf(s.ID); err != nil {
				return err
			}
		}
		_, err = k.machineLaunch(launch{cfg: cfg, system: s.System})
		return err
	})
	if _, ok := err.(*kernel.Refusal); err != nil && !ok {
		err = &kernel.Refusal{Code: kernel.CodeInvalid, Detail: fmt.Sprintf("what subcluster %s would be launched from cannot be read: %v", s.ID, err)}
	}
	if err != nil {
		refuse(err)
		return
	}
	if p == nil {
		k.reloadChecked(s, by, done)
		return
	}
	k.aside(func() {
		err := p.check(k.services.ctx, cfg)
		k.services.later(func() {
			switch {
			case k.stopping:
				done(kernel.Subcluster{}, ErrStopping)
			case err != nil:
				refuse(err)
			default:
				k.reloadChecked(s, by, done)
			}
		})
	})
}

// reloadChecked is reload of what can be launched, as far as that can be known.
func (k *Shell) reloadChecked(s kernel.Subcluster, by callID, done func(kernel.Subcluster, error)) {
	refuse := func(err error) { k.refuse(err, func(err error) { done(kernel.Subcluster{}, err) }) }
	if k.resets > 0 {
		refuse(errCleared)
		return
	}
	c, err := k.machine.ReloadBy(s.ID, by.service, by.number)
	if err != nil {
		refuse(err)
		return
	}
	k.log.Info("subcluster is loaded anew", "subcluster", s.ID, "system", s.System)
	k.reloads[s.ID] = &reload{done: done}
	k.apply(c)
}

// reloadNext launches what is gone and was to be launched again, also if an earlier kernel has begun it. What is a
// system subcluster waits for a run that declares it.
func (k *Shell) reloadNext() {
	list, err := k.machine.Reloads()
	if err != nil {
		k.fail(err)
		return
	}
	for _, m := range list {
		cfg, declared := k.declared(m.System)
		switch {
		case m.Corrupt != nil:
			k.notRelaunched(m.Sub, m.Corrupt)
			continue
		case m.System != "" && k.cfg.System == nil:
			continue
		case m.System != "" && !declared:
			k.log.Warn("system subcluster is no longer declared: it is not launched again", "name", m.System, "subcluster", m.Sub)
			c, err := k.machine.DropReload(m.Sub, "it is no longer declared")
			k.input(c, err)
			k.forgetCall(callID{m.By, m.ByCall})
			continue
		case !m.Gone || k.diskFull():
			continue // its end, or space on the disk, comes back here
		case m.System == "":
			if cfg, err = cluster.UnmarshalStoredConfig(m.Config); err != nil {
				k.notRelaunched(m.Sub, err)
				continue
			}
		}
		r := k.reloads[m.Sub]
		if r == nil {
			r = &reload{done: func(_ kernel.Subcluster, err error) {
				if err != nil {
					k.log.Error("subcluster was not launched again", "subcluster", m.Sub, "err", err)
				}
			}}
			k.reloads[m.Sub] = r
		}
		k.whenGone(m.Sub, func() { k.relaunch(m, cfg, r) })
		k.whenDurable(func() {
			k.buried[m.Sub] = true // by an earlier kernel, maybe, in which case nobody says so again
			k.tellGone(m.Sub)
		})
	}
}

// notRelaunched says, once in a run, that a subcluster is not launched again, since what is to be launched cannot be read. It
// stays noted: a person may restore the state from a copy, or launch the configuration file again.
func (k *Shell) notRelaunched(id kernel.SubID, why error) {
	if !k.unreadable[id] {
		k.unreadable[id] = true
		k.log.Error("subcluster is not launched again: its stored configuration is damaged; kernel launch FILE launches it", "subcluster", id, "err", why)
	}
}

// cancelReload gives up launching a subcluster again that somebody terminates meanwhile.
func (k *Shell) cancelReload(id kernel.SubID) {
	list, err := k.machine.Reloads()
	if err != nil {
		k.fail(err)
		return
	}
	for _, m := range list {
		if m.Sub == id {
			c, err := k.machine.DropReload(id, "the subcluster was terminated")
			k.input(c, err)
			k.tellChanged()
			k.forgetCall(callID{m.By, m.ByCall})
		}
	}
	if r := k.reloads[id]; r != nil && !r.launching {
		delete(k.reloads, id)
		r.done(kernel.Subcluster{}, &kernel.Refusal{Code: kernel.CodeConflict, Detail: fmt.Sprintf("subcluster %s was terminated meanwhile", id)})
	}
}

// relaunch launches what is gone, with its processes and channels; a system subcluster in its turn.
func (k *Shell) relaunch(m kernel.Reload, cfg *cluster.Config, r *reload) {
	if m.System == "" {
		k.relaunchNow(m, cfg, r, func() {})
		return
	}
	if k.reloads[m.Sub] != r || r.launching || r.queued {
		return
	}
	r.queued = true
	k.takeTurn(turn{
		name:   m.System,
		begin:  func(end func()) { k.relaunchNow(m, cfg, r, end) },
		cancel: func(error) {}, // whoever calls it off tells r
	})
}

// relaunchNow is relaunch when it is its turn; end is called when that is over.
func (k *Shell) relaunchNow(m kernel.Reload, cfg *cluster.Config, r *reload, end func()) {
	if k.reloads[m.Sub] != r || r.launching {
		end() // somebody has called it off, or has begun it
		return
	}
	r.launching = true
	by := callID{m.By, m.ByCall}
	if _, waits, err := k.machine.ServiceCall(by.service, by.number); err != nil || !waits {
		by = callID{} // who asked for it is gone, maybe in this very reload, or cannot be told
	}
	k.launch(launch{cfg: cfg, system: m.System, by: by, replaces: m.Sub}, func(s kernel.Subcluster, err error) {
		delete(k.reloads, m.Sub)
		if err != nil && !errors.Is(err, ErrDiskFull) && !k.stopping { // it would not come out otherwise the next time
			why := err.Error()
			if failed, ok := errors.AsType[*LaunchError](err); ok {
				why = failed.Why
			}
			c, e := k.machine.DropReload(m.Sub, why)
			k.input(c, e)
			k.forgetCall(by)
		}
		if m.System != "" {
			k.systemSettled(m.System, s, err)
		}
		r.done(s, err)
		end()
		k.tellChanged()
	})
}

// Reload removes a subcluster and launches it again from the configuration that it was launched with, or, if it is a
// system subcluster, as it is declared in this run. It is named by its id, or its name if it is a system subcluster;
// empty means all that run. A system subcluster that is declared and could not be launched is launched. It returns
// what runs then.
func (k *Shell) Reload(ctx context.Context, which string) ([]kernel.Subcluster, error) {
	return ask(ctx, k, func(done func([]kernel.Subcluster, error)) { k.reloadAll(which, done) })
}

// reloadAll is Reload in the loop.
func (k *Shell) reloadAll(which string, done func([]kernel.Subcluster, error)) {
	ids := k.directory.all()
	if which != "" {
		sub, err := k.subNamed(which)
		switch {
		case err != nil && codeOf(err) != kernel.CodeNotFound:
			k.refuse(err, func(err error) { done(nil, err) })
			return
		case err == nil && sub.State == kernel.SubRunning:
			ids = []kernel.SubID{sub.ID}
		default:
			k.launchDeclared(which, done)
			return
		}
	}
	var out []kernel.Subcluster
	var failed error
	p := k.programs()
	left := 1
	one := func() {
		if left--; left == 0 {
			done(slices.DeleteFunc(out, func(s kernel.Subcluster) bool { return s.ID == "" }), failed)
		}
	}
	inSlices(k, ids, func(id kernel.SubID) {
		s, found, err := k.machine.Subcluster(id)
		if err != nil {
			failed = err
			return
		}
		if !found || s.State != kernel.SubRunning || which == "" && k.suspended[id] {
			return
		}
		i := len(out)
		out = append(out, kernel.Subcluster{})
		left++
		k.reload(s, callID{}, p, func(s kernel.Subcluster, err error) {
			out[i] = s
			if err != nil && failed == nil {
				failed = err
			}
			one()
		})
	}, one)
}

// launchDeclared launches a system subcluster of that name, which does not run.
func (k *Shell) launchDeclared(name string, done func([]kernel.Subcluster, error)) {
	cfg, ok := k.declared(name)
	switch {
	case !ok:
		done(nil, &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("there is no running subcluster %s", name)})
	case k.diskFull():
		done(nil, ErrDiskFull)
	default:
		k.launchSystem(name, cfg, func(s kernel.Subcluster, err error) { done([]kernel.Subcluster{s}, err) })
	}
}
