package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/control"
	"ocapkernel.dev/control/controltest"
	"ocapkernel.dev/errcode"
)

// check fails the test unless err is nil and got is want.
func check[T any](t *testing.T, what string, got T, err error, want T) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	} else if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func checkCode(t *testing.T, what string, err error, want errcode.Code) {
	t.Helper()
	var e *control.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Errorf("%s: got %v, want an *Error with code %s", what, err, want)
	}
}

// TestClient calls every method once, and fails each that can.
func TestClient(t *testing.T) {
	ctx := context.Background()
	client := dial(t, serve(t, controltest.New(), control.ServerOptions{Version: "v7"}))

	version, err := client.Version(ctx)
	check(t, "version", version, err, control.Version{Version: "v7", Protocol: control.ProtocolVersion})

	sub := control.Subcluster{
		ID: "s1", Root: "ko1", Vats: map[string]string{"root": "v1"}, Source: "/c.json",
		Hash: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", State: control.SubclusterRunning,
	}
	launched, err := client.Launch(ctx, control.LaunchRequest{Path: "/c.json", Config: []byte("{}")})
	check(t, "launch", launched, err, control.Launched{Subcluster: sub, Result: json.RawMessage(`{"$ref":"ko1"}`)})
	_, err = client.Launch(ctx, control.LaunchRequest{Path: "/c.json", Config: []byte("mistake")})
	checkCode(t, "launch", err, errcode.Invalid)
	var e *control.Error
	if errors.As(err, &e) {
		check(t, "details", e.Details, nil, []string{"/c.json:1:1: bootstrap: there is a mistake"})
	}

	status, err := client.Status(ctx)
	check(t, "status", status, err, control.Status{
		PID: 4242, State: control.Running, Durability: "power", Cranks: 17, Commit: 18, Epoch: "e1",
		Subclusters: 1, Vats: 1, Clusters: []control.Subcluster{sub}, Version: "fake",
	})
	check(t, "restart", struct{}{}, client.RestartVat(ctx, "v1", true), struct{}{})
	checkCode(t, "restart", client.RestartVat(ctx, "v2", false), errcode.NotFound)
	vats, err := client.PS(ctx)
	check(t, "ps", vats, err, []control.Vat{{ID: "v1", Name: "root", Subcluster: "s1", State: control.VatIdle, Restarts: 1}})

	list, _, err := client.PoisonedList(ctx, "", 0)
	check(t, "poisoned", list, err, []control.Poisoned{{
		ID: "m7", Vat: "v1", Name: "root", Target: "ko1", Method: "explode", Attempts: 3,
		Code: errcode.DeliveryPoisoned, Message: "the message killed its vat 3 times",
	}})
	check(t, "retry", struct{}{}, client.PoisonedRetry(ctx, "m7"), struct{}{})
	checkCode(t, "drop", client.PoisonedDrop(ctx, "m7"), errcode.NotFound)

	check(t, "terminate", struct{}{}, client.Terminate(ctx, "s1"), struct{}{})
	checkCode(t, "terminate", client.Terminate(ctx, "s1"), errcode.NotFound)
	checkCode(t, "call", client.Call(ctx, "frobnicate", nil, nil), errcode.Unsupported)
	check(t, "shutdown", struct{}{}, client.Shutdown(ctx), struct{}{})
}

