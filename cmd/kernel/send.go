package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

const defaultTimeout = time.Minute

// sendFlags are the flags of send.
type sendFlags struct {
	id      string
	timeout time.Duration
	noWait  bool
	raw     bool
}

func (a *app) sendCommand() *cobra.Command {
	var f sendFlags
	cmd := a.withJSON(&cobra.Command{
		Use:   "send TARGET METHOD [JSON…]",
		Short: "Call a method, and print its answer",
		Long: `Call a method of an object (ko4), of what a promise stands for (kp7), of a subcluster's root (s1, or the name of a
system subcluster), or of a vat's root (s1/mint, v3), and print the answer as JSON.

Each argument is JSON; a capability is {"$ref":"ko4"}. @FILE stands for the JSON in a file, and - for that on stdin.

The ticket of the call is printed on stderr before the call is sent. With it, kernel await asks for the answer
later, and kernel send --id TICKET sends the same call again: it has one effect and one answer, however often it is
sent and whatever crashes. The answer to a call that was named with --id is kept, for that; others are let go once
they are printed.

Exit status 0 means that the call was fulfilled (with --no-wait: accepted). 1 means that it was rejected, that it has
no answer yet, or that it could not be sent. 2 means that this command line is wrong.`,
		Example: `  kernel send s1 transfer '"alice"' '"bob"' 10
  kernel send ko4 deposit '{"$ref":"ko7"}'
  kernel send s1/mint issue @order.json
  kernel send --id payment-17 s1 transfer '"alice"' '"bob"' 10`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return exactly("TARGET", "METHOD")(cmd, args)
			}
			if err := control.CheckTarget(args[0]); err != nil {
				return &usageError{err.Error(), cmd.CommandPath() + " --help", err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.send(cmd.Context(), &f, args) },
	})
	cmd.Flags().StringVar(&f.id, "id", "", "ticket or ticket id of the call: the same call under the same `ID` happens once (default random)")
	cmd.Flags().DurationVar(&f.timeout, "timeout", defaultTimeout, "how long to wait for the answer")
	cmd.Flags().BoolVar(&f.noWait, "no-wait", false, "print the ticket instead of waiting for the answer")
	cmd.Flags().BoolVar(&f.raw, "raw", false, "print the answer as the vat marshalled it: body and slots")
	return a.completeArg(cmd, subclusterIDs, systemNames, vatNames, rootKRefs)
}

func (a *app) send(ctx context.Context, f *sendFlags, words []string) error {
	request := control.SendRequest{Target: words[0], Method: words[1], Wait: !f.noWait, Timeout: f.timeout, Raw: f.raw}
	var err error
	if request.Args, err = a.sendArgs(words[2:]); err != nil {
		return err
	}
	if _, err := control.NewCall(request.Target, request.Method, request.Args); err != nil {
		return usagef("%w", err) // the kernel would return the same error
	}
	ticket := control.Ticket{ID: control.NewID()}
	if f.id != "" {
		if ticket, err = control.ParseTicket(f.id); err != nil {
			return usagef("--id: %w", err)
		}
	}
	return a.ask(ctx, f.timeout, func(ctx context.Context, client *control.Client) error {
		if ticket.Epoch == "" {
			status, err := client.Status(ctx)
			if err != nil {
				return err
			}
			ticket.Epoch = status.Epoch
		}
		request.Ticket = ticket
		fmt.Fprintf(a.stderr, "ticket %s\n", ticket)

		stopTelling := a.tellWaits(ctx, request.Target)
		outcome, err := client.Send(ctx, request)
		stopTelling()
		switch control.CodeOf(err) {
		case errcode.NotRunning, errcode.Stopping, errcode.Timeout:
			return &hinted{err, fmt.Sprintf("it may have been accepted; when the kernel runs, ask: %s await %s", a.typed(), ticket)}
		}
		if err != nil {
			return err
		}
		if f.noWait {
			return a.print(outcome, func(w io.Writer) { fmt.Fprintln(w, outcome.Ticket) })
		}
		answered, err := a.printOutcome(outcome, f.timeout)
		if answered && f.id == "" && !givesReferences(outcome) {
			_ = client.Acknowledge(ctx, ticket) // the kernel also lets the answer go by itself, after a day
		}
		return err
	})
}

// printOutcome prints an answer. answered reports whether there was one and it was printed; the error is that
// of the command.
func (a *app) printOutcome(o control.Outcome, timeout time.Duration) (answered bool, err error) {
	err = a.print(o, func(w io.Writer) {
		switch {
		case o.CapData != nil:
			fmt.Fprintln(w, printable(o.CapData.Body))
			for i, slot := range o.CapData.Slots {
				fmt.Fprintf(w, "slot %d: %s\n", i, slot)
			}
		case o.Status == control.Fulfilled:
			fmt.Fprintln(w, human(o.Value))
		}
	})
	if err != nil {
		return false, err
	}
	switch o.Status {
	case control.Fulfilled:
		return true, nil
	case control.Rejected:
		reason := "see its body"
		if o.Error != nil {
			reason = o.Error.Message
			if o.Error.Code != errcode.Rejected {
				reason = string(o.Error.Code) + ": " + reason
			}
		}
		fmt.Fprintf(a.stderr, "kernel: rejected: %s\n", printable(reason))
		return true, errReported
	default:
		return false, &hinted{
			fmt.Errorf("no answer within %v", timeout),
			fmt.Sprintf("the call goes on; ask again with: %s await %s", a.typed(), o.Ticket),
		}
	}
}

// givesReferences reports whether there are references in an answer. While the answer is kept, so are the
// objects to which it refers, and a person who sees the references can use them: so such an answer is not
// acknowledged.
func givesReferences(o control.Outcome) bool {
	return o.CapData != nil && len(o.CapData.Slots) > 0 || strings.Contains(string(o.Value), `{"$ref":`)
}
