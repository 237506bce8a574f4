package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/backend"
	"ocapkernel.dev/liveslots"
)

// stateFlags are the flags of state.
type stateFlags struct {
	only  string
	inMap uint64
	after string
	limit int
	wide  bool
}

// rowPrefixes are the prefixes of the rows' keys, by the words that --only accepts.
var rowPrefixes = map[string]string{"objects": "o.", "entries": "m.", "calls": "w.", "promises": "s."}

func (a *app) stateCommand() *cobra.Command {
	var f stateFlags
	cmd := a.withJSON(&cobra.Command{
		Use:   "state VAT",
		Short: "Show what a vat has stored",
		Long: `Show what a vat has stored: its objects with their types and fields, the entries of its Maps, the calls that wait (the
continuations of When among them), and the settled promises that these mention. References are in the vat's own names, as
kernel inspect KREF shows them: o+0 is its root, o-5 an object of another vat, p-5 a promise, w7 the result of call 7. It
works with a running kernel, which goes on meanwhile, and with a stopped one.`,
		Example: `  kernel state s1/mint
  kernel state mint --only calls
  kernel state mint --map 1 --limit 20`,
		Args: one("VAT", control.CheckVat),
		RunE: func(cmd *cobra.Command, args []string) error {
			query, err := f.query(args[0], cmd.Flags().Changed("map"))
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), func(ctx context.Context, stored storedFunc) error { return a.showState(ctx, stored, query, f) })
		},
	})
	cmd.Flags().StringVar(&f.only, "only", "", "`WHAT` is shown: objects, entries, calls or promises")
	cmd.Flags().Uint64Var(&f.inMap, "map", 0, "only the entries of the Map with this `NUMBER`")
	cmd.Flags().StringVar(&f.after, "after", "", "go on behind `PLACE`, which the page before has named")
	cmd.Flags().IntVar(&f.limit, "limit", 100, "how many rows are shown at most, up to 1000")
	cmd.Flags().BoolVar(&f.wide, "wide", false, "show long values whole")
	completeFlagWith(cmd, "only", "objects", "entries", "calls", "promises")
	return a.completeArg(cmd, vatIDs, vatNames)
}

func (f *stateFlags) query(vat string, inMap bool) (control.StoredRows, error) {
	q := control.StoredRows{Vat: vat, Limit: f.limit}
	prefix, known := rowPrefixes[f.only]
	after, err := base64.RawURLEncoding.DecodeString(f.after)
	switch {
	case f.only != "" && !known:
		return q, usagef("--only is objects, entries, calls or promises, not %q", f.only)
	case f.only != "" && inMap:
		return q, usagef("--map is of entries: leave --only out")
	case f.limit < 1 || f.limit > 1000:
		return q, usagef("--limit must be from 1 to 1000")
	case err != nil:
		return q, usagef("--after is what the page before has named, not %q", f.after)
	}
	if inMap {
		prefix = fmt.Sprintf("m.%d.", f.inMap)
	}
	q.Prefix, q.After = []byte(prefix), after
	return q, nil
}

// storedFunc reads a page of a vat's store.
type storedFunc func(context.Context, control.StoredRows) (control.StoredPage, error)

// withStore does something with the stores of the vats, of a kernel that runs or of one that does not.
func (a *app) withStore(ctx context.Context, do func(context.Context, storedFunc) error) error {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	client, err := a.reach(ctx, dir)
	switch {
	case control.CodeOf(err) == errcode.NotRunning:
		return a.withPaused(ctx, dir, func(ctx context.Context, k openKernel) error { return do(ctx, k.Stored) })
	case err != nil:
		return err
	}
	defer client.Close()
	return do(ctx, func(ctx context.Context, q control.StoredRows) (control.StoredPage, error) {
		ctx, cancel := context.WithTimeout(ctx, a.patience)
		defer cancel()
		page, err := client.Stored(ctx, q)
		return page, orSilent(dir, err)
	})
}

// withPaused runs a kernel that begins nothing over the state.
func (a *app) withPaused(ctx context.Context, dir string, do func(context.Context, openKernel) error) (err error) {
	lock, err := a.readState(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	k, err := a.newKernel(backend.Options{Dir: dir, Lock: lock, Logger: newLogger(a.stderr, slog.LevelError), Version: a.version, Paused: true})
	if err != nil {
		return damagedHint(err)
	}
	ctx, stop := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return k.Run(ctx) })
	err = do(ctx, k)
	stop()
	return errors.Join(err, g.Wait())
}

