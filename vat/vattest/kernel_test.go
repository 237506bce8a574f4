package vattest_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

// The tests of this file hold what vattest has of the real kernel's shell.

func TestModuleThatIsNotThereFailsTheLaunch(t *testing.T) {
	k := summers(t)
	err := k.Launch("a", vattest.Vat{Name: "a", Module: "nonesuch"})
	if err == nil || !strings.Contains(err.Error(), "did not start") || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("got %v", err)
	}
	call(t, k, "0", "summer", "sum", "1", "1")
}

func TestMistakeInTheConfigurationFailsTheLaunch(t *testing.T) {
	k := summers(t)
	for want, v := range map[string]vattest.Vat{
		"no name/": {Name: "no name/", Module: "summer"}, "parameters": {Name: "a", Module: "summer", Parameters: "[1]"},
	} {
		if err := k.Launch(v.Name, v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v", v, err)
		}
	}
}

// A kernel that dies before bootstrap has answered ends the launch.
func TestLaunchFailsWithItsKernel(t *testing.T) {
	k := vattest.New(t, vat.Modules{"asker": func() *asker { return &asker{} }})
	port := k.Service("port")
	if err := k.Launch("asker", vattest.Vat{Name: "asker", Module: "asker"}); err != nil {
		t.Fatal(err)
	}
	asked := port.Call("ask")
	k.RestartKernel()
	k.Run()
	asked.Answer("1") // which nothing waits for any more
	if got, err := k.Bootstrapped(); err == nil || !strings.Contains(err.Error(), "the launch failed") {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestCallOfAServiceIsAnsweredInTheNextKernel(t *testing.T) {
	k, channel := newReader(t)
	first, second := k.Send("reader", "line"), k.Send("reader", "line")
	k.Run()
	calls := channel.Calls()
	for range 3 {
		k.RestartKernel()
	}
	if n := len(channel.Calls()); n != 2 {
		t.Fatalf("%d calls wait, want 2", n)
	}
	calls[1].Reject("no")
	calls[0].Unit(`"one"`)
	calls[0].Unit(`"one again"`) // it is answered
	k.Run()
	result(t, first, `"one"`)
	result(t, second, "error: no")
}

// A vat whose worker is killed again and again before it has done anything goes on in the same run, in no time.
func TestKillsWithoutProgressDoNotHoldUpTheRun(t *testing.T) {
	k := summers(t)
	a := k.Send("summer", "sum", "5", "1")
	for range 10 {
		k.Kill("peer")
		k.Kill("summer")
		k.Step()
	}
	began := k.Now()
	k.Run()
	answer(t, "10", a)
	if d := k.Now().Sub(began); d > time.Second {
		t.Errorf("%v have passed", d)
	}
}

// The kernel holds messages back from a vat that does not come to rest. They are delivered all the same.
func TestVatThatDoesNotComeToRestGetsItsMessages(t *testing.T) {
	k := vattest.New(t, vat.Modules{"ward": func() *Ward { return &Ward{} }})
	if err := k.Launch("ward", vattest.Vat{Name: "ward", Module: "ward"}); err != nil {
		t.Fatal(err)
	}
	held := k.Send("ward", "hold")
	const many = 1100 // more than the number after which messages are held back
	var answers []*vattest.Answer
	for range many {
		answers = append(answers, k.Send("ward", "nod"))
	}
	k.Run()
	for i, a := range answers {
		if got, err := a.Result(); err != nil || got != `"yes"` {
			t.Fatalf("message %d: got %s, %v", i, got, err)
		}
	}
	if n := k.Records("ward"); n <= many || held.Done() {
		t.Errorf("%d records; the vat has come to rest: %t", n, held.Done())
	}
}

// Nod answers at once.
func (w *Ward) Nod() string { return "yes" }

func TestLongTimesPassAtOnce(t *testing.T) {
	k, _ := launchAuthor(t)
	for _, year := range []string{"31536000000", "63072000000"} {
		call(t, k, `{"$undefined":true}`, "author", "later", year)
	}
	began := k.Now()
	k.Advance(3 * 365 * 24 * time.Hour)
	got, err := k.Call("author", "all")
	if err != nil || strings.Count(got, " at ") != 2 || k.Now().Sub(began) < 3*365*24*time.Hour {
		t.Errorf("got %s, %v, after %v", got, err, k.Now().Sub(began))
	}
}

// A test may run in a bubble of its own, whose goroutines have all to end with it.
func TestKernelInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := summers(t)
		k.KillAlways = true
		began := time.Now()
		call(t, k, "45", "summer", "sum", "10", "1")
		k.RestartKernel()
		call(t, k, "45", "summer", "sum", "10", "1")
		if d := time.Since(began); d != 0 {
			t.Errorf("%v of the bubble's time have passed", d)
		}
	})
}

// asker asks in its bootstrap.
type asker struct{ vat.Durable }

// Bootstrap asks the test.
func (a *asker) Bootstrap(ctx context.Context, _, services map[string]vat.Ref) (int, error) {
	return vat.Call[int](ctx, services["port"], "ask")
}
