package liveslots_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/vat"
)

// Finder holds objects where nothing passes or saves them.
type Finder struct {
	vat.Durable
	kept   []*InField             `vat:"-"`
	byName map[string]func() held `vat:"-"`
	B      vat.Ref
}

type held struct{ inner chan *InHeld }

// InField and InHeld are found, Nowhere is not. Flawed cannot be an object of the module.
type (
	InField struct {
		vat.Durable
		further *Further `vat:"-"`
	}
	InHeld  struct{ vat.Ephemeral }
	Further struct{ vat.Durable }
	Nowhere struct{ vat.Durable }
	Flawed  struct {
		vat.Durable
		lost int
	}
)

func NewFinder() *Finder { return &Finder{} }

func (f *Finder) Bootstrap(vats map[string]vat.Ref) { f.B = vats["b"] }

func (f *Finder) Make(ctx context.Context, what string) any {
	f.kept, f.byName = nil, nil
	switch what {
	case "field":
		return &InField{further: nil}
	case "held":
		h := held{}
		_ = h.inner
		return &InHeld{}
	case "further":
		return &Further{}
	case "nowhere":
		return &Nowhere{}
	case "flawed":
		return &Flawed{lost: 1}
	}
	return nil
}

func (f *Finder) SendNowhere(ctx context.Context) vat.Promise {
	return vat.Send(ctx, f.B, "echo", &Nowhere{})
}

func (f *Finder) ToNowhere(ctx context.Context) vat.Promise { return vat.Send(ctx, &Nowhere{}, "x") }

func (f *Finder) WhenNowhere(ctx context.Context) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, f.B, "echo", 1), &Nowhere{}, "x")
}

func (f *Finder) InValue(ctx context.Context) any {
	return map[string]any{"x": []any{&Nowhere{}}}
}

func TestTypesThatOnlyMemoryHoldsAreFound(t *testing.T) {
	k := launch(t, NewFinder)
	for _, what := range []string{"field", "held", "further"} {
		if got := result(k.Call("lab", "make", `"`+what+`"`)); !strings.HasPrefix(got, `{"$ref":"ko`) {
			t.Errorf("%s: got %s", what, got)
		}
	}
}

// An object type that the module does not know fails the test, and the error has the line to write.
func TestUnknownTypeIsComplainedOf(t *testing.T) {
	const write = "*liveslots_test.Nowhere is an object type that module lab does not know, since no field and no method of its objects has it: " +
		"name it where the module is registered, as in vat.Module(New, (*liveslots_test.Nowhere)(nil))"
	for _, c := range []struct {
		method, want string
		args         []string
	}{
		{"make", "error: liveslots_test.Finder.make: the result cannot be passed: " + write, []string{`"nowhere"`}},
		{"inValue", `error: liveslots_test.Finder.inValue: the result cannot be passed: "x": [0]: ` + write, nil},
		{"sendNowhere", "error: send echo: argument 1: " + write, nil},
		{"toNowhere", "error: send x: the target is no Ref, Promise or object: " + write, nil},
		{"whenNowhere", "error: when x: " + write, nil},
	} {
		t.Run(c.method, func(t *testing.T) {
			k := launch(t, NewFinder)
			var complaints []string
			k.OnComplaint = func(vat, text string) { complaints = append(complaints, vat+": "+text) }
			want(t, k, c.want, "lab", c.method, c.args...)
			if diff := cmp.Diff([]string{"lab: " + write}, complaints[:min(1, len(complaints))]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, err := liveslots.Compile("m", NewFinder, (*Nowhere)(nil), (*Flawed)(nil)); err == nil || !strings.Contains(err.Error(), "Flawed.lost is unexported") {
		t.Errorf("got %v", err)
	}
}
