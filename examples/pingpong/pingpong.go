// Package pingpong is two vats that send a number to and fro: the smallest conversation, which the benchmarks
// measure.
package pingpong

import (
	"context"

	"ocapkernel.dev/vat"
)

// Modules are the kinds of vat: ping asks, pong answers.
func Modules() vat.Modules {
	return vat.Modules{"pingpong.ping": NewPing, "pingpong.pong": NewPong}
}

// Ping asks its pong.
type Ping struct {
	vat.Durable
	Pong vat.Ref
}

// NewPing makes a ping without a pong.
func NewPing() *Ping { return &Ping{} }

// Bootstrap introduces the pong.
func (p *Ping) Bootstrap(vats map[string]vat.Ref) { p.Pong = vats["pong"] }

// Play plays a number of rounds, one after the other, and returns the count of pong.
func (p *Ping) Play(ctx context.Context, rounds int) (count int, err error) {
	for range rounds {
		if count, err = vat.Call[int](ctx, p.Pong, "ping"); err != nil {
			return 0, err
		}
	}
	return count, nil
}

// Rally begins an exchange of n strokes in which no turn waits for an answer: between its deliveries each vat
// is at rest.
func (p *Ping) Rally(ctx context.Context, n int) { vat.Send(ctx, p.Pong, "hit", n, vat.RefOf(ctx, p)) }

// Hit returns the ball while there are strokes left.
func (p *Ping) Hit(ctx context.Context, n int, back vat.Ref) { hit(ctx, n, back, p) }

// hit sends the ball back to the vat from which it came.
func hit(ctx context.Context, n int, back vat.Ref, self any) {
	if n > 0 {
		vat.Send(ctx, back, "hit", n-1, vat.RefOf(ctx, self))
	}
}

// Pong counts.
type Pong struct {
	vat.Durable
	Count int
}

// NewPong makes a pong that has counted nothing yet.
func NewPong() *Pong { return &Pong{} }

// Hit returns the ball while there are strokes left.
func (p *Pong) Hit(ctx context.Context, n int, back vat.Ref) {
	p.Count++
	hit(ctx, n, back, p)
}

// Ping counts one more and returns the count.
func (p *Pong) Ping() int {
	p.Count++
	return p.Count
}
