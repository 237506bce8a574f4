package enumeration_test

import (
	"context"
	"fmt"
	"sync"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/worker"
)

// laterActor is the actor of a later program.
type laterActor struct {
	vat.Durable                             `vat:"formerly enumeration_test.actor"`
	Peer, Third, Ledger, Line, Timer, Facet vat.Ref
	Sum                                     int
	Log                                     []string
	Kept                                    vat.Map[string, vat.Ref]
	Things                                  vat.Map[string, *thing]
	Doubled                                 bool
}

// laterActors is a later version of the program.
var laterActors = sync.OnceValue(func() worker.Program {
	return program(vat.Modules{"actor": func() *laterActor { return &laterActor{} }})
})

// Add adds to the sum, twice.
func (a *laterActor) Add(n int) int {
	a.Sum, a.Doubled = a.Sum+2*n, true
	return a.Sum
}

// Tell tells what was noted.
func (a *laterActor) Tell() []string { return a.Log }

// Heard notes an outcome.
func (a *laterActor) Heard(_ context.Context, o vat.Outcome[any], what string) int {
	v, err := o.Get()
	a.Log = append(a.Log, fmt.Sprint("later ", what, " ", v, err))
	return len(a.Log)
}
