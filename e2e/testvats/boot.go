package testvats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"ocapkernel.dev/vat"
)

// plan tells how a vat begins.
type plan struct {
	// Start is the action of its constructor, Bootstrap that of its bootstrap: one of the words in do.
	Start, Bootstrap string
	// Find is the system subcluster whose root bootstrap is to find, and to greet.
	Find string
}

// boot is a vat that begins as its parameters tell.
type boot struct {
	vat.Durable
	Plan   plan
	Others map[string]vat.Ref
}

func newBoot(p plan) (*boot, error) {
	return &boot{Plan: p}, do(p.Start)
}

// Bootstrap follows the plan, after it has greeted all other vats.
func (b *boot) Bootstrap(ctx context.Context, vats, services map[string]vat.Ref) (any, error) {
	b.Others = vats
	if b.Plan.Find != "" {
		other, err := vat.Call[vat.Ref](ctx, services["kernelFacet"], "getSystemSubclusterRoot", b.Plan.Find)
		if err != nil {
			return nil, err
		}
		return vat.Call[string](ctx, other, "hello", "world")
	}
	if b.Plan.Bootstrap == "never" {
		p, _ := vat.NewPromise(ctx)
		return p, nil
	}
	return fmt.Sprintf("%d vats", len(vats)), do(b.Plan.Bootstrap)
}

// Hello greets.
func (b *boot) Hello(name string) string { return "hello, " + name }

func do(word string) error {
	switch word {
	case "":
		return nil
	case "fail":
		return errors.New("it does not want to")
	case "panic":
		panic("it panics")
	case "exit":
		fmt.Fprintln(os.Stderr, "these are its last words")
		os.Exit(7)
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "linger":
		linger(20 * time.Second)
		return nil
	case "loop":
		//lint:ignore SA5002 it is to loop
		for {
		}
	}
	return fmt.Errorf("unknown plan %q", word)
}
