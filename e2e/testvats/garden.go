package testvats

import (
	"context"

	"ocapkernel.dev/vat"
)

// garden is a vat whose plants come and go, and which visits another garden.
type garden struct {
	vat.Durable
	Peer   vat.Ref
	Plants vat.Map[int, *plant]
	Kept   vat.Map[string, vat.Ref]
	Count  int
}

// plant is an object of a garden. Next leads to another one, if there is one.
type plant struct {
	vat.Durable
	Garden *garden
	Number int
	Next   *plant
}

func newGarden() *garden { return &garden{} }

// Bootstrap introduces the other garden.
func (g *garden) Bootstrap(vats map[string]vat.Ref) { g.Peer = vats["garden"] }

// Planted returns how many plants there ever were.
func (g *garden) Planted() int { return g.Count }

// Open plants something for a visitor, who closes it.
func (g *garden) Open(ctx context.Context) (*plant, error) {
	g.Count++
	p := &plant{Garden: g, Number: g.Count}
	return p, g.Plants.Set(ctx, p.Number, p)
}

// Keep opens a plant of the other garden, keeps it, and returns it.
func (g *garden) Keep(ctx context.Context) (vat.Ref, error) {
	p, err := vat.Call[vat.Ref](ctx, g.Peer, "open")
	if err != nil {
		return p, err
	}
	return p, g.Kept.Set(ctx, "it", p)
}

// Lose forgets the plant that was kept, and does not close it.
func (g *garden) Lose(ctx context.Context) { g.Kept.Delete(ctx, "it") }

// Water does the plant good.
func (p *plant) Water() int { return p.Number }

// Close takes the plant from the garden.
func (p *plant) Close(ctx context.Context) { p.Garden.Plants.Delete(ctx, p.Number) }

// Replant plants something n times, and takes it away again.
func (g *garden) Replant(ctx context.Context, n int) error {
	for range n {
		p, err := g.Open(ctx)
		if err != nil {
			return err
		}
		p.Close(ctx)
	}
	return nil
}

// Ring plants n plants that lead to each other in a circle, and takes them away again.
func (g *garden) Ring(ctx context.Context, n int) error {
	ring := make([]*plant, n)
	for i := range ring {
		p, err := g.Open(ctx)
		if err != nil {
			return err
		}
		if ring[i] = p; i > 0 {
			p.Next = ring[i-1]
		}
	}
	ring[0].Next = ring[n-1]
	for _, p := range ring {
		p.Close(ctx)
	}
	return nil
}

// Visit opens plants of the other garden, one after the other, waters each, and closes it. It returns how many.
func (g *garden) Visit(ctx context.Context, n int) (int, error) {
	for i := range n {
		p, err := vat.Call[vat.Ref](ctx, g.Peer, "open")
		if err != nil {
			return i, err
		}
		if _, err := vat.Call[int](ctx, p, "water"); err != nil {
			return i, err
		}
		if _, err := vat.Call[any](ctx, p, "close"); err != nil {
			return i, err
		}
	}
	return n, nil
}
