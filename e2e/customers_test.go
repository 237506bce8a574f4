package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// customers order transfers from the bank of a site. Each repeats an order until it is answered, and orders the next one
// then, until they leave.
type customers struct {
	dir      string
	orders   [][]transfer // by customer
	failures chan error
	answered atomic.Int64
	leave    context.CancelFunc
	wg       sync.WaitGroup
}

// newCustomers lets n customers come.
func newCustomers(t *testing.T, dir string, n int, seed uint64) *customers {
	ctx, leave := context.WithCancel(t.Context())
	c := &customers{dir: dir, orders: make([][]transfer, n), failures: make(chan error, n), leave: leave}
	for i := range n {
		r := rand.New(rand.NewPCG(seed, uint64(i)+1))
		c.wg.Go(func() {
			for at := 0; ctx.Err() == nil; at++ {
				tr := transfer{from: r.IntN(3), to: r.IntN(3), amount: 1 + r.IntN(5)}
				id := fmt.Sprintf("c%d-%d", i, at)
				if err := order(dir, id, &tr); err != nil {
					c.failures <- fmt.Errorf("transfer %s: %w", id, err)
					return
				}
				c.orders[i] = append(c.orders[i], tr)
				c.answered.Add(1)
			}
		})
	}
	return c
}

// areServed waits until at least n orders were answered altogether.
func (c *customers) areServed(t *testing.T, n int64) {
	t.Helper()
	eventually(t, func() error {
		if got := c.answered.Load(); len(c.failures) == 0 && got < n {
			return fmt.Errorf("%d transfers are answered, want %d", got, n)
		}
		return nil
	})
	c.areWell(t)
}

// areServedMore waits until ten more orders were answered.
func (c *customers) areServedMore(t *testing.T) {
	t.Helper()
	c.areServed(t, c.answered.Load()+10)
}

// areWell fails the test if a customer was given a wrong answer, or none for ever.
func (c *customers) areWell(t *testing.T) {
	t.Helper()
	select {
	case err := <-c.failures:
		t.Fatal(err)
	default:
	}
}

// settle lets the customers leave, and checks that the balances agree with the answers.
func (c *customers) settle(t *testing.T) {
	t.Helper()
	c.leave()
	c.wg.Wait()
	c.areWell(t)
	checkBank(t, c.dir, c.orders)
}
