package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CheckModules takes the results of [Load] or [Parse], and adds a mistake for each vat whose module its worker
// program does not have, also if there are other mistakes already. modules returns the modules of a worker
// program, and is called once for each program. Its arguments are the Worker and SHA256 of a [Vat]: a program
// with another hash must not be executed. If modules returns an error, that is the mistake of each vat with
// this program. The error is [*Errors].
func CheckModules(cfg *Config, err error, modules func(worker, sha256 string) ([]string, error)) error {
	errs, cfg := resume(cfg, err)
	if errs == nil {
		return err
	}
	errs.checkModules(cfg, modules)
	return errs.err()
}

// resume returns the mistakes so far, and the configuration in which to find more; or nil, if the configuration
// could not be read at all.
func resume(cfg *Config, err error) (*Errors, *Config) {
	if err == nil {
		return &Errors{partial: cfg}, cfg
	}
	errs := (*Errors)(nil)
	if !errors.As(err, &errs) || errs.partial == nil {
		return nil, nil
	}
	return errs, errs.partial
}

// checkable reports whether the program and the module of a vat are known.
func (e *Errors) checkable(cfg *Config, v Vat) bool {
	path := cfg.doc.full("vats." + v.Name)
	return v.Module != "" && !slices.ContainsFunc(e.Problems, func(p Problem) bool {
		return p.Field == path || p.Field == path+".worker" || p.Field == path+".module"
	})
}

func (e *Errors) checkModules(cfg *Config, modules func(worker, sha256 string) ([]string, error)) {
	type answer struct {
		names []string
		err   error
	}
	type question struct{ worker, sha256 string }
	answers := map[question]answer{}
	for _, v := range cfg.Vats {
		if !e.checkable(cfg, v) {
			continue
		}
		q := question{v.Worker, strings.ToLower(v.SHA256)}
		a, asked := answers[q]
		if !asked {
			a.names, a.err = modules(v.Worker, v.SHA256)
			a.names = slices.Sorted(slices.Values(a.names))
			answers[q] = a
		}
		if a.err == nil && slices.Contains(a.names, v.Module) {
			continue
		}
		e.add(func() Problem {
			path := "vats." + v.Name
			switch {
			case a.err != nil && v.Worker != "":
				return cfg.ProblemAt(path+".worker", fmt.Sprintf("cannot ask the program for its modules: %v", a.err))
			case a.err != nil:
				return cfg.ProblemAt(path, fmt.Sprintf("cannot ask the stock worker program for its modules: %v", a.err))
			default:
				return cfg.ProblemAt(path+".module", fmt.Sprintf("unknown module %q: %s", v.Module, suggest(v.Module, a.names)))
			}
		})
	}
}
