package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
)

// ApplyOptions say how a configuration is applied.
type ApplyOptions struct {
	// DryRun returns the changes without making them.
	DryRun bool
	// Replace is the id of the subcluster that may be deleted, with all that it has stored, and launched anew, if some changes
	// cannot be made in place. Empty permits no deletion.
	Replace string
}

// Applied lists the changes of a configuration to a running subcluster.
type Applied struct {
	// Sub is the subcluster that runs the configuration now.
	Sub     kernel.SubID
	Changes []cluster.Change
	// Replaced is the subcluster that was deleted, or would be, and in whose place Sub was launched; empty if there is none.
	// Deleted are the vats of Replaced.
	Replaced kernel.SubID
	Deleted  []kernel.SubclusterVat
	// Vats and Services are the added ones; both are empty after a dry run.
	Vats     []AddedVat
	Services []AddedService
}

// AddedVat is a vat that was added to a running subcluster. Bootstrap is not called again: the caller of Apply sends the
// vat's root to the vats that need it.
type AddedVat struct {
	Name string
	Vat  kernel.VatID
	Root kernel.KRef
}

// AddedService is a channel or service that was added to a running subcluster.
type AddedService struct {
	Name string
	KRef kernel.KRef
	// Problem is the reason why the object could not be opened; empty if it was, or is still being opened. A call of the
	// object, and the kernel's next start, try to open it again.
	Problem string
}

// A ReplaceError refuses a configuration with changes that cannot be made in place. The subcluster is unchanged.
type ReplaceError struct {
	Sub     kernel.SubID
	Changes []cluster.Change
}

func (e *ReplaceError) Error() string {
	fields := make([]string, len(e.Changes))
	for i, c := range e.Changes {
		fields[i] = c.String()
	}
	return fmt.Sprintf("this cannot be changed in subcluster %s, which keeps what it has stored: %s", e.Sub, strings.Join(fields, "; "))
}

// Apply is [Shell.Apply].
func (ss *subclusters) Apply(ctx context.Context, name string, cfg *cluster.Config, o ApplyOptions) (Applied, error) {
	return ask(ctx, ss.core, func(done func(Applied, error)) { ss.applyTo(ctx, name, cfg, o, done) })
}

// applyTo is Apply in the loop. It waits for a subcluster from the configuration's path that is being launched, or
// launched anew.
func (ss *subclusters) applyTo(ctx context.Context, name string, cfg *cluster.Config, o ApplyOptions, done func(Applied, error)) {
	again := func() { ss.applyTo(ctx, name, cfg, o, done) }
	switch {
	case ss.stopping:
		done(Applied{}, ErrStopping)
		return
	case ctx.Err() != nil: // the caller has left
		done(Applied{}, ctx.Err())
		return
	}
	sub, err := ss.toApply(name, cfg)
	if refusal, ok := errors.AsType[*kernel.Refusal](err); ok && refusal.Code == errcode.NotFound && name == "" {
		waits, e := ss.whenLaunched(cfg.Source, again)
		if waits {
			return
		}
		if e != nil {
			err = e
		}
	}
	if err == nil && sub.System != "" {
		err = &kernel.Refusal{Code: errcode.Conflict, Detail: fmt.Sprintf("%s is the system subcluster %s: change its declaration, and start with --upgrade-system", sub.ID, sub.System)}
	}
	if err != nil {
		ss.refuse(err, func(err error) { done(Applied{}, err) })
		return
	}
	ss.reconfigure(sub, cfg, o, done)
}

