package service_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/service"
)

// message marshals a call, whose arguments are given as JSON.
func message(t testing.TB, method, args string) service.Data {
	t.Helper()
	var slots []string
	tree, err := capdata.FromJSON([]byte(args), func(kref string) (int, error) {
		slots = append(slots, kref)
		return len(slots) - 1, nil
	})
	if err != nil {
		t.Fatalf("arguments %s: %v", args, err)
	}
	body, err := capdata.EncodeCall(method, tree.([]any))
	if err != nil {
		t.Fatalf("arguments %s: %v", args, err)
	}
	return service.Data{Body: body, Slots: slots}
}

// begin begins a call and returns where its reply will be.
func begin(ctx context.Context, o service.Object, c service.Call) <-chan service.Reply {
	replies := make(chan service.Reply, 2)
	o.Begin(ctx, c, func(r service.Reply) { replies <- r })
	return replies
}

// call calls a method, with arguments in JSON, and waits for the reply.
func call(t testing.TB, o service.Object, method, args string) service.Reply {
	t.Helper()
	return wait(t, begin(t.Context(), o, service.Call{MethArgs: message(t, method, args), At: time.Unix(7, 0).UTC(), Vat: "v1", Subcluster: "s1"}))
}

func wait(t testing.TB, replies <-chan service.Reply) service.Reply {
	t.Helper()
	select {
	case r := <-replies:
		return r
	case <-time.After(time.Minute):
		t.Fatal("no reply")
		panic("unreachable")
	}
}

// show returns the value of a reply as JSON; of a rejection, with "rejected " before its name and message.
func show(t testing.TB, r service.Reply) string {
	t.Helper()
	tree, err := capdata.Decode(r.Value.Body, len(r.Value.Slots))
	if err != nil {
		t.Fatalf("reply %q: %v", r.Value.Body, err)
	}
	if e, ok := tree.(*capdata.Error); ok && r.Rejected {
		return "rejected " + e.Name + ": " + e.Message
	}
	if r.Rejected {
		t.Fatalf("rejected with %q, want an error", r.Value.Body)
	}
	text, err := capdata.ToJSON(tree, func(i int) string { return r.Value.Slots[i] })
	if err != nil {
		t.Fatalf("reply %q: %v", r.Value.Body, err)
	}
	return string(text)
}

// value reads the result of a call.
func value[T any](t testing.TB, r service.Reply) (v T) {
	t.Helper()
	text := show(t, r)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("reply %s: %v", text, err)
	}
	return v
}

func object(t testing.TB, v any, opts ...service.Option) service.Object {
	t.Helper()
	o, err := service.New(v, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
