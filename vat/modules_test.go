//lint:file-ignore U1000 some fields are there to be found wanting

package vat_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
)

type Lost struct {
	vat.Durable
	lost int
}

func TestProgram(t *testing.T) {
	_, err := vat.Program(vat.Modules{
		"good": func() *Counter { return &Counter{} },
		"lost": func() *Lost { return &Lost{} },
		"odd":  vat.Module(func() *Counter { return &Counter{} }, 3),
		"no":   4,
	})
	want := "lost: vat_test.Lost.lost is unexported and would be lost: export it, or declare it transient with the tag `vat:\"-\"`\n" +
		"no: the constructor is int, not a function\n" +
		"odd: int is not a pointer to a struct that embeds Durable or Ephemeral"
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := vat.Program(nil); err == nil || err.Error() != "the program has no modules" {
		t.Errorf("no modules: got %v", err)
	}
	p, err := vat.Program(vat.Modules{"b": func() *Counter { return &Counter{} }, "a": vat.Module(func() *Boss { return &Boss{} }, (*Counter)(nil))})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, p.Modules); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := p.New(wire.Start{Module: "c"}, nil, nil); err == nil || err.Error() != `this program has no module "c"; it has a, b` {
		t.Errorf("unknown module: got %v", err)
	}
}
