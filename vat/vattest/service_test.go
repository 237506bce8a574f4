package vattest_test

import (
	"context"
	"testing"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

// reader waits for its lines in memory, which a kill does not lose but a loss of memory does.
type reader struct {
	vat.Durable
	Channel vat.Ref
}

func (r *reader) Bootstrap(_ map[string]vat.Ref, services map[string]vat.Ref) {
	r.Channel = services["channel"]
}

func (r *reader) Line(ctx context.Context) (string, error) {
	return vat.Call[string](ctx, r.Channel, "read")
}

// Pair reads two lines at once.
func (r *reader) Pair(ctx context.Context) ([]string, error) {
	return vat.Await[[]string](ctx, vat.All(ctx, vat.Send(ctx, r.Channel, "read"), vat.Send(ctx, r.Channel, "read")))
}

func newReader(t *testing.T) (*vattest.Kernel, *vattest.Service) {
	t.Helper()
	k := vattest.New(t, vat.Modules{"reader": func() *reader { return &reader{} }})
	channel := k.Service("channel")
	if err := k.Launch("reader", vattest.Vat{Name: "reader", Module: "reader"}); err != nil {
		t.Fatal(err)
	}
	return k, channel
}

func result(t *testing.T, a *vattest.Answer, want string) {
	t.Helper()
	got, err := a.Result()
	if err != nil {
		got = "error: " + err.Error()
	}
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

const restarted = "error: [KERNEL:VAT_RESTARTED] vat v1 was restarted and has lost what would have answered"

func TestALineForATurnThatWaitsSurvivesAKill(t *testing.T) {
	k, channel := newReader(t)
	a := k.Send("reader", "line")
	k.Run()
	channel.Call("read").Unit(`"one"`)
	k.Kill("reader")
	k.Run()
	result(t, a, `"one"`)
}

func TestLinesGoBackInOrderWhenMemoryIsLost(t *testing.T) {
	k, channel := newReader(t)
	a := k.Send("reader", "pair")
	k.Run()
	channel.Call("read").Unit(`"one"`)
	channel.Call("read").Unit(`"two"`)
	k.Restart("reader")
	k.Run()
	result(t, a, restarted)
	first, second := k.Send("reader", "line"), k.Send("reader", "line")
	k.Run()
	result(t, first, `"one"`)
	result(t, second, `"two"`)
	// Of reads that waited nothing is left.
	if n := len(channel.Calls()); n != 0 {
		t.Errorf("%d reads wait for a memory that is lost", n)
	}
}

func TestALineThatIsReadForALostMemoryGoesToTheNextReader(t *testing.T) {
	k, channel := newReader(t)
	a := k.Send("reader", "line")
	k.Run()
	lost := channel.Call("read")
	k.OnComplaint = func(_, text string) { t.Log(text) } // the memory that waited for it is lost
	k.Restart("reader")
	k.Run()
	result(t, a, restarted)
	lost.Unit(`"one"`) // the channel had it in hand when the call was cancelled
	b := k.Send("reader", "line")
	k.Run()
	result(t, b, `"one"`)
}

func TestAPersonWhoAskedIsAnsweredThoughTheVatForgets(t *testing.T) {
	k, channel := newReader(t)
	a := k.Send("reader", "line")
	k.Run()
	channel.Call("read").Unit(`"one"`)
	k.Run() // the vat was told
	result(t, a, `"one"`)
	k.Restart("reader")
	b := k.Send("reader", "line")
	k.Run()
	channel.Call("read").Unit(`"two"`)
	k.Run()
	result(t, b, `"two"`)
}
