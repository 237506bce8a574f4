package bank

import (
	"context"
	"errors"

	"ocapkernel.dev/vat"
)

// Terms are the owner of an account and its first balance. They are the parameters of the account's vat.
type Terms struct {
	Owner  string
	Amount int64
}

// Account keeps the purse of one customer, in a vat of its own.
type Account struct {
	vat.Durable
	Agreed Terms
	Purse  vat.Ref
}

// NewAccount makes an account that is not open yet.
func NewAccount(terms Terms) (*Account, error) {
	if terms.Owner == "" || terms.Amount < 0 {
		return nil, errors.New(`an account needs parameters like {"owner": "alice", "amount": 1000}`)
	}
	return &Account{Agreed: terms}, nil
}

// Terms returns the terms of the account.
func (a *Account) Terms() Terms { return a.Agreed }

// Open gives the account its purse.
func (a *Account) Open(purse vat.Ref) error {
	if !a.Purse.IsZero() {
		return errors.New("the account is open")
	}
	a.Purse = purse
	return nil
}

// Balance returns the money of the account. The answer of the mint becomes the answer of this call.
func (a *Account) Balance(ctx context.Context) vat.Promise {
	return vat.Send(ctx, a.Purse, "balance")
}

// Address returns the slot through which to pay into the account.
func (a *Account) Address(ctx context.Context) vat.Promise {
	return vat.Send(ctx, a.Purse, "address")
}

// Pay pays from the account. The purse never leaves it: the mint moves the money, in one crank.
func (a *Account) Pay(ctx context.Context, amount int64, to vat.Ref) vat.Promise {
	return vat.Send(ctx, a.Purse, "pay", amount, to)
}
