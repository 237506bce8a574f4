package host

import (
	"context"
	"fmt"
	"slices"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
)

// Launch is [Shell.Launch]. While commits have to wait (for descriptors, say), the launch waits with them, and is not begun
// if ctx ends meanwhile.
func (ss *subclusters) Launch(ctx context.Context, cfg *cluster.Config) (kernel.Subcluster, error) {
	stored, _ := cluster.MarshalStoredConfig(cfg) // the launch itself reports a configuration that is wrong
	return ask(ctx, ss.core, func(done func(kernel.Subcluster, error)) {
		start := func() {
			switch {
			case ss.stopping:
				done(kernel.Subcluster{}, ErrStopping)
			case ctx.Err() != nil:
				done(kernel.Subcluster{}, ctx.Err())
			default:
				ss.launch(launch{cfg: cfg}, done)
			}
		}
		if ss.diskFull() {
			start() // it is refused
			return
		}
		ss.whenRoom(2*len(stored), start) // the vats have their parts of it, too
	})
}

// launch holds the parameters of a launch.
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
func (ss *subclusters) launch(l launch, done func(kernel.Subcluster, error)) {
	fail := func(err error) { ss.refuse(err, func(err error) { done(kernel.Subcluster{}, err) }) }
	if ss.diskFull() {
		done(kernel.Subcluster{}, ss.noRoom())
		return
	}
	if ss.resets > 0 {
		done(kernel.Subcluster{}, errCleared)
		return
	}
	ml, err := ss.machineLaunch(l)
	if err != nil {
		fail(err)
		return
	}
	id, c, err := ss.machine.Launch(ml)
	if err != nil {
		fail(err)
		return
	}
	ss.log.Info("launch begun", "subcluster", id, "vats", len(l.cfg.Vats), "system", l.system)
	stopTimer := func() {}
	ss.whenSettled(id, func(failure string) {
		stopTimer()
		ss.objects.forgetCall(l.by) // the machine has answered it
		if failure != "" {
			ss.whenGone(id, func() { done(kernel.Subcluster{}, &LaunchError{id, failure}) })
			return
		}
		sub, _, err := ss.machine.Subcluster(id)
		done(sub, err)
	})
	own := slices.DeleteFunc(slices.Clone(ml.Services), func(s kernel.LaunchService) bool { return s.Global != "" })
	if len(own) > 0 {
		ss.suspend(id) // until its channels are there
	}
	ss.apply(c)
	fault.Point(fault.LaunchBegun)
	ss.names.enter(id)
	if len(own) > 0 {
		// The next kernel must know of a service object before it is opened: it may have to remove the object.
		ss.whenDurable(func() { ss.openServices(id) })
	}
	stopTimer = ss.cfg.Workers.AfterRunning(l.cfg.Limits.Bootstrap, func() {
		ss.post(func() {
			ss.failLaunch(id, fmt.Sprintf("bootstrap has not settled within %s (limits.bootstrap)", l.cfg.Limits.Bootstrap))
		})
	})
}

func (ss *subclusters) failLaunch(id kernel.SubID, why string) {
	c, err := ss.removal(func() (kernel.Commit, error) { return ss.machine.FailLaunch(id, why) })
	if err != nil {
		ss.vats.holdMembers(id, fmt.Errorf("end the launch of %s, %s: %w", id, why, err))
		return
	}
	ss.apply(c)
}

