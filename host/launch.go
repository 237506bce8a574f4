package host

import (
	"context"
	"fmt"
	"slices"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
)

// Launch begins a subcluster and returns when bootstrap has answered. If the launch fails, for whatever
// reason, the error says why, and nothing of it is left.
func (k *Shell) Launch(ctx context.Context, cfg *cluster.Config) (kernel.Subcluster, error) {
	return ask(ctx, k, func(done func(kernel.Subcluster, error)) {
		k.launch(launch{cfg: cfg}, done)
	})
}

// launch is what is known of a launch that begins.
type launch struct {
	cfg *cluster.Config
	// system is the name of a system subcluster.
	system string
	// by is the call that waits for it.
	by callID
	// replaces is the subcluster that is loaded anew.
	replaces kernel.SubID
}

// launch begins a launch; done is called in the loop when it is over.
func (k *Shell) launch(l launch, done func(kernel.Subcluster, error)) {
	fail := func(err error) { k.refuse(err, func(err error) { done(kernel.Subcluster{}, err) }) }
	if k.diskFull() {
		done(kernel.Subcluster{}, k.noRoom())
		return
	}
	if k.resets > 0 {
		done(kernel.Subcluster{}, errCleared)
		return
	}
	ml, err := k.machineLaunch(l)
	if err != nil {
		fail(err)
		return
	}
	id, c, err := k.machine.Launch(ml)
	if err != nil {
		fail(err)
		return
	}
	k.log.Info("launch begun", "subcluster", id, "vats", len(l.cfg.Vats), "system", l.system)
	stopTimer := func() {}
	k.whenSettled(id, func(failure string) {
		stopTimer()
		k.forgetCall(l.by) // the machine has answered it
		if failure != "" {
			k.whenGone(id, func() { done(kernel.Subcluster{}, &LaunchError{id, failure}) })
			return
		}
		sub, _, err := k.machine.Subcluster(id)
		done(sub, err)
	})
	own := slices.DeleteFunc(slices.Clone(ml.Services), func(s kernel.LaunchService) bool { return s.Global != "" })
	if len(own) > 0 {
		k.suspended[id] = true // until its channels are there
	}
	k.apply(c)
	k.enter(id)
	if len(own) > 0 {
		// What is made must be known to the next kernel, which may have to unmake it.
		k.whenDurable(func() { k.openServices(id) })
	}
	stopTimer = k.cfg.Workers.AfterRunning(l.cfg.Limits.Bootstrap, func() {
		k.post(func() {
			k.failLaunch(id, fmt.Sprintf("bootstrap has not settled within %s (limits.bootstrap)", l.cfg.Limits.Bootstrap))
		})
	})
}

func (k *Shell) failLaunch(id kernel.SubID, why string) {
	c, err := k.machine.FailLaunch(id, why)
	if err != nil {
		k.fail(err)
		return
	}
	k.apply(c)
}

// machineLaunch makes the machine's order of a configuration. Unknown services, and those that this
// subcluster may not have, are refused in the same words.
func (k *Shell) machineLaunch(l launch) (kernel.Launch, error) {
	cfg := l.cfg
	out := kernel.Launch{
		Bootstrap: cfg.Bootstrap, Source: cfg.Source, Hash: cfg.Hash, System: l.system, By: l.by.service, ByCall: l.by.number, Replaces: l.replaces,
	}
	for _, v := range cfg.Vats {
		lv, err := launchVat(v)
		if err != nil {
			return kernel.Launch{}, err
		}
		out.Vats = append(out.Vats, lv)
	}
	for _, c := range cfg.IO {
		if k.cfg.Kinds[KindIO].Open == nil {
			return kernel.Launch{}, &kernel.Refusal{Code: kernel.CodeInvalid, Detail: fmt.Sprintf("io.%s: this kernel serves no IO channels", c.Name)}
		}
		stored, err := cluster.MarshalStoredChannel(c)
		if err != nil {
			return kernel.Launch{}, err
		}
		out.Services = append(out.Services, kernel.LaunchService{Name: c.Name, New: kernel.NewService{Kind: KindIO, Config: stored}})
	}
	for _, s := range cfg.Services {
		stored, err := cluster.MarshalStoredService(s)
		if err != nil {
			return kernel.Launch{}, err
		}
		switch {
		case k.ofOwnKind(s.Service):
			out.Services = append(out.Services, kernel.LaunchService{Name: s.Name, New: kernel.NewService{Kind: s.Service, Config: stored}})
		case k.mayHave(s.Service, l.system != ""):
			out.Services = append(out.Services, kernel.LaunchService{Name: s.Name, Global: s.Service})
		default:
			return kernel.Launch{}, &kernel.Refusal{Code: kernel.CodeInvalid, Detail: fmt.Sprintf("no registered kernel service %q", s.Service)}
		}
	}
	var err error
	out.Config, err = cluster.MarshalStoredConfig(cfg)
	return out, err
}

