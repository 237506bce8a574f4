package cluster

import (
	"fmt"
	"slices"
)

// CheckModules asks for the names of the modules in each worker program, once for each, and returns
// the vats whose module their program does not have, as [*Errors] with the places in the file. The
// argument of modules is the Worker of a [Vat]; if it returns an error, that is the problem of each vat
// with this program.
func CheckModules(cfg *Config, modules func(worker string) ([]string, error)) error {
	type answer struct {
		names []string
		err   error
	}
	answers := map[string]answer{}
	var errs Errors
	for _, v := range cfg.Vats {
		a, asked := answers[v.Worker]
		if !asked {
			a.names, a.err = modules(v.Worker)
			a.names = slices.Sorted(slices.Values(a.names))
			answers[v.Worker] = a
		}
		if a.err == nil && slices.Contains(a.names, v.Module) {
			continue
		}
		errs.add(func() Problem {
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
	return errs.err()
}
