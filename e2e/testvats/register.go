package testvats

import (
	"context"

	"ocapkernel.dev/vat"
)

// register keeps a number. One that has another register behind it passes everything on to that, and waits.
type register struct {
	vat.Durable
	Value  int
	Behind vat.Ref
	// Stale says that every third read has the value before the last change.
	Stale         bool
	Former, Reads int
}

func newRegister() *register { return &register{} }

// newStale makes a register that is none.
func newStale() *register { return &register{Stale: true} }

// Bootstrap puts the register behind behind this one.
func (r *register) Bootstrap(vats map[string]vat.Ref) { r.Behind = vats["behind"] }

// Read returns the number.
func (r *register) Read(ctx context.Context) (int, error) {
	if !r.Behind.IsZero() {
		return vat.Call[int](ctx, r.Behind, "read")
	}
	if r.Reads++; r.Stale && r.Reads%3 == 0 {
		return r.Former, nil
	}
	return r.Value, nil
}

// Write changes the number.
func (r *register) Write(ctx context.Context, n int) error {
	if !r.Behind.IsZero() {
		_, err := vat.Call[vat.None](ctx, r.Behind, "write", n)
		return err
	}
	r.Former, r.Value = r.Value, n
	return nil
}

// Cas changes the number from was to now, and returns whether it was that.
func (r *register) Cas(ctx context.Context, was, now int) (bool, error) {
	if !r.Behind.IsZero() {
		return vat.Call[bool](ctx, r.Behind, "cas", was, now)
	}
	if r.Value != was {
		return false, nil
	}
	r.Former, r.Value = was, now
	return true, nil
}
