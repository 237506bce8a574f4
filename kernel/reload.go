package kernel

import (
	"fmt"

	"ocapkernel.dev/errcode"
)

// A Reload is a subcluster that is removed to be launched again.
type Reload struct {
	Sub SubID
	// System is its name, if it is a system subcluster. Source tells where the configuration came from.
	System, Source string
	// Config is what is to be launched. [View.Reloads] leaves it out, but for a reload that an earlier version has stored,
	// whose Source is not known.
	Config []byte
	// By, if not zero, is the call of a service object that waits for it.
	By CallID
	// Gone says that no row of the old one is left: the launch can start.
	Gone bool
	// Corrupt says why the configuration to be launched cannot be read. Then only Sub is set.
	Corrupt error
}

func (t *tx) config(s SubID) *config {
	b, ok := t.get(keyConfig(s))
	if !ok {
		return nil
	}
	c := &config{}
	if !t.decoded(keyConfig(s), func() { t.codec.decode(keyConfig(s), b, c.fields) }) {
		return &config{} // to be removed
	}
	return c
}

// Config returns the configuration with which a subcluster was launched.
func (q *View) Config(s SubID) (b []byte, found bool, err error) {
	defer caught(&err)
	if c := q.begin(0).config(s); c != nil {
		return c.config, true, nil
	}
	return nil, false, nil
}

// Reload removes a running subcluster, to be launched again from its configuration: [View.Reloads] lists
// it until a launch has replaced it, or DropReload gives up. So a crash in between forgets nothing.
func (m *Machine) Reload(s SubID) (c Commit, err error) { return m.ReloadBy(s, CallID{}) }

// ReloadBy is Reload for a call of a service object: the call is settled, as with [Launch].By, in the commit in which
// the new subcluster runs, or in the commit that gives up.
func (m *Machine) ReloadBy(s SubID, by CallID) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	sub, cfg := t.sub(s), t.config(s)
	switch {
	case sub == nil || cfg == nil:
		return Commit{}, refuse(errcode.NotFound, "there is no subcluster %s", s)
	case sub.state != SubRunning:
		return Commit{}, refuse(errcode.Invalid, "subcluster %s is not running", s)
	}
	cfg.by = by
	t.reload(sub, cfg, sub.source, "its subcluster is loaded anew")
	return m.done(t), nil
}

// Replace is Reload with another configuration, which takes the place of the old one in the same commit: when the old
// subcluster is gone, this kernel or a later one launches the new configuration. l is refused here if Launch would
// refuse its contents.
func (m *Machine) Replace(s SubID, l Launch) (c Commit, err error) {
	defer caught(&err)
	if err := m.checkConfig(l.Config, l.Vats, l.Services); err != nil {
		return Commit{}, err
	}
	t := m.begin(0)
	sub, cfg := t.sub(s), t.config(s)
	if sub == nil || cfg == nil || sub.state != SubRunning {
		return Commit{}, refuse(errcode.Invalid, "subcluster %s is not running", s)
	}
	if n := t.countVats() - uint64(len(sub.members)) + uint64(len(l.Vats)); n > maxVats {
		return Commit{}, refuse(errcode.Limit, "%d vats, the limit is %d", n, maxVats)
	}
	cfg.config = l.Config
	t.reload(sub, cfg, l.Source, "its subcluster is replaced")
	return m.done(t), nil
}

// reload ends a subcluster that is to be launched again from a configuration of that source.
func (t *tx) reload(sub *subcluster, cfg *config, source, why string) {
	cfg.reload = true
	t.setReload(sub.id, cfg, source)
	t.terminate(sub, why)
}

// Reloads lists the subclusters that are to be launched again, in the order of their keys, including those whose rows
// cannot be read. Their configurations, which may be large, are not read: only [View.ReloadOf] finds out that one of them is
// damaged, or missing.
func (q *View) Reloads() (out []Reload, err error) {
	defer caught(&err)
	t := q.begin(0)
	if !t.indexed() {
		for _, s := range t.reloads() {
			out = append(out, t.pending(s))
		}
		return out, nil
	}
	for rest, b := range t.all("reload.", "") {
		s := SubID(rest)
		var p pendingReload
		if len(b) == 0 || readable(func() { t.codec.decode(keyReload(s), b, p.fields) }) != nil {
			out = append(out, t.pending(s))
			continue
		}
		r := Reload{Sub: s, System: p.system, Source: p.source, By: p.by}
		r.Corrupt = readable(func() { r.Gone = t.sub(s) == nil })
		out = append(out, r)
	}
	return out, nil
}

// ReloadOf returns a subcluster that is to be launched again, with its configuration. found is false if s is none.
func (q *View) ReloadOf(s SubID) (r Reload, found bool, err error) {
	defer caught(&err)
	t := q.begin(0)
	if r = t.pending(s); r.Corrupt == nil && r.Config == nil {
		return Reload{}, false, nil
	}
	return r, true, nil
}

// pending reads a subcluster that is to be launched again. Its Config is nil if it is none.
func (t *tx) pending(s SubID) Reload {
	r := Reload{Sub: s}
	r.Corrupt = readable(func() {
		c := t.config(s)
		if _, listed := t.get(keyReload(s)); listed && (c == nil || !c.reload) {
			t.codec.corrupt(fmt.Errorf("%s: %w", keyConfig(s), errMissing))
		}
		if c != nil && c.reload {
			r = Reload{Sub: s, System: c.system, Config: append([]byte{}, c.config...), By: c.by, Gone: t.sub(s) == nil}
		}
	})
	return r
}

// DropReload gives up launching a subcluster again, also while the old one is still on its way out. Nothing happens if
// [View.Reloads] does not list it. why is the reason for the call that waits for it.
func (m *Machine) DropReload(s SubID, why string) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	if !t.dropReload(s, why) {
		return Commit{}, nil
	}
	return m.done(t), nil
}

func (t *tx) dropReload(s SubID, why string) (dropped bool) {
	var cfg *config
	if readable(func() { cfg = t.config(s) }) != nil {
		t.deleteConfig(s) // the subcluster cannot be launched any more, and its call cannot be told
		return true
	}
	if cfg == nil || !cfg.reload {
		if _, listed := t.get(keyReload(s)); listed { // the configuration is missing
			t.delete(keyReload(s))
			return true
		}
		return false
	}
	t.answerCall(cfg.by, func() Completion { return launchFailure(why) })
	t.deleteConfig(s) // the subcluster is gone, or going, and needs it no more
	return true
}
