// Package repl is a vat that talks to people: it reads lines from an IO channel and answers each.
//
// It waits for its lines with [vat.When], so that between two lines nothing of it lives in memory. Its worker,
// or the kernel, can be killed at any time: a line that was sent is answered, and the values that were set are
// still there.
package repl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ocapkernel.dev/vat"
)

// Modules returns the modules of this package, for a worker program.
func Modules() vat.Modules { return vat.Modules{"repl": New} }

// Repl reads, evaluates and prints.
type Repl struct {
	vat.Durable
	// Console is the channel.
	Console vat.Ref
	// Lines counts the lines that were answered.
	Lines int
	// Values are the values that people have set.
	Values vat.Map[string, int64]
}

// New makes a repl without a console yet.
func New() *Repl { return &Repl{} }

// Bootstrap takes the channel and waits for its first line.
func (r *Repl) Bootstrap(ctx context.Context, _ map[string]vat.Ref, services struct{ Console vat.Ref }) error {
	if services.Console.IsZero() {
		return errors.New(`the cluster's configuration has no "console" in its "io"`)
	}
	r.Console = services.Console
	r.read(ctx)
	return nil
}

// read waits for the next line.
func (r *Repl) read(ctx context.Context) {
	vat.When(ctx, vat.Send(ctx, r.Console, "read"), r, "Answer")
}

// Answer answers a line. The line is null when a client has gone, and an error when the line was no text, or
// when the kernel that had the connection is gone; then Answer waits for the next line all the same.
func (r *Repl) Answer(ctx context.Context, line vat.Outcome[*string]) {
	text, err := line.Get()
	if errors.Is(err, vat.ErrServiceGone) {
		return // the channel is no more
	}
	switch {
	case errors.Is(err, vat.ErrConnectionLost):
	case err != nil:
		r.write(ctx, "error: "+err.Error())
		return
	case text != nil:
		r.Lines++
		r.write(ctx, r.evaluate(ctx, *text))
		return
	}
	r.read(ctx)
}

// write writes a text, and reads on when it was taken: the lines of a client that does not read its answers are
// not read either.
func (r *Repl) write(ctx context.Context, text string) {
	vat.When(ctx, vat.Send(ctx, r.Console, "write", text), r, "Written")
}

// Written reads on. A text that no client took is lost.
func (r *Repl) Written(ctx context.Context, _ vat.Outcome[vat.None]) { r.read(ctx) }

func (r *Repl) evaluate(ctx context.Context, line string) string {
	words := strings.Fields(line)
	switch {
	case len(words) == 3 && words[0] == "set":
		n, err := strconv.ParseInt(words[2], 10, 64)
		if err != nil {
			return "error: " + words[2] + " is no number"
		}
		if err := r.Values.Set(ctx, words[1], n); err != nil {
			return "error: " + err.Error()
		}
		return fmt.Sprintf("%s = %d", words[1], n)
	case len(words) == 2 && words[0] == "get":
		n, ok := r.Values.Get(ctx, words[1])
		if !ok {
			return "error: there is no " + words[1]
		}
		return strconv.FormatInt(n, 10)
	case len(words) > 1 && words[0] == "add":
		sum := int64(0)
		for _, w := range words[1:] {
			n, err := strconv.ParseInt(w, 10, 64)
			if known, ok := r.Values.Get(ctx, w); err != nil && ok {
				n = known
			} else if err != nil {
				return "error: " + w + " is no number, and nothing that was set"
			}
			sum += n
		}
		return strconv.FormatInt(sum, 10)
	case len(words) == 1 && words[0] == "lines":
		return strconv.Itoa(r.Lines)
	}
	return "set NAME NUMBER, get NAME, add NUMBER|NAME…, lines"
}
