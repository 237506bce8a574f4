package kernel

import (
	"bytes"
	"slices"

	"ocapkernel.dev/errcode"
)

// Reconfiguration describes the changes to a running subcluster. Nothing is removed from it.
type Reconfiguration struct {
	// Vats are the new configurations and policies of vats of the subcluster. A vat that has ended is passed over. A
	// worker gets the new configuration when it is started the next time; the policy holds at once.
	Vats []LaunchVat
	// NewVats and NewServices are added. No vat gets references to them: that is left to the caller.
	NewVats     []LaunchVat
	NewServices []LaunchService
	// Services are the new configurations of service objects of the subcluster; their kinds do not change. An object
	// that has ended is passed over. The caller tells the objects; the next kernel makes them from the new
	// configurations.
	Services []LaunchService
	// Config, Source and Hash take the place of those of the launch.
	Config       []byte
	Source, Hash string
}

// Reconfigured lists the additions and changes of a reconfiguration.
type Reconfigured struct {
	// Vats are the vats that were added, in the order of the reconfiguration.
	Vats []SubclusterVat
	// Services are the objects of the services that were added, in the order of the reconfiguration.
	Services []KRef
	// Configured are the service objects that have another configuration.
	Configured []KRef
}

// Reconfigure changes a running subcluster in place, in one commit. Bootstrap is not called again. The vats go on with
// their memory.
func (m *Machine) Reconfigure(s SubID, r Reconfiguration) (out Reconfigured, c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	sub, cfg := t.sub(s), t.config(s)
	if sub == nil || cfg == nil || sub.state != SubRunning {
		return Reconfigured{}, Commit{}, refuse(errcode.Invalid, "subcluster %s is not running", s)
	}
	has := func(name string) (VatID, bool) {
		i := slices.IndexFunc(sub.members, func(m member) bool { return m.name == name })
		if i < 0 {
			return "", false
		}
		return sub.members[i].vat, true
	}
	n := t.countVats() + uint64(len(r.NewVats))
	if n > maxVats && len(r.NewVats) > 0 {
		return Reconfigured{}, Commit{}, refuse(errcode.Limit, "%d vats, the limit is %d", n, maxVats)
	}
	if err := m.checkConfig(r.Config, slices.Concat(r.Vats, r.NewVats), slices.Concat(r.Services, r.NewServices)); err != nil {
		return Reconfigured{}, Commit{}, err
	}
	for _, lv := range r.NewVats {
		if v, there := has(lv.Name); there {
			return Reconfigured{}, Commit{}, refuse(errcode.Conflict, "subcluster %s has a vat %s already, %s", s, lv.Name, v)
		}
	}
	for _, ls := range r.NewServices {
		if b, there := t.get(keyServiceName(ls.FullName(s))); there && ls.Global == "" {
			return Reconfigured{}, Commit{}, refuse(errcode.Conflict, "subcluster %s has a service %s already, %s", s, ls.Name, b)
		}
	}
	for _, lv := range r.Vats {
		v, there := has(lv.Name)
		if !there {
			continue
		}
		row := t.vat(v)
		row.config = lv.Config
		t.set(keyVat(v), t.codec.encode(row.fields))
		t.run(v).setPolicy(lv)
	}
	for _, ls := range r.Services {
		b, there := t.get(keyServiceName(ls.FullName(s)))
		if !there {
			continue
		}
		if row := t.services.look(t, KRef(b)); row != nil && !row.ended && row.kind == ls.New.Kind && !bytes.Equal(row.config, ls.New.Config) {
			t.service(KRef(b)).config = ls.New.Config
			out.Configured = append(out.Configured, KRef(b))
		}
	}
	if len(r.NewVats) > 0 {
		t.index()
		t.setUint(keyCount, n)
	}
	for _, lv := range r.NewVats {
		v := VatID("v" + num(t.allocate("v")))
		t.addVat(v, s, lv)
		t.effect(Wake{v})
		sub.members = append(sub.members, member{lv.Name, v})
		out.Vats = append(out.Vats, SubclusterVat{lv.Name, v})
	}
	if n := uint64(len(r.NewVats)); n > 0 {
		before, _ := t.uintRow(keyUnstarted(s))
		t.setUint(keyUnstarted(s), before+n)
	}
	for _, ls := range r.NewServices {
		out.Services = append(out.Services, t.launchService(sub, ls))
	}
	cfg.config = r.Config
	t.setConfig(s, cfg)
	sub.source, sub.hash = r.Source, r.Hash
	t.setSub(sub)
	return out, m.done(t), nil
}
