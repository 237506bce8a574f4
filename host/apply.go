package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// ApplyOptions say how a configuration is applied.
type ApplyOptions struct {
	// DryRun asks what would be done, and does nothing.
	DryRun bool
	// Replace is the id of the subcluster that may be deleted, with all that it has stored, and launched anew, if there are
	// changes that cannot be made to what runs. Empty means none.
	Replace string
}

// Applied is what a configuration changes in a running subcluster.
type Applied struct {
	// Sub is the subcluster that runs the configuration now.
	Sub     kernel.SubID
	Changes []cluster.Change
	// Replaced, if it is not empty, is the subcluster that was deleted, or would be, in whose place Sub was launched. Deleted
	// are the vats that it had.
	Replaced kernel.SubID
	Deleted  []kernel.SubclusterVat
	// Vats and Services are what was added; both are empty after a dry run.
	Vats     []AddedVat
	Services []AddedService
}

// AddedVat is a vat that was added to a running subcluster. Bootstrap is not called again: whoever is to know the vat is
// sent its root.
type AddedVat struct {
	Name string
	Vat  kernel.VatID
	Root kernel.KRef
}

// AddedService is a channel or service that was added to a running subcluster.
type AddedService struct {
	Name string
	KRef kernel.KRef
	// Problem says why the object could not be opened; empty if it was, or is still being opened. It is tried again when it
	// is called, and at the kernel's next start.
	Problem string
}

// A ReplaceError refuses a configuration some of whose changes cannot be made to what runs. Nothing has changed.
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

// Apply changes a running subcluster to another configuration, in one commit: a kernel that dies has made all of the
// changes, or none. Vats, channels and services can be added, and how vats are run and what only new operations of channels
// and services heed can change; what would delete something is a [*ReplaceError], unless Replace names the subcluster. Then
// the subcluster is deleted and launched anew; a kernel that dies meanwhile leaves that to the next one. If that launch fails
// nothing is left of the subcluster, and the error says why. Applied twice Apply changes nothing more. An empty name stands
// for the subcluster that runs what is at the configuration's path.
func (k *Shell) Apply(ctx context.Context, name string, cfg *cluster.Config, o ApplyOptions) (Applied, error) {
	return ask(ctx, k, func(done func(Applied, error)) { k.applyTo(ctx, name, cfg, o, done) })
}

// applyTo is Apply in the loop. A subcluster from the configuration's path that is being launched, or launched anew, is waited
// for.
func (k *Shell) applyTo(ctx context.Context, name string, cfg *cluster.Config, o ApplyOptions, done func(Applied, error)) {
	again := func() { k.applyTo(ctx, name, cfg, o, done) }
	switch {
	case k.stopping:
		done(Applied{}, ErrStopping)
		return
	case ctx.Err() != nil: // nobody wants it any more
		done(Applied{}, ctx.Err())
		return
	}
	sub, err := k.toApply(name, cfg)
	if refusal, ok := errors.AsType[*kernel.Refusal](err); ok && refusal.Code == kernel.CodeNotFound && name == "" {
		waits, e := k.whenLaunched(cfg.Source, again)
		if waits {
			return
		}
		if e != nil {
			err = e
		}
	}
	if err == nil && sub.System != "" {
		err = &kernel.Refusal{Code: kernel.CodeConflict, Detail: fmt.Sprintf("%s is the system subcluster %s: change its declaration, and start with --upgrade-system", sub.ID, sub.System)}
	}
	if err != nil {
		k.refuse(err, func(err error) { done(Applied{}, err) })
		return
	}
	k.reconfigure(sub, cfg, o, done)
}

// toApply finds the subcluster that a configuration is for.
func (k *Shell) toApply(name string, cfg *cluster.Config) (kernel.Subcluster, error) {
	if name != "" {
		sub, err := k.subNamed(name)
		if err == nil && sub.State != kernel.SubRunning {
			err = &kernel.Refusal{Code: kernel.CodeInvalid, Detail: fmt.Sprintf("subcluster %s is not running: it is %s", sub.ID, sub.State)}
		}
		return sub, err
	}
	subs, err := k.fromSource(cfg.Source)
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
		return kernel.Subcluster{}, &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("no subcluster runs that was launched from %s", cfg.Source)}
	case 1:
		return found[0], nil
	}
	return kernel.Subcluster{}, &kernel.Refusal{Code: kernel.CodeConflict, Detail: fmt.Sprintf("%d subclusters were launched from %s: say which: %s", len(found), cfg.Source, strings.Join(ids, ", "))}
}

