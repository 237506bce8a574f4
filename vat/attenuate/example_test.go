package attenuate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/attenuate"
	"ocapkernel.dev/vat/vattest"
)

// Purse is worth keeping an eye on.
type Purse struct {
	vat.Durable
	Coins int
}

func (p *Purse) Balance() int { return p.Coins }

func (p *Purse) Take(n int) int { p.Coins -= n; return n }

// Holder has a purse, and the gate by which the guest's access ends.
type Holder struct {
	vat.Durable
	Purse *Purse
	Gate  *attenuate.Gate
}

// Bootstrap lets the guest look at the balance: five times, for a day, and as long as the holder likes. A
// message that ReadOnly refuses, which comes first, does not count.
func (h *Holder) Bootstrap(ctx context.Context, vats map[string]vat.Ref) {
	day := attenuate.Until(ctx, h.Purse, vat.Now(ctx).Add(24*time.Hour))
	look := attenuate.ReadOnly(ctx, attenuate.Times(ctx, day, 5), "balance")
	access, gate := attenuate.Caretaker(ctx, look)
	h.Gate = gate
	vat.Send(ctx, vats["guest"], "meet", access)
}

// Goodbye ends the guest's access.
func (h *Holder) Goodbye() { h.Gate.Revoke() }

// Guest has a reference like any other.
type Guest struct {
	vat.Durable
	Purse vat.Ref
}

func (g *Guest) Meet(purse vat.Ref) { g.Purse = purse }

func (g *Guest) Look(ctx context.Context) (int, error) {
	return vat.Call[int](ctx, g.Purse, "balance")
}

func (g *Guest) Grab(ctx context.Context) (string, error) {
	_, err := vat.Call[int](ctx, g.Purse, "take", 100)
	if err == nil || errors.Is(err, vat.ErrRevoked) {
		return "", err
	}
	return "try something else: " + err.Error(), nil
}

func Example() {
	modules := vat.Modules{
		"holder": func() *Holder { return &Holder{Purse: &Purse{Coins: 100}} },
		"guest":  func() *Guest { return &Guest{} },
	}
	var t testing.B
	k := vattest.New(&t, modules)
	_ = k.Launch("holder", vattest.Vat{Name: "holder", Module: "holder"}, vattest.Vat{Name: "guest", Module: "guest"})
	fmt.Println(k.Call("guest", "look"))
	fmt.Println(k.Call("guest", "grab"))
	fmt.Println(k.Call("guest", "look"))
	_, _ = k.Call("holder", "goodbye")
	fmt.Println(k.Call("guest", "look"))
	// Output:
	// 100 <nil>
	// "try something else: \"take\" was refused by ReadOnly of vat \"holder\": it forwards balance only" <nil>
	// 100 <nil>
	//  [KERNEL:REVOKED] "balance" was refused by Caretaker of vat "holder": it was revoked
}
