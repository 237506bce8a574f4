// Package banktest has a mint with a fault, for tests of the bank's audit.
package banktest

import (
	"context"

	"ocapkernel.dev/examples/bank"
	"ocapkernel.dev/vat"
)

// NewCrookedMint is a mint with one coin, in the purse of "mallory", that was never issued.
func NewCrookedMint(ctx context.Context) (*bank.Mint, error) {
	m := bank.NewMint()
	p := &bank.Purse{Owner: "mallory", Coins: 1}
	p.Slot = &bank.Slot{Purse: p}
	return m, m.Purses.Set(ctx, p.Owner, p)
}

// Modules are the modules of the bank, with the crooked mint in place of the honest one.
func Modules() vat.Modules {
	m := bank.Modules()
	m["bank.mint"] = NewCrookedMint
	return m
}
