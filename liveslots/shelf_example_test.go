package liveslots_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
)

// Shop is the vat of the example in shelf.go.
type Shop struct {
	vat.Durable
	Sold []string
}

func NewShop() *Shop { return &Shop{} }

func (s *Shop) Sell(item, buyer string) string {
	s.Sold = append(s.Sold, item)
	return item + " for " + buyer
}

// The example in shelf.go shows the rows that this package writes.
func TestExampleOfTheShelf(t *testing.T) {
	store := testStore{}
	v := startedOn(t, NewShop, store)
	var example strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&example, format+"\n", args...) }
	slots := []wire.Ref{"p-1", "p-2"}
	for n, d := range []struct {
		name string
		wire.Delivery
	}{
		{"call o+0.sell(p-1, p-2), result p-3", wire.Call{
			Target: wire.RootRef,
			Message: wire.Message{
				MethArgs: wire.CapData{Body: `#["sell",["&0","&1"]]`, Slots: slots}, Result: "p-3",
			},
		}},
		{`notify p-1 fulfilled "tea"`, wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-1", Value: wire.CapData{Body: `#"tea"`}}}}},
		{`notify p-2 fulfilled "ann"`, wire.Notify{Resolutions: []wire.Resolution{{Promise: "p-2", Value: wire.CapData{Body: `#"ann"`}}}}},
	} {
		done := v.Deliver(wire.Deliver{Number: uint64(n + 2), Delivery: d.Delivery})
		if done.Outcome.Fault != "" {
			t.Fatal(done.Outcome.Fault)
		}
		line("%s", d.name)
		for _, s := range done.Syscalls {
			switch s := s.(type) {
			case wire.Subscribe:
				line("  subscribe to %s%s", s.Promise, map[bool]string{true: ", stored"}[s.Stored])
			case wire.Keep:
				line("  keep %s%s", s.Promise, map[bool]string{true: ", stored"}[s.Stored])
			case wire.Resolve:
				for _, r := range s.Resolutions {
					line("  resolve %s to %s", r.Promise, r.Value.Body)
				}
			case wire.StoreSet, wire.StoreDelete: // the rows show them
			default:
				t.Errorf("a %T, which the example does not show", s)
			}
		}
		store.apply(done.Syscalls)
		showRows(line, store)
	}

	source, err := os.ReadFile("shelf.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(source), "// # An example\n")
	rest, _, _ = strings.Cut(rest, "\nconst shelfKey")
	var got strings.Builder
	for l := range strings.Lines(rest) {
		if l, ok := strings.CutPrefix(l, "//\t"); ok {
			got.WriteString(l)
		}
	}
	if diff := cmp.Diff(example.String(), got.String()); diff != "" {
		t.Errorf("the example in shelf.go is not what happens (-happens +comment):\n%s\nthis is:\n%s", diff, example.String())
	}
}

// showRows shows the rows of a vat's calls, and not those of its objects and their counts.
func showRows(line func(string, ...any), store testStore) {
	for _, key := range slices.Sorted(maps.Keys(store)) {
		if key == "ids" || key == "g" || strings.HasPrefix(key, "o.") {
			continue
		}
		value := "(empty)"
		if len(store[key]) > 0 {
			value = strings.ReplaceAll(string(store[key]), "\n", " ⏎ ")
		}
		line("  row %-22s  %s", key, value)
	}
}
