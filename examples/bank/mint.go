package bank

import (
	"context"
	"fmt"
	"math"

	"ocapkernel.dev/vat"
)

// Mint issues a currency and keeps every purse of it. All money lies in the mint's own store, and a crank is
// committed whole or not at all: whichever process is killed, and whenever, no money appears or is lost.
type Mint struct {
	vat.Durable
	// Issued is the sum that all purses together must hold.
	Issued int64
	Purses vat.Map[string, *Purse]
}

// NewMint makes the mint, once in the life of its vat.
func NewMint() *Mint { return &Mint{} }

// Issue makes a purse with newly issued money. Every vat that has the mint can make money: the teller keeps the
// reference to the mint to itself.
func (m *Mint) Issue(ctx context.Context, owner string, amount int64) (*Purse, error) {
	if amount < 0 || amount > math.MaxInt64-m.Issued {
		return nil, fmt.Errorf("cannot issue %d", amount)
	}
	if m.Purses.Has(ctx, owner) {
		return nil, fmt.Errorf("%s has a purse already", owner)
	}
	p := &Purse{Owner: owner, Coins: amount}
	p.Slot = &Slot{Purse: p}
	if err := m.Purses.Set(ctx, owner, p); err != nil {
		return nil, err
	}
	m.Issued += amount
	return p, nil
}

// Audit returns the sum of all purses, in one crank, and fails if another sum was issued.
func (m *Mint) Audit(ctx context.Context) (int64, error) {
	var sum int64
	for _, p := range m.Purses.All(ctx) {
		sum += p.Coins
	}
	if sum != m.Issued {
		return 0, fmt.Errorf("the purses hold %d, but %d were issued: a difference of %+d", sum, m.Issued, sum-m.Issued)
	}
	return sum, nil
}

// Purse holds money. Every vat that has a reference to the purse can spend its money.
type Purse struct {
	vat.Durable
	Owner string
	Coins int64
	Slot  *Slot
}

// Balance returns the money in the purse.
func (p *Purse) Balance() int64 { return p.Coins }

// Address returns the slot through which to pay into the purse.
func (p *Purse) Address() *Slot { return p.Slot }

// Pay moves money from this purse to another. The type of the parameter makes sure that the other is a purse of
// the same mint.
func (p *Purse) Pay(amount int64, to *Slot) error {
	if to == nil {
		return fmt.Errorf("payment to nobody")
	}
	if amount < 0 {
		return fmt.Errorf("payment of %d", amount)
	}
	if amount > p.Coins {
		return fmt.Errorf("payment of %d from the purse of %s, which holds %d", amount, p.Owner, p.Coins)
	}
	p.Coins -= amount
	to.Purse.Coins += amount
	return nil
}

// Slot is the slot through which coins go into a purse, and do not come out: any vat may have it.
type Slot struct {
	vat.Durable
	Purse *Purse
}