// machineLaunch makes the machine's order of a configuration. Unknown services, and those that this
// subcluster may not have, are refused in the same words.
func (ss *subclusters) machineLaunch(l launch) (kernel.Launch, error) {
	cfg := l.cfg
	out := kernel.Launch{
		Bootstrap: cfg.Bootstrap, Source: cfg.Source, Hash: cfg.Hash, System: l.system, By: l.by, Replaces: l.replaces,
	}
	for _, v := range cfg.Vats {
		lv, err := launchVat(v)
		if err != nil {
			return kernel.Launch{}, err
		}
		out.Vats = append(out.Vats, lv)
	}
	for _, c := range cfg.IO {
		if ss.cfg.Kinds[KindIO].Open == nil {
			return kernel.Launch{}, &kernel.Refusal{Code: errcode.Invalid, Detail: fmt.Sprintf("io.%s: this kernel serves no IO channels", c.Name)}
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
		case ss.registry.ofOwnKind(s.Service):
			out.Services = append(out.Services, kernel.LaunchService{Name: s.Name, New: kernel.NewService{Kind: s.Service, Config: stored}})
		case ss.registry.mayHave(s.Service, l.system != ""):
			out.Services = append(out.Services, kernel.LaunchService{Name: s.Name, Global: s.Service})
		default:
			return kernel.Launch{}, &kernel.Refusal{Code: errcode.Invalid, Detail: fmt.Sprintf("no registered kernel service %q", s.Service)}
		}
	}
	var err error
	out.Config, err = cluster.MarshalStoredConfig(cfg)
	return out, err
}

// KindIO is the kind of IO channels. They are not among the services that a configuration can name.
const KindIO = "io"

func launchVat(v cluster.Vat) (kernel.LaunchVat, error) {
	stored, err := cluster.MarshalStored(v)
	return kernel.LaunchVat{
		Name: v.Name, Config: stored, MaxQueue: uint64(v.Limits.Queue), MaxRestarts: uint64(v.MaxRestarts),
		MaxRecords: uint64(v.Limits.Transcript),
		Never:      v.Restart == cluster.RestartNever, StopOnFault: v.OnFault == cluster.FaultStop,
		ReapInterval: uint64(v.ReapInterval), NoRounds: v.ReapInterval == 0,
	}, err
}

// openServices makes the objects of a subcluster that is being launched, one after the other, and then lets its
// vats begin.
func (ss *subclusters) openServices(id kernel.SubID) {
	var list []kernel.Service
	if err := ss.isolated(func() (err error) {
		list, err = ss.machine.ServicesOf(id)
		return err
	}); err != nil {
		ss.failLaunch(id, "its channels and services cannot be read: "+oneLine(err))
		return
	}
	ss.openNext(id, list)
}

func (ss *subclusters) openNext(id kernel.SubID, list []kernel.Service) {
	sub, found, err := ss.machine.Subcluster(id)
	switch {
	case err != nil:
		ss.checkStore()
		ss.failLaunch(id, "it cannot be read: "+oneLine(err))
	case ss.stopping || !found || sub.State != kernel.SubLaunching:
		// The end of the subcluster closes the opened objects.
	case len(list) == 0:
		fault.Point(fault.ServicesOpened)
		ss.unsuspend(sub)
	default:
		ss.objects.open(list[0], func(err error) {
			if err != nil {
				ss.failLaunch(id, fmt.Sprintf("%s: %v", list[0].Name, err))
				return
			}
			ss.openNext(id, list[1:])
		})
	}
}

// LaunchError has the reason of a failed launch. Nothing of the subcluster is left.
type LaunchError struct {
	Sub kernel.SubID
	Why string
}

func (e *LaunchError) Error() string { return "the launch failed: " + e.Why }

func (ss *subclusters) launchSettled(e kernel.LaunchSettled) {
	if e.Failure != "" {
		ss.log.Error("launch failed", "subcluster", e.Sub, "why", e.Failure)
	} else {
		ss.log.Info("launched", "subcluster", e.Sub)
	}
	fault.Point(fault.LaunchSettled)
	waiting := ss.launches[e.Sub]
	delete(ss.launches, e.Sub)
	for _, tell := range waiting {
		tell(e.Failure)
	}
}

// parse reads a configuration that a vat gives. Paths in it are relative to the declaration of the system
// subclusters.
func (ss *subclusters) parse(ctx context.Context, text []byte) (*cluster.Config, error) {
	name := "launchSubcluster"
	if ss.cfg.System != nil {
		name = ss.cfg.System.Source
	}
	cfg, err := cluster.Parse(name, text)
	if ss.cfg.CheckConfig != nil {
		err = ss.cfg.CheckConfig(ctx, cfg, err)
	}
	return cfg, err
}
