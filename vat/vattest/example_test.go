package vattest_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

// Printer counts pages.
type Printer struct {
	vat.Durable
	Pages int
}

// Print prints, and returns the number of pages so far.
func (p *Printer) Print(text string) int { p.Pages++; return p.Pages }

// Office prints the notes of its staff.
type Office struct {
	vat.Durable
	Printer vat.Ref
	Notes   map[string]string
}

// Bootstrap gets the printer.
func (o *Office) Bootstrap(vats map[string]vat.Ref) {
	o.Printer = vats["printer"]
	o.Notes = map[string]string{}
	for _, name := range strings.Fields("ann bea cid dee eve fay gus hal ida jim") {
		o.Notes[name] = "a note of " + name
	}
}

// Careless prints in the order of a map. In another worker that is another one.
func (o *Office) Careless(ctx context.Context) (pages int, err error) {
	for name := range o.Notes {
		if pages, err = vat.Call[int](ctx, o.Printer, "print", o.Notes[name]); err != nil {
			return 0, err
		}
	}
	return pages, nil
}

// Careful prints in the order of the names.
func (o *Office) Careful(ctx context.Context) (pages int, err error) {
	for _, name := range slices.Sorted(maps.Keys(o.Notes)) {
		if pages, err = vat.Call[int](ctx, o.Printer, "print", o.Notes[name]); err != nil {
			return 0, err
		}
	}
	return pages, nil
}

func ExampleKernel_killAlways() {
	var t testing.B // in a test, the t of the test
	k := vattest.New(&t, vat.Modules{
		"office":  func() *Office { return &Office{} },
		"printer": func() *Printer { return &Printer{} },
	})
	_ = k.Launch("office", vattest.Vat{Name: "office", Module: "office"}, vattest.Vat{Name: "printer", Module: "printer"})

	k.KillAlways = true
	fmt.Println(k.Call("office", "careful")) // ten awaits, and a kill after each

	k.OnDivergence = func(vat string, err error) {
		where, _, _ := strings.Cut(err.Error(), " was recorded with")
		fmt.Printf("%s did something else: %s\n", vat, where)
	}
	fmt.Println(k.Call("office", "careless"))
	// Output:
	// 10 <nil>
	// office did something else: delivery 14 (message to o+0: #["careless",[]])
	//  [KERNEL:VAT_RESTARTED] vat v1 was restarted and has lost what would have answered
}