// toApply finds the subcluster that a configuration is for.
func (ss *subclusters) toApply(name string, cfg *cluster.Config) (kernel.Subcluster, error) {
	if name != "" {
		sub, err := ss.names.subNamed(name)
		if err == nil && sub.State != kernel.SubRunning {
			err = &kernel.Refusal{Code: errcode.Invalid, Detail: fmt.Sprintf("subcluster %s is not running: it is %s", sub.ID, sub.State)}
		}
		return sub, err
	}
	subs, err := ss.names.fromSource(cfg.Source)
	if err != nil {
		return kernel.Subcluster{}, err
	}
	var found []kernel.Subcluster
	var ids []string
	for _, s := range subs {
		if s.State == kernel.SubRunning {
			found, ids = append(found, s), append(ids, string(s.ID))
		}
	}
	switch len(found) {
	case 0:
		return kernel.Subcluster{}, &kernel.Refusal{Code: errcode.NotFound, Detail: fmt.Sprintf("no subcluster runs that was launched from %s", cfg.Source)}
	case 1:
		return found[0], nil
	}
	return kernel.Subcluster{}, &kernel.Refusal{Code: errcode.Conflict, Detail: fmt.Sprintf("%d subclusters were launched from %s: say which: %s", len(found), cfg.Source, strings.Join(ids, ", "))}
}

// reconfigure makes the changes that can be made in place. done is called in the loop, when the changes are durable and the
// added services are open.
func (ss *subclusters) reconfigure(sub kernel.Subcluster, cfg *cluster.Config, o ApplyOptions, done func(Applied, error)) {
	fail := func(err error) { ss.refuse(err, func(err error) { done(Applied{}, err) }) }
	old, err := ss.configOf(sub.ID)
	if err != nil {
		fail(err)
		return
	}
	out := Applied{Sub: sub.ID, Changes: cluster.Diff(old, cfg)}
	deletes := cluster.NeedReplace(out.Changes)
	switch {
	case len(deletes) > 0 && o.Replace != string(sub.ID):
		done(Applied{}, &ReplaceError{sub.ID, deletes})
		return
	case len(deletes) > 0:
		out.Replaced, out.Deleted = sub.ID, sub.Vats
	}
	ml, err := ss.machineLaunch(launch{cfg: cfg, system: sub.System})
	if err == nil && len(deletes) == 0 {
		err = ss.whenHeeded(sub.ID, cfg, ml, out.Changes)
	}
	switch {
	case err != nil:
		fail(err)
		return
	case o.DryRun || len(out.Changes) == 0 && sub.Hash == cfg.Hash && sub.Source == cfg.Source:
		done(out, nil)
		return
	case ss.diskFull():
		done(Applied{}, ErrDiskFull)
		return
	case ss.resets > 0:
		done(Applied{}, errCleared)
		return
	case len(deletes) > 0:
		ss.replace(sub, ml, out, done)
		return
	}
	r, err := ss.reconfiguration(sub, old, cfg, ml)
	if err != nil {
		fail(err)
		return
	}
	made, c, err := ss.machine.Reconfigure(sub.ID, r)
	if err != nil {
		fail(err)
		return
	}
	for i, kref := range made.Services {
		out.Services = append(out.Services, AddedService{Name: r.NewServices[i].Name, KRef: kref})
	}
	ss.log.Info("subcluster is changed", "subcluster", sub.ID, "system", sub.System, "changes", len(out.Changes))
	ss.apply(c)
	fault.Point(fault.ChangeApplied)
	ss.names.enter(sub.ID)
	for _, v := range made.Vats {
		row, _, err := ss.machine.Vat(v.Vat)
		if err != nil {
			fail(err)
			return
		}
		out.Vats = append(out.Vats, AddedVat{v.Name, v.Vat, row.Root})
	}
	ss.whenDurable(func() {
		for _, kref := range made.Configured {
			ss.objects.configure(kref, nil)
		}
		ss.objects.openAdded(out.Services, sync.OnceFunc(func() { done(out, nil) }))
	})
}

