package bank_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"ocapkernel.dev/examples/bank"
	"ocapkernel.dev/examples/bank/banktest"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

func launch(t *testing.T, modules vat.Modules) *vattest.Kernel {
	t.Helper()
	k := vattest.New(t, modules)
	vats := []vattest.Vat{{Name: "teller", Module: "bank.teller"}, {Name: "mint", Module: "bank.mint"}}
	for _, name := range []string{"alice", "bob", "carol"} {
		vats = append(vats, vattest.Vat{Name: name, Module: "bank.account", Parameters: fmt.Sprintf(`{"owner":%q,"amount":1000}`, name)})
	}
	if err := k.Launch("teller", vats...); err != nil {
		t.Fatalf("launch: %v", err)
	}
	return k
}

func TestTransfer(t *testing.T) {
	k := launch(t, bank.Modules())
	for _, step := range []struct {
		method string
		args   []string
		want   string
	}{
		{"audit", nil, "3000"},
		{"transfer", []string{`"alice"`, `"bob"`, "10"}, `{"$undefined":true}`},
		{"balance", []string{`"alice"`}, "990"},
		{"balance", []string{`"bob"`}, "1010"},
		{"transfer", []string{`"bob"`, `"bob"`, "10"}, `{"$undefined":true}`},
		{"balance", []string{`"bob"`}, "1010"},
		{"audit", nil, "3000"},
	} {
		got, err := k.Call("teller", step.method, step.args...)
		if err != nil || got != step.want {
			t.Errorf("%s%v: got %s, %v, want %s", step.method, step.args, got, err, step.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	k := launch(t, bank.Modules())
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{`"alice"`, `"bob"`, "1001"}, "payment of 1001 from the purse of alice, which holds 1000"},
		{[]string{`"alice"`, `"bob"`, "-1"}, "payment of -1"},
		{[]string{`"dave"`, `"bob"`, "1"}, `there is no account "dave"; there are alice, bob, carol`},
		{[]string{`"alice"`, `"bob"`, "1.5"}, "bank.Teller.transfer: argument 3: want int64, got number 1.5; it takes transfer(string, string, int64)"},
		{[]string{`"alice"`}, "bank.Teller.transfer: got 1 arguments (string \"alice\"), want 3: transfer(string, string, int64)"},
	} {
		_, err := k.Call("teller", "transfer", step.args...)
		if err == nil || err.Error() != step.want {
			t.Errorf("transfer%v: got %v, want %s", step.args, err, step.want)
		}
	}
	if got, err := k.Call("teller", "audit"); got != "3000" {
		t.Errorf("audit: got %s, %v", got, err)
	}
}

// The money of the bank survives any death, at any moment.
func TestRestartsAtEveryMoment(t *testing.T) {
	names := []string{"teller", "mint", "alice", "bob", "carol"}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	k := launch(t, bank.Modules())
	var answers []*vattest.Answer
	for range 300 {
		from, to := names[2+dice.IntN(3)], names[2+dice.IntN(3)]
		answers = append(answers, k.Send("teller", "transfer", fmt.Sprintf("%q", from), fmt.Sprintf("%q", to), fmt.Sprint(dice.IntN(50))))
		for range dice.IntN(8) {
			k.Step()
		}
		k.Restart(names[dice.IntN(len(names))])
	}
	k.Run()
	happened, lost := 0, 0
	for i, a := range answers {
		switch _, err := a.Result(); {
		case err == nil:
			happened++
		case strings.Contains(err.Error(), "KERNEL:VAT_RESTARTED"):
			lost++
		case strings.Contains(err.Error(), "which holds"):
		default:
			t.Errorf("transfer %d: %v", i, err)
		}
	}
	t.Logf("%d transfers answered, %d answers lost", happened, lost)
	if got, err := k.Call("teller", "audit"); err != nil || got != "3000" {
		t.Errorf("audit: got %s, %v, want 3000", got, err)
	}
}

func TestAuditFindsWrongBalance(t *testing.T) {
	k := launch(t, banktest.Modules())
	_, err := k.Call("teller", "audit")
	want := "the purses hold 3001, but 3000 were issued: a difference of +1"
	if err == nil || err.Error() != want {
		t.Errorf("audit: got %v, want %s", err, want)
	}
}

func TestAccountNeedsParameters(t *testing.T) {
	k := vattest.New(t, bank.Modules())
	err := k.Launch("a", vattest.Vat{Name: "a", Module: "bank.account", Parameters: `{"owner":"a","ammount":1}`})
	if want := `unknown field "ammount"`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
