// Command embed is a kernel inside a Go program, which is its own worker program too. A vat keeps a guest book, and
// gets the time from a service that is a Go value of this program. The state is in the directory that is its
// argument: each run finds the book as the last one left it, also after kill -9.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"ocapkernel.dev"
	"ocapkernel.dev/service"
	"ocapkernel.dev/vat"
)

// Clock is the service, with the methods now and stopwatch.
type Clock struct{}

// Now tells the time.
func (Clock) Now() string { return time.Now().Format(time.RFC3339) }

// Stopwatch makes another object, for as long as this process lives.
func (Clock) Stopwatch(ctx context.Context) (service.Ref, error) {
	return service.ExportObject(ctx, &Stopwatch{time.Now()})
}

// Stopwatch measures the time since it was made.
type Stopwatch struct{ start time.Time }

// Elapsed returns the time in milliseconds.
func (s *Stopwatch) Elapsed() float64 { return float64(time.Since(s.start).Microseconds()) / 1000 }

// Book is the root of the vat. Its fields survive.
type Book struct {
	vat.Durable
	Clock  vat.Ref
	Visits int
	Last   string
}

// Bootstrap takes the service that the cluster's configuration gives the vat.
func (b *Book) Bootstrap(_ map[string]vat.Ref, services struct{ Clock vat.Ref }) {
	b.Clock = services.Clock
}

// Sign counts a visit, and returns the time of the last one.
func (b *Book) Sign(ctx context.Context) (string, error) {
	watch := vat.Send(ctx, b.Clock, "stopwatch") // a promise, to which messages can be sent at once
	now, err := vat.Call[string](ctx, b.Clock, "now")
	if err != nil {
		return "", err
	}
	took, err := vat.Call[float64](ctx, watch, "elapsed")
	text := fmt.Sprintf("visit %d; the last was %q; to ask for the time took %.1f ms", b.Visits+1, b.Last, took)
	b.Visits, b.Last = b.Visits+1, now
	return text, err
}

const config = `{"bootstrap": "book", "vats": {"book": {"module": "book"}}, "services": ["clock"]}`

func main() {
	ocapkernel.Worker(vat.Modules{"book": func() *Book { return &Book{} }})
	if len(os.Args) != 2 {
		log.Fatal("usage: embed DIR")
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, dir string) (err error) {
	clock, err := service.New(Clock{}, service.IdempotentMethods("now", "stopwatch"))
	if err != nil {
		return err
	}
	k, err := ocapkernel.New(ocapkernel.Options{
		Dir: dir, Services: map[string]ocapkernel.Service{"clock": {Object: clock}},
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	defer func() { stop(); err = errors.Join(err, <-ended) }()

	book, err := k.Ensure(ctx, ocapkernel.LaunchRequest{Path: filepath.Join(dir, "book.json"), Config: []byte(config)})
	if err != nil {
		return err
	}
	said, err := ocapkernel.Call[string](ctx, k, book.ID, "sign")
	fmt.Println(said)
	return err
}