// KindIO is the kind of IO channels. They are not among the services that a configuration can name.
const KindIO = "io"

// ofOwnKind says whether each subcluster has an object of its own of a service.
func (k *Shell) ofOwnKind(name string) bool {
	kind := k.cfg.Kinds[name]
	return kind.Open != nil && kind.Service
}

// mayHave says whether a service is registered in this run for such a subcluster.
func (k *Shell) mayHave(name string, system bool) bool {
	s, ok := k.registered()[name]
	return ok && (system || !s.SystemOnly)
}

// ServiceNames lists the services that a configuration may name.
func (k *Shell) ServiceNames(system bool) []string {
	var names []string
	for name := range k.registered() {
		if k.mayHave(name, system) {
			names = append(names, name)
		}
	}
	for name := range k.cfg.Kinds {
		if k.ofOwnKind(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func launchVat(v cluster.Vat) (kernel.LaunchVat, error) {
	stored, err := cluster.MarshalStored(v)
	return kernel.LaunchVat{
		Name: v.Name, Config: stored, MaxQueue: uint64(v.Limits.Queue), MaxRestarts: uint64(v.MaxRestarts),
		MaxRecords: uint64(v.Limits.Transcript),
		Never:      v.Restart == cluster.RestartNever, StopOnFault: v.OnFault == cluster.FaultStop,
	}, err
}

// openServices makes the objects of a subcluster that is being launched, one after the other, and then lets its
// vats begin.
func (k *Shell) openServices(id kernel.SubID) {
	list, err := k.machine.ServicesOf(id)
	if err != nil {
		k.fail(err)
		return
	}
	k.openNext(id, list)
}

func (k *Shell) openNext(id kernel.SubID, list []kernel.Service) {
	sub, found, err := k.machine.Subcluster(id)
	switch {
	case err != nil:
		k.fail(err)
	case k.stopping || !found || sub.State != kernel.SubLaunching:
		// Its end closes what was opened.
	case len(list) == 0:
		k.unsuspend(sub)
	default:
		k.open(list[0], func(err error) {
			if err != nil {
				k.failLaunch(id, fmt.Sprintf("%s: %v", list[0].Name, err))
				return
			}
			k.openNext(id, list[1:])
		})
	}
}

// unsuspend lets the vats of a subcluster go on.
func (k *Shell) unsuspend(sub kernel.Subcluster) {
	delete(k.suspended, sub.ID)
	for _, v := range sub.Vats {
		k.wake(v.Vat)
	}
}

// LaunchError says why a launch failed. Nothing of the subcluster is left.
type LaunchError struct {
	Sub kernel.SubID
	Why string
}

func (e *LaunchError) Error() string { return "the launch failed: " + e.Why }

func (k *Shell) launchSettled(e kernel.LaunchSettled) {
	if e.Failure != "" {
		k.log.Error("launch failed", "subcluster", e.Sub, "why", e.Failure)
	} else {
		k.log.Info("launched", "subcluster", e.Sub)
	}
	waiting := k.launches[e.Sub]
	delete(k.launches, e.Sub)
	for _, tell := range waiting {
		tell(e.Failure)
	}
}

// Terminate removes a subcluster. It returns when nothing of it is left: no vat, row or process.
func (k *Shell) Terminate(ctx context.Context, id kernel.SubID) error {
	_, err := ask(ctx, k, func(done func(struct{}, error)) {
		c, err := k.machine.Terminate(id)
		if err != nil {
			k.refuse(err, func(err error) { done(struct{}{}, err) })
			return
		}
		k.whenGone(id, func() { done(struct{}{}, nil) })
		k.apply(c)
		k.cancelReload(id)
	})
	return err
}

// whenGone has the loop call f when nothing of a subcluster is left, durably, and no process of its vats.
func (k *Shell) whenGone(id kernel.SubID, f func()) {
	k.gone[id] = append(k.gone[id], f)
	k.tellGone(id)
}

func (k *Shell) subGone(id kernel.SubID) {
	k.log.Info("subcluster removed", "subcluster", id)
	k.buried[id] = true
	delete(k.suspended, id)
	k.tellGone(id)
	k.reloadNext()
}

func (k *Shell) tellGone(id kernel.SubID) {
	if !k.buried[id] {
		return
	}
	if k.services.closing[id] > 0 {
		return
	}
	for _, sub := range k.leaving { // is one of them there? The order does not matter
		if sub == id {
			return
		}
	}
	for _, r := range k.rehearsals { // the same
		if r.sub == id {
			return
		}
	}
	for _, f := range k.gone[id] {
		k.soon(f)
	}
	delete(k.gone, id)
	delete(k.buried, id)
	for _, v := range k.vats { // removed in any order: nothing is said about it
		if v.sub == id {
			delete(k.vats, v.id)
		}
	}
}
