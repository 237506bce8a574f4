package vattest_test

import (
	"testing"

	"ocapkernel.dev/examples/bank"
	"ocapkernel.dev/vat/vattest"
)

// ExampleKernel is a test of the bank in which every worker is killed after every delivery: each crank is
// done by a fresh worker that was given the vat's past.
func ExampleKernel() {
	bankSurvives := func(t *testing.T) {
		k := vattest.New(t, bank.Modules())
		k.KillAlways = true
		if err := k.Launch("teller",
			vattest.Vat{Name: "teller", Module: "bank.teller"},
			vattest.Vat{Name: "mint", Module: "bank.mint"},
			vattest.Vat{Name: "alice", Module: "bank.account", Parameters: `{"owner":"alice","amount":1000}`},
			vattest.Vat{Name: "bob", Module: "bank.account", Parameters: `{"owner":"bob","amount":1000}`},
		); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Call("teller", "transfer", `"alice"`, `"bob"`, "10"); err != nil {
			t.Error(err)
		}
		if sum, err := k.Call("teller", "audit"); err != nil || sum != "2000" {
			t.Errorf("audit: %s, %v, want 2000", sum, err)
		}
	}
	// In your own package it is a function TestBankSurvives.
	testing.RunTests(func(_, _ string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "BankSurvives", F: bankSurvives}})
	// Output:
}
