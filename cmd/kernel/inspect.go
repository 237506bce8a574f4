package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) inspectCommand() *cobra.Command {
	var because bool
	cmd := a.withJSON(&cobra.Command{
		Use:   "inspect KREF",
		Short: "Say what the kernel knows about an object or a promise",
		Long: `Say what the kernel knows about an object (ko4) or a promise (kp7): whom it belongs to, who holds it, under which
name, and what waits for it. With --why: what the kernel keeps it for.`,
		Args: one("KREF", control.CheckKRef),
		RunE: func(cmd *cobra.Command, args []string) error {
			if because {
				return a.ask(cmd.Context(), noLimit, func(ctx context.Context, client *control.Client) error {
					r, err := why(ctx, client, args[0], map[string]bool{}, 0)
					if err != nil {
						return err
					}
					return a.print(r, func(w io.Writer) { describeReasons(w, r, "") })
				})
			}
			return a.ask(cmd.Context(), 0, func(ctx context.Context, client *control.Client) error {
				i, err := client.Inspect(ctx, args[0])
				if err != nil {
					return err
				}
				return a.print(i, func(w io.Writer) { describeInspection(w, i) })
			})
		},
	})
	cmd.Flags().BoolVar(&because, "why", false, "say what it is kept for, with the path through the store of a vat (reads the whole state)")
	return a.completeArg(cmd, rootKRefs)
}

func describeInspection(w io.Writer, i control.Inspection) {
	rows := [][]string{{"ref", i.Ref}, {"kind", i.Kind}}
	switch {
	case i.Kind == control.KindPromise:
		rows = append(rows, []string{"state", i.State})
		if i.Decider != "" {
			rows = append(rows, []string{"decider", i.Decider})
		}
		if i.Value != nil {
			rows = append(rows, []string{"value", human(i.Value)})
		}
		rows = append(rows, []string{"subscribers", dash(strings.Join(i.Subscribers, " "))}, []string{"parked messages", strconv.Itoa(i.Parked)})
	default:
		owner := dash(i.Owner)
		if i.OwnerName != "" {
			owner += " (" + i.OwnerName + ")"
		}
		rows = append(rows, []string{"owner", owner}, []string{"revoked", yesNo(i.Revoked)})
	}
	rows = append(rows, []string{"reachable", strconv.Itoa(i.Reachable)}, []string{"recognizable", strconv.Itoa(i.Recognizable)})
	table(w, rows)
	if len(i.Holders) == 0 {
		return
	}
	rows = [][]string{{"HOLDER", "NAME", "VREF", "REACHABLE"}}
	for _, h := range i.Holders {
		rows = append(rows, []string{h.Vat, h.Name, h.VRef, yesNo(h.Reachable)})
	}
	fmt.Fprintln(w)
	table(w, rows)
}

func (a *app) revokeCommand() *cobra.Command {
	return a.completeArg(a.withJSON(&cobra.Command{
		Use:   "revoke KREF",
		Short: "Make every call of an object be rejected, for good",
		Long: `Make every call of an object (ko4) be rejected with REVOKED, whoever makes it. This cannot be taken back. References
to the object can still be kept, compared and passed on.`,
		Args: one("KREF", control.CheckObject),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd.Context(), 0, func(ctx context.Context, client *control.Client) error {
				if err := client.Revoke(ctx, args[0]); err != nil {
					return err
				}
				return a.print(map[string]any{"ref": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s is revoked\n", args[0]) })
			})
		},
	}), rootKRefs)
}
