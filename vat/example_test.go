package vat_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

// Counter counts, and survives restarts.
type Counter struct {
	vat.Durable
	Count int
}

// Increment adds to the count.
func (c *Counter) Increment(by int) (int, error) {
	if by < 0 {
		return 0, errors.New("cannot count backwards")
	}
	c.Count += by
	return c.Count, nil
}

// Boss makes another vat count.
type Boss struct {
	vat.Durable
	Counter vat.Ref
}

// Bootstrap is called once, when the cluster is launched.
func (b *Boss) Bootstrap(vats map[string]vat.Ref) { b.Counter = vats["counter"] }

// Work counts three times and returns the sum of the counter's answers.
func (b *Boss) Work(ctx context.Context) (int, error) {
	sum := 0
	for i := range 3 {
		n, err := vat.Call[int](ctx, b.Counter, "increment", i)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func Example() {
	modules := vat.Modules{
		"counter": func() *Counter { return &Counter{} },
		"boss":    func() *Boss { return &Boss{} },
	}
	// The main function of a worker program is vat.Main(modules). Here the vats run in memory.
	var t testing.B
	k := vattest.New(&t, modules)
	_ = k.Launch("boss", vattest.Vat{Name: "boss", Module: "boss"}, vattest.Vat{Name: "counter", Module: "counter"})
	fmt.Println(k.Call("boss", "work"))
	k.Restart("counter")
	fmt.Println(k.Call("counter", "increment", "1"))
	fmt.Println(k.Call("counter", "increment", "-1"))
	fmt.Println(k.Call("counter", "increment", `"one"`))
	// Output:
	// 4 <nil>
	// 4 <nil>
	//  cannot count backwards
	//  vat_test.Counter.increment: argument 1: want int, got string "one"; it takes increment(int)
}
