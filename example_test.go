package ocapkernel_test

import (
	"context"
	"fmt"
	"os"

	"ocapkernel.dev"
	"ocapkernel.dev/service"
)

// Shelf is a service: a Go value with methods.
type Shelf struct{ items map[string]int }

// Count is called as "count".
func (s Shelf) Count(item string) (int, error) {
	n, ok := s.items[item]
	if !ok {
		return 0, fmt.Errorf("there is no %s here", item)
	}
	return n, nil
}

// A kernel inside a program, with a service of the program's own. The vat is a [User], whose module TestMain
// hands to [ocapkernel.Worker].
func Example() {
	shelf, err := service.New(Shelf{map[string]int{"lamp": 3}}, service.IdempotentMethods("count"))
	if err != nil {
		fmt.Println(err)
		return
	}
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	k, err := ocapkernel.New(ocapkernel.Options{
		Dir:      dir,
		Services: map[string]ocapkernel.Service{"shelf": {Object: shelf}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- k.Run(ctx) }()

	sub, err := k.Ensure(ctx, ocapkernel.LaunchRequest{
		Path:   "/example/cluster.json",
		Config: []byte(`{"bootstrap": "user", "vats": {"user": {"module": "user"}}, "services": ["shelf"]}`),
	})
	if err != nil {
		fmt.Println(err)
	}
	for _, item := range []string{"lamp", "chair"} {
		n, err := ocapkernel.Call[int](ctx, k, sub.ID, "ask", "shelf", "count", []string{item})
		fmt.Println(n, err)
	}
	stop()
	fmt.Println("ended:", <-ended)
	// Output:
	// 3 <nil>
	// 0 there is no chair here
	// ended: <nil>
}