// storedState is the output of the command with --json.
type storedState struct {
	Vat        string                  `json:"vat"`
	Name       string                  `json:"name"`
	Subcluster string                  `json:"subcluster"`
	Rows       []liveslots.Description `json:"rows"`
	// After, if it is not empty, is the place behind which there is more.
	After string `json:"after,omitempty"`
}

// maxPages bounds the pages that are read in vain, of rows that are not shown.
const maxPages = 50

func (a *app) showState(ctx context.Context, stored storedFunc, q control.StoredRows, f stateFlags) error {
	ids, err := stored(ctx, control.StoredRows{Vat: q.Vat, Prefix: []byte(liveslots.IDsKey), Limit: 1})
	if err != nil {
		return err
	}
	var row []byte
	if len(ids.Rows) > 0 && len(ids.Rows[0].Value) == ids.Rows[0].Size {
		row = ids.Rows[0].Value
	}
	d := liveslots.NewDescriber(row)
	out := storedState{Vat: ids.Vat, Name: ids.Name, Subcluster: ids.Subcluster, Rows: []liveslots.Description{}}
	for range maxPages {
		page, err := stored(ctx, q)
		if err != nil {
			return err
		}
		for _, r := range page.Rows {
			q.After = r.Key
			if s := d.Describe(string(r.Key), r.Value, len(r.Value) == r.Size); s.Kind != liveslots.RowOwn {
				out.Rows = append(out.Rows, s)
			}
		}
		out.After = ""
		if page.More {
			out.After = base64.RawURLEncoding.EncodeToString(q.After)
		}
		if q.Limit -= len(page.Rows); !page.More || q.Limit <= 0 && len(out.Rows) > 0 {
			break
		}
		q.Limit = max(q.Limit, 1)
	}
	return a.print(out, func(w io.Writer) { a.describeState(w, out, f) })
}

func (a *app) describeState(w io.Writer, s storedState, f stateFlags) {
	if len(s.Rows) == 0 {
		fmt.Fprintf(w, "%s (%s of %s) has stored nothing here\n", s.Vat, printable(s.Name), s.Subcluster)
	} else {
		rows := [][]string{{"WHAT", "TYPE", "VALUE"}}
		for _, r := range s.Rows {
			what, kind, value := describeRow(r)
			if !f.wide {
				value = shorten(value, 160)
			}
			rows = append(rows, []string{what, dash(kind), value})
		}
		table(w, rows)
	}
	if s.After == "" {
		return
	}
	flags := ""
	if f.only != "" {
		flags = " --only " + f.only
	} else if f.inMap != 0 {
		flags = " --map " + strconv.FormatUint(f.inMap, 10)
	}
	fmt.Fprintf(w, "there is more; go on with: %s state %s%s --after %s\n", a.typed(), s.Vat, flags, s.After)
}

// describeRow puts a row into three words.
func describeRow(r liveslots.Description) (what, kind, value string) {
	value = human(r.Value)
	switch r.Kind {
	case liveslots.RowObject:
		what, kind = r.Name, r.Type
		if r.Name == "o+0" {
			what = "o+0 (root)"
		}
	case liveslots.RowEntry:
		what = fmt.Sprintf("map %d %s", r.Map, quoteJSON(r.Name))
	case liveslots.RowCall:
		what, kind = "call "+r.Name, r.Call
		if r.Method != "" {
			value = r.Target + "." + r.Method + " with " + value
		}
		if len(r.Waits) > 0 {
			value += ", waits for " + strings.Join(r.Waits, " ")
		}
	case liveslots.RowPromise:
		what, kind = "promise "+r.Name, "fulfilled"
		if r.Rejected {
			kind = "rejected"
		}
	case liveslots.RowOther, liveslots.RowOwn:
		what, kind = r.Name, string(r.Kind)
	}
	if r.Problem != "" {
		value = "(" + r.Problem + ")"
	}
	return what, kind, value
}

// shorten cuts a text for a terminal at a number of characters.
func shorten(s string, most int) string {
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i] + "…"
		}
	}
	return s
}
