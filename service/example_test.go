package service_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/service"
)

// Counters makes counters: each is an object of its own.
type Counters struct{}

// Make is called as "make".
func (Counters) Make(ctx context.Context, start int) (service.Ref, error) {
	return service.ExportObject(ctx, &Counter{n: start}, service.Name("counter"))
}

type Counter struct {
	mu sync.Mutex
	n  int
}

// Add is called as "add".
func (c *Counter) Add(by int) (int, error) {
	if by < 0 {
		return 0, errors.New("a counter only grows")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += by
	return c.n, nil
}

func Example() {
	counters, err := service.New(Counters{}, service.Name("counters"))
	if err != nil {
		fmt.Println(err)
		return
	}
	// The kernel does this for each message; here, by hand.
	send := func(o service.Object, method string, args ...any) service.Reply {
		body, err := capdata.EncodeCall(method, args)
		if err != nil {
			fmt.Println(err)
		}
		done := make(chan service.Reply, 1)
		o.Begin(context.Background(), service.Call{MethArgs: service.Data{Body: body}}, func(r service.Reply) { done <- r })
		r := <-done
		fmt.Println(method, "->", r.Value.Body, r.Value.Slots)
		return r
	}
	made := send(counters, "make", 40.0)
	counter := made.Exports[0].Object
	send(counter, "add", 2.0)
	send(counter, "add", -1.0)
	send(counter, "add", "two")
	// Output:
	// make -> #"$0" [new0]
	// add -> #42 []
	// add -> #{"#error":"a counter only grows","name":"Error"} []
	// add -> #{"#error":"counter.add: argument 1: got string, want int; it takes add(int)","name":"TypeError"} []
}
