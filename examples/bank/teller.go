package bank

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ocapkernel.dev/vat"
)

// Teller answers the bank's customers. It is the bootstrap vat of the cluster.
type Teller struct {
	vat.Durable
	Mint     vat.Ref
	Accounts map[string]vat.Ref
}

// NewTeller makes the teller.
func NewTeller() *Teller { return &Teller{} }

// Bootstrap opens the accounts: all vats but the mint and the teller itself.
func (t *Teller) Bootstrap(ctx context.Context, vats map[string]vat.Ref) error {
	t.Mint = vats["mint"]
	t.Accounts = map[string]vat.Ref{}
	for _, name := range slices.Sorted(maps.Keys(vats)) { // never range over a map: see docs/govats.md
		account := vats[name]
		if account == t.Mint || account == vat.RefOf(ctx, t) {
			continue
		}
		terms, err := vat.Call[Terms](ctx, account, "terms")
		if err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		purse := vat.Send(ctx, t.Mint, "issue", terms.Owner, terms.Amount)
		// The purse travels on as a promise; it is there when the account gets it.
		if _, err := vat.Call[vat.None](ctx, account, "open", purse); err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		t.Accounts[name] = account
	}
	return nil
}

// Transfer moves money between two accounts. If it is answered, it happened; if it is refused, it did not. It
// waits across vats in straight-line code: if a worker or the kernel is killed meanwhile, it goes on at the
// same line, and happens once.
func (t *Teller) Transfer(ctx context.Context, from, to string, amount int64) error {
	payer, err := t.account(from)
	if err != nil {
		return err
	}
	payee, err := t.account(to)
	if err != nil {
		return err
	}
	address := vat.Send(ctx, payee, "address")
	_, err = vat.Call[vat.None](ctx, payer, "pay", amount, address)
	return err
}

// Balance returns the money of an account.
func (t *Teller) Balance(ctx context.Context, name string) (int64, error) {
	account, err := t.account(name)
	if err != nil {
		return 0, err
	}
	return vat.Call[int64](ctx, account, "balance")
}

// Audit returns the sum of all purses, and fails if the mint has issued another sum.
func (t *Teller) Audit(ctx context.Context) (int64, error) {
	return vat.Call[int64](ctx, t.Mint, "audit")
}

func (t *Teller) account(name string) (vat.Ref, error) {
	account, ok := t.Accounts[name]
	if !ok {
		return vat.Ref{}, fmt.Errorf("there is no account %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(t.Accounts)), ", "))
	}
	return account, nil
}
