package testvats

import "ocapkernel.dev/vat"

// Counter counts, durably.
type Counter struct {
	vat.Durable
	Count int
}

// NewCounter makes one that has counted nothing.
func NewCounter() *Counter { return &Counter{} }

// Add adds n and returns the sum.
func (c *Counter) Add(n int) int {
	c.Count += n
	return c.Count
}

// Get returns the sum.
func (c *Counter) Get() int { return c.Count }
