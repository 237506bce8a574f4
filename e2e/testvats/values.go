package testvats

import (
	"context"
	"fmt"
	"math"
	"math/big"

	"ocapkernel.dev/vat"
)

// values gives and takes values and references of every kind.
type values struct {
	vat.Durable
	Things []*thing
	Kept   vat.Ref
	temp   *fleeting `vat:"-"`
}

func newValues() *values { return &values{} }

// Echo returns its argument.
func (v *values) Echo(x any) any { return x }

// All returns values for which JSON has no form, as Go has them.
func (v *values) All() map[string]any {
	huge, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	return map[string]any{
		"$ref": "a key", "beyond": int64(1) << 60, "bytes": []byte("bytes"), "error": fmt.Errorf("an error"),
		"huge": huge, "infinity": math.Inf(-1), "nan": math.NaN(), "nothing": nil, "text": "a\nb\u202e",
	}
}

// Nothing returns nothing.
func (v *values) Nothing() {}

// Fail fails.
func (v *values) Fail(why string) error { return fmt.Errorf("%s", why) }

// Make makes a durable object.
func (v *values) Make(name string) *thing {
	t := &thing{Name: name}
	v.Things = append(v.Things, t)
	return t
}

// Lend makes an object that lives in memory.
func (v *values) Lend() *fleeting {
	v.temp = &fleeting{}
	return v.temp
}

// Names returns the names of the objects that were made.
func (v *values) Names() []string {
	names := []string{}
	for _, t := range v.Things {
		names = append(names, t.Name)
	}
	return names
}

// NameOf returns the name of one of its own objects. The parameter takes no other.
func (v *values) NameOf(t *thing) string { return t.Name }

// Keep keeps a reference to any object.
func (v *values) Keep(r vat.Ref) { v.Kept = r }

// Ask sends a message to the kept reference.
func (v *values) Ask(ctx context.Context, method string, args []any) vat.Promise {
	return vat.Send(ctx, v.Kept, method, args...)
}

// Describe asks any object for its name.
func (v *values) Describe(ctx context.Context, r vat.Ref) (string, error) {
	name, err := vat.Call[string](ctx, r, "describe")
	return "it is " + name, err
}

// thing is a durable object.
type thing struct {
	vat.Durable
	Name string
}

// Describe returns its name.
func (t *thing) Describe() string { return t.Name }

// Rename changes it.
func (t *thing) Rename(name string) { t.Name = name }

// fleeting is an object in memory.
type fleeting struct {
	vat.Ephemeral
	calls int
}

// Hit counts.
func (f *fleeting) Hit() int {
	f.calls++
	return f.calls
}
