package testvats

import "ocapkernel.dev/vat"

// counter counts, durably.
type counter struct {
	vat.Durable
	Count int
}

func newCounter() *counter { return &counter{} }

// Add adds n and returns the sum.
func (c *counter) Add(n int) int {
	c.Count += n
	return c.Count
}

// Get returns the sum.
func (c *counter) Get() int { return c.Count }