// replace deletes a running subcluster and launches another configuration in its place.
func (ss *subclusters) replace(sub kernel.Subcluster, ml kernel.Launch, out Applied, done func(Applied, error)) {
	c, err := ss.removal(func() (kernel.Commit, error) { return ss.machine.Replace(sub.ID, ml) })
	if err != nil {
		ss.refuse(err, func(err error) { done(Applied{}, err) })
		return
	}
	ss.log.Warn("subcluster is launched anew, as was asked for: what it has stored is deleted", "subcluster", sub.ID)
	ss.reloads[sub.ID] = &reload{done: func(s kernel.Subcluster, err error) {
		if err != nil {
			done(Applied{}, fmt.Errorf("subcluster %s was deleted, as --replace says, and is not launched anew: %w", sub.ID, err))
			return
		}
		out.Sub = s.ID
		done(out, nil)
	}}
	ss.apply(c)
}

// whenHeeded corrects when the changes of channels and services have an effect: objects that cannot be configured go on as
// they are until the kernel is started the next time.
func (ss *subclusters) whenHeeded(sub kernel.SubID, cfg *cluster.Config, ml kernel.Launch, changes []cluster.Change) error {
	for i, ls := range ml.Services {
		kref, err := ss.machine.ServiceNamed(ls.FullName(sub))
		if err != nil {
			return err
		}
		o := ss.objects.object(kref)
		if o == nil || ss.objects.configurable(ls.New.Kind, o, ls.New.Config) != nil {
			continue
		}
		for j := range changes {
			if c := &changes[j]; c.Applies == cluster.ApplyLive && strings.HasPrefix(c.Field, servicePath(cfg, i)+ls.Name+".") {
				c.Applies = cluster.ApplyStart
			}
		}
	}
	return nil
}

// servicePath returns the path of the configuration's list that has the i-th service of a launch: the channels come first.
func servicePath(cfg *cluster.Config, i int) string {
	if i < len(cfg.IO) {
		return "io."
	}
	return "services."
}

// configOf reads the configuration that a subcluster runs.
func (ss *subclusters) configOf(id kernel.SubID) (*cluster.Config, error) {
	b, found, err := ss.machine.Config(id)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, &kernel.Refusal{Code: errcode.NotFound, Detail: fmt.Sprintf("there is no configuration of subcluster %s", id)}
	}
	return cluster.UnmarshalStoredConfig(b)
}

// reconfiguration makes the machine's order of the changes. A vat that was made keeps the parameters with which it was: a
// worker that makes its memory again runs its constructor again.
func (ss *subclusters) reconfiguration(sub kernel.Subcluster, old, cfg *cluster.Config, ml kernel.Launch) (kernel.Reconfiguration, error) {
	r := kernel.Reconfiguration{Config: ml.Config, Source: ml.Source, Hash: ml.Hash}
	had := map[string]bool{}
	for _, v := range old.Vats {
		had[v.Name] = true
	}
	for _, c := range old.IO {
		had["io."+c.Name] = true
	}
	for _, s := range old.Services {
		had["services."+s.Name] = true
	}
	members := map[string]kernel.VatID{}
	for _, v := range sub.Vats {
		members[v.Name] = v.Vat
	}
	for i, v := range cfg.Vats {
		lv := ml.Vats[i]
		if !had[v.Name] {
			r.NewVats = append(r.NewVats, lv)
			continue
		}
		id, there := members[v.Name]
		if !there {
			continue // it has ended
		}
		row, _, err := ss.machine.Vat(id)
		if err != nil {
			return r, err
		}
		if row.Started {
			stored, err := cluster.UnmarshalStored(row.Config)
			if err != nil {
				return r, fmt.Errorf("configuration of %s: %w", id, err)
			}
			v.Parameters = stored.Parameters
			if lv, err = launchVat(v); err != nil {
				return r, err
			}
		}
		r.Vats = append(r.Vats, lv)
	}
	for i, s := range ml.Services {
		switch {
		case !had[servicePath(cfg, i)+s.Name]:
			r.NewServices = append(r.NewServices, s)
		case s.Global == "":
			r.Services = append(r.Services, s)
		}
	}
	return r, nil
}
