package host

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// registry holds the services of this run, by name. Its registrations may be read from any goroutine.
type registry struct {
	*core
	objects *objects
	// byName is replaced, and never changed.
	byName atomic.Pointer[map[string]service.Registration]
}

// fill registers the facet, and the services that the kernel begins with.
func (reg *registry) fill(facet service.Object, err error) error {
	if err != nil {
		return err
	}
	all := map[string]service.Registration{FacetName: {Object: facet, SystemOnly: true}}
	for name, s := range reg.cfg.Services { // into another map: order does not matter
		if _, taken := reg.cfg.Kinds[name]; taken || name == FacetName || s.Object == nil {
			return fmt.Errorf("service %q: the name is taken by a built-in one, or there is no object", name)
		}
		all[name] = s
	}
	reg.byName.Store(&all)
	return nil
}

// registered returns the services of this run, by name. The map is not changed.
func (reg *registry) registered() map[string]service.Registration { return *reg.byName.Load() }

// ofOwnKind reports whether each subcluster has an object of its own of a service.
func (reg *registry) ofOwnKind(name string) bool {
	kind := reg.cfg.Kinds[name]
	return kind.Open != nil && kind.Service
}

// mayHave reports whether a service is registered in this run for such a subcluster.
func (reg *registry) mayHave(name string, system bool) bool {
	s, ok := reg.registered()[name]
	return ok && (system || !s.SystemOnly)
}

// ServiceNames is [Shell.ServiceNames].
func (reg *registry) ServiceNames(system bool) []string {
	var names []string
	for name := range reg.registered() {
		if reg.mayHave(name, system) {
			names = append(names, name)
		}
	}
	for name := range reg.cfg.Kinds {
		if reg.ofOwnKind(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Register is [Shell.Register].
func (reg *registry) Register(ctx context.Context, name string, s service.Registration) error {
	_, err := ask(ctx, reg.core, func(done func(struct{}, error)) {
		_, kind := reg.cfg.Kinds[name]
		_, taken := reg.registered()[name]
		if kind || taken || s.Object == nil || !cluster.ValidServiceName(name) {
			detail := fmt.Sprintf("service %q: there is one of this name already", name)
			switch {
			case s.Object == nil:
				detail = fmt.Sprintf("service %q has no object", name)
			case !kind && !taken:
				detail = fmt.Sprintf("service %q: a name is a letter, then up to 63 letters, digits, _, - and .", name)
			}
			done(struct{}{}, &kernel.Refusal{Code: errcode.Invalid, Detail: detail})
			return
		}
		all := maps.Clone(reg.registered())
		all[name] = s
		reg.byName.Store(&all)
		reg.log.Info("service registered", "service", name)
		kref, err := reg.machine.ServiceNamed(name)
		if err != nil {
			reg.refuse(err, func(err error) { done(struct{}{}, err) })
			return
		}
		if kref != "" {
			reg.objects.beginRefused(kref)
		}
		done(struct{}{}, nil)
	})
	return err
}

// Unregister is [Shell.Unregister].
func (reg *registry) Unregister(ctx context.Context, name string) error {
	return change(ctx, reg.core, func() (kernel.Commit, error) {
		if name == FacetName {
			return kernel.Commit{}, &kernel.Refusal{Code: errcode.Invalid, Detail: fmt.Sprintf("%s is the kernel's own service, and stays", name)}
		}
		if _, ok := reg.registered()[name]; !ok {
			return kernel.Commit{}, &kernel.Refusal{Code: errcode.NotFound, Detail: fmt.Sprintf("there is no service %q", name)}
		}
		left := maps.Clone(reg.registered())
		delete(left, name)
		reg.byName.Store(&left)
		kref, err := reg.machine.ServiceNamed(name)
		if err != nil || kref == "" {
			return kernel.Commit{}, err
		}
		return reg.machine.EndService(kref)
	})
}
