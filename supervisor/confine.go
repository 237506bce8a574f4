package supervisor

import (
	"fmt"
	"log/slog"
	"strings"

	"ocapkernel.dev/supervisor/sandbox"
	"ocapkernel.dev/workers"
)

// policyOf returns the confinement of a worker: that of the kernel, or the stricter one of the vat.
func (s *Supervisor) policyOf(spec workers.Spec) (sandbox.Policy, error) {
	p := s.cfg.Sandbox
	if spec.Sandbox == "" {
		return p, nil
	}
	mode, ok := sandbox.ParseMode(spec.Sandbox)
	if !ok {
		return p, fmt.Errorf("sandbox: %q is no mode", clean(spec.Sandbox, 80))
	}
	p.Mode = max(p.Mode, mode)
	return p, sandbox.CanConfine(p.Mode)
}

// workerEnv lists the variables by which the kernel tells a worker how to confine itself, beside the inherited ones, of which it
// changes GODEBUG: the Go runtime would keep descriptors on the files of its cgroup open, to read them from time to time.
func workerEnv(inherited []string, p sandbox.Policy) []string {
	if p.Mode == sandbox.Off {
		return inherited
	}
	env := []string{sandbox.Key + "=" + p.String()}
	debug := "containermaxprocs=0,updatemaxprocs=0"
	for _, v := range inherited {
		if old, ok := strings.CutPrefix(v, "GODEBUG="); ok {
			debug = old + "," + debug
			continue
		}
		env = append(env, v)
	}
	return append(env, "GODEBUG="+debug)
}

// logSandbox says at the start of a kernel which layers of confinement its workers have, and why they lack others.
func logSandbox(log *slog.Logger, mode sandbox.Mode) {
	if mode == sandbox.Off {
		log.Debug("workers are not confined", "sandbox", mode)
		return
	}
	active, missing := Layers(mode)
	log.Info("workers are confined", "sandbox", mode, "layers", strings.Join(active, " "))
	for _, why := range missing {
		log.Warn("a layer of confinement is missing", "why", why)
	}
}

// Layers returns the names of the layers that confine workers in that mode, and for each other layer why it does not.
func Layers(mode sandbox.Mode) (active, missing []string) {
	for _, l := range sandbox.Offered() {
		switch {
		case mode == sandbox.Off:
			missing = append(missing, l.Layer+": sandbox is off")
		case l.Why != "":
			missing = append(missing, l.Layer+": "+l.Why)
		default:
			active = append(active, l.Layer)
		}
	}
	return active, missing
}

// verifyConfined checks from outside that a worker which has said hello is confined as it must be. One that has ended is not.
func (w *worker) verifyConfined() error {
	return w.policy.Verify(w.Pid())
}
