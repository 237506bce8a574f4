package enumeration_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
)

// The orders of an operator in a scenario. After the death of a kernel an order is given again, and may find itself done.

// done is the error of an order, or nil if the order was given again and an earlier kernel has done it.
func done(err error, again bool, codes ...errcode.Code) error {
	for _, code := range codes {
		if again && refused(err, code) {
			return nil
		}
	}
	return err
}

func (p *play) restart(v kernel.VatID, forget bool) {
	p.must("restart", func(k *host.Shell, _ bool) error { return k.Restart(p.ctx, v, forget) })
}

func (p *play) terminateVat(v kernel.VatID) {
	p.must("terminate a vat", func(k *host.Shell, again bool) error {
		return done(k.TerminateVat(p.ctx, v), again, errcode.NotFound)
	})
}

func (p *play) revoke(kref string) {
	p.must("revoke", func(k *host.Shell, _ bool) error { return k.Revoke(p.ctx, kernel.KRef(kref)) })
}

// reload has a subcluster be launched anew, and returns the new one.
func (p *play) reload(sub string) string {
	p.must("reload", func(k *host.Shell, again bool) error {
		_, err := k.Reload(p.ctx, sub)
		return done(err, again, errcode.NotFound, errcode.Conflict)
	})
	p.run()
	return p.newest()
}

func (p *play) reset() {
	p.must("reset", func(k *host.Shell, _ bool) error { return k.Reset(p.ctx) })
	p.run()
}

func (p *play) apply(sub, source, config string) {
	cfg := p.parse(source, config)
	p.must("apply", func(k *host.Shell, _ bool) error {
		_, err := k.Apply(p.ctx, sub, cfg, host.ApplyOptions{})
		return err
	})
}

// replace applies a configuration for which the subcluster is deleted, and returns the one in its place.
func (p *play) replace(sub, source, config string) string {
	cfg := p.parse(source, config)
	p.must("replace", func(k *host.Shell, again bool) error {
		_, err := k.Apply(p.ctx, "", cfg, host.ApplyOptions{Replace: sub})
		return done(err, again, errcode.NotFound)
	})
	p.run()
	return p.newest()
}

// newest is the subcluster that was launched last.
func (p *play) newest() (sub string) {
	p.must("status", func(k *host.Shell, _ bool) error {
		st, err := k.Status(p.ctx)
		sub = ""
		for _, s := range st.Subclusters {
			if id := string(s.ID); len(id) > len(sub) || len(id) == len(sub) && id > sub {
				sub = id
			}
		}
		return err
	})
	return sub
}

// rehearse notes whether the past of a vat is the same again.
func (p *play) rehearse(name string, v kernel.VatID) {
	var lines []string
	p.must("rehearse", func(k *host.Shell, _ bool) (err error) {
		lines, err = k.Rehearse(p.ctx, v)
		return err
	})
	for _, l := range lines {
		if strings.Contains(l, "diverge") {
			p.errorf("the rehearsal says %s", l)
		}
	}
	p.note(name, "rehearsed")
}

func (p *play) acknowledge(ticket string) {
	p.must("acknowledge", func(k *host.Shell, _ bool) error { return k.Acknowledge(p.ctx, "", ticket) })
}

// unpoison takes the only poisoned message away, or has it delivered again.
func (p *play) unpoison(retry bool) {
	p.run()
	p.must("unpoison", func(k *host.Shell, again bool) error {
		list, _, err := k.Poisoned(p.ctx, 0, 10)
		switch {
		case err != nil:
			return err
		case len(list) == 0 && again:
			return nil
		case len(list) != 1:
			return errors.New("there is not one poisoned message")
		}
		return done(k.Unpoison(p.ctx, list[0].N, retry), again, errcode.NotFound)
	})
}

// systems are the declarations that were read so far, by their text. They are all read from one directory: its path is stored.
var systems = map[string]*cluster.System{}

// system has later kernels declare one system subcluster.
func (p *play) system(config string) {
	sys := systems[config]
	if sys == nil {
		for name, text := range map[string]string{"kernel.json": `{"system": {"sys": "sys.json"}}`, "sys.json": config} {
			if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600); err != nil {
				p.fatalf("%v", err)
			}
		}
		var err error
		if sys, err = cluster.LoadSystem(filepath.Join(directory, "kernel.json")); err != nil {
			p.fatalf("%v", err)
		}
		systems[config] = sys
	}
	p.change = func(c *host.Config) { c.System, c.UpgradeSystem = sys, true }
}

// ready returns the system subcluster when it runs.
func (p *play) ready() (sub string) {
	p.must("be ready", func(k *host.Shell, _ bool) error {
		if err := k.SystemReady(p.ctx); err != nil {
			return err
		}
		list, err := k.SystemList(p.ctx)
		if err == nil && len(list) == 1 {
			sub = string(list[0].Sub)
		}
		return err
	})
	return sub
}

// fails notes how a launch fails.
func (p *play) fails(source, config string) {
	cfg := p.parse(source, config)
	p.noteError("launch of "+source, p.do(func(k *host.Shell, _ bool) error {
		_, err := k.Ensure(p.ctx, cfg)
		return err
	}))
}

// hold has a thing keep a reference.
func (p *play) hold(ticket, thing, ref string) {
	body, err := capdata.EncodeCall("hold", []any{capdata.Remotable{Slot: 0}})
	if err != nil {
		p.fatalf("%v", err)
	}
	p.askData(ticket, thing, kernel.Data{Body: body, Slots: []kernel.KRef{kernel.KRef(ref)}})
	p.answer(ticket)
}

// value is a value that is written as JSON.
func value(text string) any {
	v, err := capdata.FromJSON([]byte(text), nil)
	if err != nil {
		panic(err)
	}
	return v
}
