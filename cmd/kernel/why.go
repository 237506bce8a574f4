package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/liveslots"
)

// reasons says why the kernel keeps an object or a promise.
type reasons struct {
	Ref   string   `json:"ref"`
	Holds []reason `json:"holds"`
	More  bool     `json:"more,omitempty"`
}

// reason is a hold, and what is behind it.
type reason struct {
	control.Hold
	// Path leads from the vat's name for the reference to what the vat keeps without a reason, through its store; see storePath.
	Path []string `json:"path,omitempty"`
	// Because is why the promise is kept whose value, or parked message, holds the reference.
	Because *reasons `json:"because,omitempty"`
}

// The bounds of an answer to why something is kept.
const (
	maxReasons    = 10 // of one reference, that are followed and shown
	maxWhyDepth   = 6  // of promises whose values hold each other
	maxFollowed   = 30 // references, each of which reads the whole state
	maxStoreRows  = 200_000
	maxPathLength = 50
)

// why says why ref is kept. The references in seen are told of elsewhere.
func why(ctx context.Context, client *control.Client, ref string, seen map[string]bool, depth int) (*reasons, error) {
	seen[ref] = true
	page, err := client.Holds(ctx, ref)
	if err != nil {
		return nil, err
	}
	out := &reasons{Ref: ref, Holds: []reason{}, More: page.More || len(page.Holds) > maxReasons}
	stores := 0
	for _, h := range page.Holds[:min(len(page.Holds), maxReasons)] {
		r := reason{Hold: h}
		switch {
		case h.Kind == "vat" && stores < 3: // each reads a whole store
			stores++
			r.Path, err = storePath(ctx, client, h.Vat, h.VRef)
		case (h.Kind == "value" || h.Kind == "parked") && depth < maxWhyDepth && len(seen) < maxFollowed && !seen[h.In]:
			r.Because, err = why(ctx, client, h.In, seen, depth+1)
		}
		if err != nil && control.CodeOf(err) != errcode.NotFound { // else it has gone meanwhile
			return nil, err
		}
		out.Holds = append(out.Holds, r)
	}
	return out, nil
}

// storePath finds a way through a vat's store from one of the vat's names up to the root, to a call that waits, or to an object
// that nothing in the store leads to: others may hold that, or it is garbage that was not found yet. The path is empty if the
// store does not mention the name, or is too large to be searched.
func storePath(ctx context.Context, client *control.Client, vat, name string) ([]string, error) {
	ids, err := client.Stored(ctx, control.StoredRows{Vat: vat, Prefix: []byte(liveslots.IDsKey), Limit: 1})
	if err != nil {
		return nil, err
	}
	var row []byte
	if len(ids.Rows) > 0 && len(ids.Rows[0].Value) == ids.Rows[0].Size {
		row = ids.Rows[0].Value
	}
	d := liveslots.NewDescriber(row)
	from := map[string]string{} // the first thing that leads to each
	what := map[string]string{}
	q := control.StoredRows{Vat: vat}
	for rows, more := 0, true; more; {
		page, err := client.Stored(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Rows {
			q.After = r.Key
			of, names := d.Mentions(string(r.Key), r.Value)
			if of == "" {
				continue
			}
			s := d.Describe(string(r.Key), r.Value, len(r.Value) == r.Size)
			switch s.Kind {
			case liveslots.RowObject:
				what[of] = strings.TrimSpace(of + " " + s.Type)
			case liveslots.RowCall:
				what[of] = "call " + s.Name + ", which waits"
			case liveslots.RowPromise:
				what[of] = "the value of " + of
			case liveslots.RowEntry, liveslots.RowOwn, liveslots.RowOther:
				what[of] = "the Map " + of
			}
			for _, n := range names {
				if _, known := from[n]; !known || of == "o+0" {
					from[n] = of
				}
			}
		}
		more = page.More
		if rows += len(page.Rows); rows > maxStoreRows {
			return nil, nil
		}
	}
	var path []string
	for at := from[name]; at != "" && len(path) < maxPathLength && !slices.Contains(path, what[at]); at = from[at] {
		path = append(path, what[at])
		if at == "o+0" {
			break
		}
	}
	return path, nil
}

// describeReasons says why something is kept, in lines.
func describeReasons(w io.Writer, r *reasons, indent string) {
	if len(r.Holds) == 0 {
		fmt.Fprintf(w, "%snothing holds %s: it goes as soon as the vats were asked; see kernel collect\n", indent, r.Ref)
		return
	}
	fmt.Fprintf(w, "%s%s is held by\n", indent, r.Ref)
	for _, h := range r.Holds {
		fmt.Fprintf(w, "%s  %s\n", indent, describeHold(h))
		if h.Because != nil {
			describeReasons(w, h.Because, indent+"    ")
		}
	}
	if r.More {
		fmt.Fprintf(w, "%s  and more\n", indent)
	}
}

func describeHold(h reason) string {
	vat := h.Vat
	if h.Name != "" {
		vat += " (" + printable(h.Name) + ")"
	}
	switch h.Kind {
	case "vat":
		text := fmt.Sprintf("%s, which calls it %s", vat, h.VRef)
		if h.Recognized {
			text += " and can only recognize it"
		}
		if len(h.Path) == 0 {
			return text + "; its store does not mention it: it is in the vat's memory, or was not asked for yet"
		}
		return text + ": it is in " + strings.Join(h.Path, ", in ")
	case "root":
		return "the kernel, since it is the root of " + vat
	case "queue":
		return "a message or notification in the queue of " + h.Vat
	case "poisoned":
		return "a poisoned message of " + h.Vat
	case "exit":
		return "the value with which " + h.Vat + " has ended"
	case "value":
		return "the value of " + h.In
	case "parked":
		return "a message that is parked on " + h.In
	case "service":
		return strings.TrimSpace("the kernel, since it is a service object "+printable(h.Name)) + " that has not ended"
	case "holds":
		return strings.TrimSpace("the service object " + h.In + " " + printable(h.Name))
	case "call":
		return "a call of the service object " + h.In
	case "unit":
		return "a unit of input of " + h.In + " that was given back"
	case "ticket":
		return "the host call " + printable(h.Name)
	case "launch":
		return "the launch of " + h.Name
	case "result":
		return "the answer of the bootstrap of " + h.Name
	case "work":
		return "work of the kernel that is not done yet"
	}
	return h.Kind
}
