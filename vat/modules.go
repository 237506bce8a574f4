package vat

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
)

// Modules are the kinds of vat that a worker program contains, by the names that a cluster's configuration
// uses. A value is the constructor of the vat's root,
//
//	func([context.Context] [, P]) *Root, or (*Root, error)
//
// or a result of [Module]. The constructor runs once in the life of a vat, as its first delivery; P, if there
// is one, is the type into which encoding/json reads the vat's parameters in the configuration. The constructor
// may send messages, but not await the answers: the vat has no root before the constructor returns.
type Modules map[string]any

// Module returns a module with object types that cannot be found from the fields and methods of its root,
// because only a Ref or an any leads to them. The types are given as pointers, such as (*Purse)(nil). An object
// of a type that is missing here cannot be passed: the error contains the line to write, and a test with
// package vattest fails.
func Module(constructor any, types ...any) any { return module{constructor, types} }

type module struct {
	constructor any
	types       []any
}

// Program checks the modules and returns the worker program that contains them. The error lists all mistakes in
// them, a line each.
func Program(modules Modules) (worker.Program, error) {
	compiled := make(map[string]*liveslots.Module, len(modules))
	var problems []string
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		m, ok := modules[name].(module)
		if !ok {
			m.constructor = modules[name]
		}
		c, err := liveslots.CompileFor(face(), name, m.constructor, m.types...)
		var list liveslots.Problems
		switch {
		case errors.As(err, &list):
			for _, p := range list {
				problems = append(problems, name+": "+p)
			}
		case err != nil:
			problems = append(problems, name+": "+err.Error())
		}
		compiled[name] = c
	}
	if len(modules) == 0 {
		problems = append(problems, "the program has no modules")
	}
	if len(problems) > 0 {
		return worker.Program{}, errors.New(strings.Join(problems, "\n"))
	}
	names := slices.Sorted(maps.Keys(modules))
	return worker.Program{
		Modules: names,
		New: func(start wire.Start, store worker.Store, log *slog.Logger) (worker.Vat, error) {
			m := compiled[start.Module]
			if m == nil {
				return nil, fmt.Errorf("this program has no module %q; it has %s", start.Module, strings.Join(names, ", "))
			}
			return liveslots.New(m, start, store, log), nil
		},
	}, nil
}

// IsWorker reports whether a kernel started this process as a worker program. A program that is a worker
// program and something else as well checks IsWorker first, and calls [Main] if it is true.
func IsWorker() bool { return worker.IsWorker() }

// Main is the whole main function of a worker program. It does not return. If the modules have mistakes, it
// prints all of them and exits with status 2.
func Main(modules Modules) { MainOver(worker.Descriptor, modules) }

// MainOver is [Main] over another transport than the worker's descriptor. Package grpcvat has the other one that the kernel
// knows.
func MainOver(t worker.Transport, modules Modules) {
	p, err := Program(modules)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: the modules of this program cannot be used:\n%v\n", os.Args[0], err)
		os.Exit(2)
	}
	worker.MainOver(t, p)
}