func TestCallsHappenOnce(t *testing.T) {
	ctx := context.Background()
	fake := controltest.New()
	client := dial(t, serve(t, fake, control.ServerOptions{}))
	ticket := control.Ticket{Epoch: controltest.Epoch, ID: "pay-1"}
	want := control.Outcome{Ticket: ticket, Status: control.Fulfilled, Value: json.RawMessage(`[{"a":1,"b":[]}]`)}
	// The same call, written differently, with and without the epoch.
	for _, arg := range []string{`{"a":1,"b":[]}`, ` {"b": [ ], "a": 1.0}`} {
		for _, epoch := range []string{controltest.Epoch, ""} {
			o, err := client.Send(ctx, control.SendRequest{
				Ticket: control.Ticket{Epoch: epoch, ID: "pay-1"}, Target: "ko1", Method: "echo",
				Args: []json.RawMessage{json.RawMessage(arg)}, Wait: true,
			})
			check(t, "send", o, err, want)
		}
	}
	check(t, "effects", fake.Effects(), nil, 1)
	_, err := client.Send(ctx, control.SendRequest{Ticket: ticket, Target: "ko1", Method: "echo"})
	checkCode(t, "another call", err, errcode.Conflict)
	_, err = client.Send(ctx, control.SendRequest{Ticket: control.Ticket{Epoch: "e0", ID: "pay-1"}, Target: "ko1", Method: "echo"})
	checkCode(t, "another epoch", err, errcode.Unknown)

	o, err := client.Await(ctx, ticket, time.Minute, false)
	check(t, "await", o, err, want)
	check(t, "acknowledge", struct{}{}, client.Acknowledge(ctx, ticket), struct{}{})
	check(t, "acknowledge twice", struct{}{}, client.Acknowledge(ctx, ticket), struct{}{})
	_, err = client.Await(ctx, ticket, time.Minute, false)
	checkCode(t, "await", err, errcode.Unknown)
}

func TestContextEndsACall(t *testing.T) {
	client := dial(t, serve(t, controltest.New(), control.ServerOptions{}))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	ticket := control.Ticket{ID: "slow"}
	_, err := client.Send(ctx, control.SendRequest{Ticket: ticket, Target: "ko1", Method: "hang", Wait: true})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	// The connection is as good as before.
	if _, err := client.Status(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestRequestTooLong(t *testing.T) {
	client := dial(t, serve(t, controltest.New(), control.ServerOptions{}))
	_, err := client.Launch(context.Background(), control.LaunchRequest{Config: make([]byte, control.MaxLineBytes)})
	checkCode(t, "launch", err, errcode.Invalid)
}

func TestTickets(t *testing.T) {
	for _, good := range []string{"a", "e1.a", "A-_9.z", control.NewID(), "e." + string(make64('x'))} {
		ticket, err := control.ParseTicket(good)
		check(t, good, ticket.String(), err, good)
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a.b.c", "a b", "a/b", "ä", "a\n", "e." + string(make64('x')) + "x"} {
		_, err := control.ParseTicket(bad)
		checkCode(t, bad, err, errcode.Invalid)
	}
}

func make64(c byte) []byte {
	out := make([]byte, 64)
	for i := range out {
		out[i] = c
	}
	return out
}

func TestCodeOf(t *testing.T) {
	check(t, "nil", control.CodeOf(nil), nil, "")
	check(t, "other", control.CodeOf(errors.New("x")), nil, errcode.Internal)
	check(t, "wrapped", control.CodeOf(fmt.Errorf("x: %w", control.Errorf(errcode.DiskFull, "full"))), nil, errcode.DiskFull)
}

// This is how a program asks for something to happen exactly once.
func ExampleClient_Send() {
	dir, _ := os.MkdirTemp("", "kernel") // the state directory of a running kernel
	defer os.RemoveAll(dir)
	stop := serveExample(dir)
	defer stop()

	ctx := context.Background()
	client, err := control.Dial(ctx, dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	outcome, err := client.Send(ctx, control.SendRequest{
		Ticket: control.Ticket{ID: "invoice-17"}, // note it down before; after a crash, send the same again
		Target: "s1", Method: "echo", Args: []json.RawMessage{json.RawMessage(`"hello"`)},
		Wait: true, Timeout: time.Minute,
	})
	switch {
	case err != nil:
		fmt.Println("not known to be accepted:", err)
	case outcome.Status == control.Rejected:
		fmt.Println("rejected:", outcome.Error)
	default:
		fmt.Println(outcome.Ticket, outcome.Status, string(outcome.Value))
	}
	// Output: e1.invoice-17 fulfilled ["hello"]
}

func serveExample(dir string) (stop func()) {
	fake := controltest.New()
	fake.Adopt(control.Subcluster{ID: "s1", Root: "ko1"})
	listener, err := control.Listen(dir)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = control.NewServer(listener, fake, control.ServerOptions{}).Run(ctx)
	}()
	return func() { cancel(); <-done }
}
