package host

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
)

// programs asks worker programs for their modules, each once. It is for one question of a person or a vat: the next one
// may find other programs.
type programs struct {
	modules func(ctx context.Context, program, sha256 string) ([]string, error)

	mu      sync.Mutex
	answers map[program]func() ([]string, error)
}

// program is a worker program, with the hash that it must have.
type program struct{ path, sha256 string }

// programs returns nil if nothing is known of worker programs.
func (ss *subclusters) programs() *programs {
	if ss.cfg.Modules == nil {
		return nil
	}
	return &programs{modules: ss.cfg.Modules, answers: map[program]func() ([]string, error){}}
}

// check returns a refusal if the worker program of a vat is missing, is another one than it must be, or has not got the
// vat's module. It executes the programs, and must not be called in the loop.
func (p *programs) check(ctx context.Context, cfg *cluster.Config) error {
	for _, v := range cfg.Vats {
		if v.Module == "" {
			continue
		}
		modules, err := p.ask(ctx, program{v.Worker, v.SHA256})
		switch {
		case err != nil:
			return &kernel.Refusal{Code: errcode.Invalid, Detail: fmt.Sprintf("vat %s of %s could not be started: %v", v.Name, cfg.Source, err)}
		case !slices.Contains(modules, v.Module):
			name := v.Worker
			if name == "" {
				name = "the stock worker program"
			}
			return &kernel.Refusal{Code: errcode.Invalid, Detail: fmt.Sprintf("vat %s of %s could not be started: %s has no module %q", v.Name, cfg.Source, name, v.Module)}
		}
	}
	return nil
}

// checkStartable refuses a vat whose worker program is missing, has another hash than configured, or lacks the vat's
// module. It executes the program, and is not called in the loop.
func (vs *vats) checkStartable(ctx context.Context, id kernel.VatID) error {
	cfg, err := look(ctx, vs.core, func() (*cluster.Config, error) {
		v, found, err := vs.machine.Vat(id)
		if err != nil || !found {
			return &cluster.Config{}, nil // Restart says so
		}
		stored, err := cluster.UnmarshalStored(v.Config)
		stored.Name = v.Name
		return &cluster.Config{Source: string(v.Sub), Vats: []cluster.Vat{stored}}, err
	})
	if p := vs.subs.programs(); p != nil && err == nil {
		err = p.check(ctx, cfg)
	}
	return err
}

func (p *programs) ask(ctx context.Context, which program) ([]string, error) {
	p.mu.Lock()
	answer := p.answers[which]
	if answer == nil {
		answer = sync.OnceValues(func() ([]string, error) { return p.modules(ctx, which.path, which.sha256) })
		p.answers[which] = answer
	}
	p.mu.Unlock()
	return answer()
}
