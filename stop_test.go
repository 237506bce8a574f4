package ocapkernel_test

import (
	"context"
	"errors"
	"testing"

	"ocapkernel.dev"
	"ocapkernel.dev/capdata"
	"ocapkernel.dev/service"
)

// desk is a service.Object whose calls the test answers. Those of once and refuseOnce must not be done twice.
type desk chan deskCall

type deskCall struct {
	method string
	again  bool
	reply  func(service.Reply)
}

// Idempotent is part of service.Idempotent.
func (d desk) Idempotent(method string) bool { return method != "once" && method != "refuseOnce" }

// Begin is part of service.Object.
func (d desk) Begin(_ context.Context, c service.Call, reply func(service.Reply)) {
	method, _, err := capdata.DecodeCall(c.MethArgs.Body, len(c.MethArgs.Slots))
	if err != nil {
		reply(service.Fail(err))
		return
	}
	d <- deskCall{method, c.Again, reply}
}

// TestAStopRejectsNothingThatCanBeDoneAgain has calls answered while the kernel stops, once because a request of theirs was
// refused for that.
func TestAStopRejectsNothingThatCanBeDoneAgain(t *testing.T) {
	dir := t.TempDir()
	first := make(desk, 8)
	k := start(t, ocapkernel.Options{Dir: dir, Services: map[string]ocapkernel.Service{"desk": {Object: first}}})
	sub := k.ensure(t, `["desk"]`)
	under := map[string]deskCall{}
	for _, method := range []string{"refuse", "askKernel", "answer", "refuseOnce", "once"} {
		go func() { _, _ = k.CallOnce(t.Context(), method, sub.ID, "ask", "desk", method, []any{}) }()
		under[method] = <-first
	}
	if err := k.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The kernel stops soon, as this answer shows, and waits for the calls that cannot be begun again.
	_, stopping := k.Status(t.Context())
	for stopping == nil { // what is asked at the same time may be answered still
		_, stopping = k.Status(t.Context())
	}
	if !errors.Is(stopping, ocapkernel.ErrStopping) {
		t.Fatalf("got %v", stopping)
	}
	under["refuse"].reply(service.Fail(errors.New("not today")))
	under["askKernel"].reply(service.Fail(stopping))
	under["answer"].reply(service.Fulfil("the first time"))
	under["refuseOnce"].reply(service.Fail(errors.New("not today")))
	under["once"].reply(service.Fulfil("the only time"))
	k.end(t)

	second := make(desk, 8)
	k = start(t, ocapkernel.Options{Dir: dir, Services: map[string]ocapkernel.Service{"desk": {Object: second}}})
	for range 2 {
		c := <-second
		if !c.again || c.method != "refuse" && c.method != "askKernel" {
			t.Errorf("the next kernel begins %s, again %v", c.method, c.again)
		}
		c.reply(service.Fulfil("the second time"))
	}
	for method, want := range map[string]string{
		"refuse": `"the second time"`, "askKernel": `"the second time"`, "answer": `"the first time"`, "once": `"the only time"`,
	} {
		got, err := k.CallOnce(t.Context(), method, sub.ID, "ask", "desk", method, []any{})
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", method, got, err, want)
		}
	}
	if got, err := k.CallOnce(t.Context(), "refuseOnce", sub.ID, "ask", "desk", "refuseOnce", []any{}); err == nil {
		t.Errorf("what was refused, and must not be done again, got %s", got)
	}
}
