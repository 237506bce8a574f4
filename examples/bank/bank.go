// Package bank is the classic of object capabilities: a mint, purses, and accounts that pay each other.
//
// Three kinds of vat, in one worker program:
//
//	bank.mint     keeps all purses, and moves money between them
//	bank.account  keeps the reference to one purse
//	bank.teller   knows the accounts, and serves the customers
//
// cluster.json launches a mint, a teller, and the accounts of alice, bob and carol with 1000 each. A vat can do
// what its references allow: only the teller can issue money, because only it has the mint; only an account can
// spend its money, because only it has its purse; and every vat may have the [Slot] of a purse, through which
// money only goes in.
package bank

import "ocapkernel.dev/vat"

// Modules are the kinds of vat of the bank.
func Modules() vat.Modules {
	return vat.Modules{
		"bank.mint":    NewMint,
		"bank.account": NewAccount,
		"bank.teller":  NewTeller,
	}
}