// reconfigure makes the changes that can be made. done is called in the loop, when they are durable and what was added is
// there.
func (k *Shell) reconfigure(sub kernel.Subcluster, cfg *cluster.Config, o ApplyOptions, done func(Applied, error)) {
	fail := func(err error) { k.refuse(err, func(err error) { done(Applied{}, err) }) }
	old, err := k.configOf(sub.ID)
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
	ml, err := k.machineLaunch(launch{cfg: cfg, system: sub.System})
	if err == nil && len(deletes) == 0 {
		err = k.whenHeeded(sub.ID, cfg, ml, out.Changes)
	}
	switch {
	case err != nil:
		fail(err)
		return
	case o.DryRun || len(out.Changes) == 0 && sub.Hash == cfg.Hash && sub.Source == cfg.Source:
		done(out, nil)
		return
	case k.diskFull():
		done(Applied{}, ErrDiskFull)
		return
	case k.resets > 0:
		done(Applied{}, errCleared)
		return
	case len(deletes) > 0:
		k.replace(sub, ml, out, done)
		return
	}
	r, err := k.reconfiguration(sub, old, cfg, ml)
	if err != nil {
		fail(err)
		return
	}
	made, c, err := k.machine.Reconfigure(sub.ID, r)
	if err != nil {
		fail(err)
		return
	}
	for i, kref := range made.Services {
		out.Services = append(out.Services, AddedService{Name: r.NewServices[i].Name, KRef: kref})
	}
	k.log.Info("subcluster is changed", "subcluster", sub.ID, "system", sub.System, "changes", len(out.Changes))
	k.apply(c)
	k.enter(sub.ID)
	for _, v := range made.Vats {
		row, _, err := k.machine.Vat(v.Vat)
		if err != nil {
			fail(err)
			return
		}
		out.Vats = append(out.Vats, AddedVat{v.Name, v.Vat, row.Root})
	}
	k.whenDurable(func() {
		for _, kref := range made.Configured {
			k.configure(kref, nil)
		}
		k.openAdded(out.Services, sync.OnceFunc(func() { done(out, nil) }))
	})
}

// replace deletes a running subcluster and launches another configuration in its place.
func (k *Shell) replace(sub kernel.Subcluster, ml kernel.Launch, out Applied, done func(Applied, error)) {
	c, err := k.machine.Replace(sub.ID, ml)
	if err != nil {
		k.refuse(err, func(err error) { done(Applied{}, err) })
		return
	}
	k.log.Warn("subcluster is launched anew, as was asked for: what it has stored is deleted", "subcluster", sub.ID)
	k.reloads[sub.ID] = &reload{done: func(s kernel.Subcluster, err error) {
		if err != nil {
			done(Applied{}, fmt.Errorf("subcluster %s was deleted, as --replace says, and is not launched anew: %w", sub.ID, err))
			return
		}
		out.Sub = s.ID
		done(out, nil)
	}}
	k.apply(c)
}

// whenHeeded corrects when the changes of channels and services have an effect: objects that cannot be configured go on as
// they are until the kernel is started the next time.
func (k *Shell) whenHeeded(sub kernel.SubID, cfg *cluster.Config, ml kernel.Launch, changes []cluster.Change) error {
	for i, ls := range ml.Services {
		kref, err := k.machine.ServiceNamed(ls.FullName(sub))
		if err != nil {
			return err
		}
		b := k.services.bound[kref]
		if b == nil || k.configurable(ls.New.Kind, b.object, ls.New.Config) != nil {
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

// servicePath is the path of the list from which the i-th service of a launch is: the channels come first.
func servicePath(cfg *cluster.Config, i int) string {
	if i < len(cfg.IO) {
		return "io."
	}
	return "services."
}

// configure has the object behind a service object work by the configuration that is stored, if it is another one than the
// object was made from. An object that is not there is made from what is stored.
func (k *Shell) configure(kref kernel.KRef, made []byte) {
	s, found, err := k.machine.Service(kref)
	b := k.services.bound[kref]
	switch {
	case err != nil:
		k.holdService(kref, err)
	case found && b != nil && !bytes.Equal(s.Config, made):
		if take := k.configurable(s.Kind, b.object, s.Config); take != nil {
			take()
		} else {
			k.log.Warn("service object goes on as it is until the kernel is started again", "service", s.Name, "kref", kref)
		}
	}
}

// configurable returns the function that has an object work by a configuration, or nil.
func (k *Shell) configurable(kind string, o service.Object, config []byte) (take func()) {
	if configure := k.cfg.Kinds[kind].Configure; configure != nil {
		return configure(o, config)
	}
	return nil
}

// configOf reads the configuration that a subcluster runs.
func (k *Shell) configOf(id kernel.SubID) (*cluster.Config, error) {
	b, found, err := k.machine.Config(id)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("there is no configuration of subcluster %s", id)}
	}
	return cluster.UnmarshalStoredConfig(b)
}

// reconfiguration makes the machine's order of the changes. A vat that was made keeps the parameters with which it was: a
// worker that makes its memory again runs its constructor again.
func (k *Shell) reconfiguration(sub kernel.Subcluster, old, cfg *cluster.Config, ml kernel.Launch) (kernel.Reconfiguration, error) {
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
		row, _, err := k.machine.Vat(id)
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

// addedTime is how long the answer to Apply waits for channels and services that are slow to open.
const addedTime = 10 * time.Second

// openAdded makes the objects that were added to a running subcluster, and calls done once when each was tried, or addedTime
// has passed. It notes in added which of them could not be made. The next kernel makes them if this one dies; one that
// cannot be made now is tried again when it is called.
func (k *Shell) openAdded(added []AddedService, done func()) {
	left, told := 1, false // told says that added is the caller's
	tried := func() {
		if left--; left == 0 {
			done()
		}
	}
	for i := range added {
		kref := added[i].KRef
		s, found, err := k.machine.Service(kref)
		if err != nil {
			k.holdService(kref, err)
		}
		if found && k.canOpen(s) && k.services.bound[kref] == nil {
			left++
			k.open(s, func(err error) {
				if err != nil && !told {
					added[i].Problem = oneLine(err)
				}
				tried()
			})
		}
	}
	if left > 1 {
		k.after(addedTime, func() {
			told = true
			done()
		})
	}
	tried()
}
