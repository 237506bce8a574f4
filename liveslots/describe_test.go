package liveslots_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/liveslots"
)

func TestRowsAreDescribedWithoutTheProgram(t *testing.T) {
	d := liveslots.NewDescriber([]byte(`{"kinds":[{"type":"a.root","shapes":[{"N":"int64"}]},{"type":"a.purse"}],"root":1}`))
	for _, test := range []struct {
		name, key, row string
		want           liveslots.Description
	}{
		{"root", "o.o+0", "0\n\n" + `#{"N":7}`, liveslots.Description{
			Kind: "object", Name: "o+0", Type: "a.root", Fields: map[string]string{"N": "int64"}, Value: []byte(`{"N":7}`),
		}},
		{"object", "o.o+d2/9", "3\no-4\n" + `#{"R":"$0.Alleged: r"}`, liveslots.Description{
			Kind: "object", Name: "o+d2/9", Type: "a.purse", Value: []byte(`{"R":{"$ref":"o-4"}}`),
		}},
		{"object of no kind", "o.o+d7/9", "0\n\n#{}", liveslots.Description{Kind: "object", Name: "o+d7/9", Value: []byte(`{}`)}},
		{"entry", "m.3.a.b", "\n#5", liveslots.Description{Kind: "entry", Name: "a.b", Map: 3, Value: []byte(`5`)}},
		{"continuation", "w.4", "when o+0 p+9\np-5 w3\n" + `#["Paid",["&0","&1"]]`, liveslots.Description{
			Kind: "call", Name: "4", Call: "when", Target: "o+0", Method: "Paid", Waits: []string{"p-5", "w3"}, Value: []byte(`[{"$ref":"p-5"},{"$ref":"w3"}]`),
		}},
		{"call without a method", "w.5", "all \np-5\n#[\"&0\"]", liveslots.Description{
			Kind: "call", Name: "5", Call: "all", Waits: []string{"p-5"}, Value: []byte(`[{"$ref":"p-5"}]`),
		}},
		{"call that has nothing but what it waits for", "w.6", "forward  p+9\np-5\n", liveslots.Description{
			Kind: "call", Name: "6", Call: "forward", Waits: []string{"p-5"},
		}},
		{"call without its method", "w.7", "call o+0 p+9\np-5\n", liveslots.Description{
			Kind: "call", Name: "7", Call: "call", Target: "o+0", Waits: []string{"p-5"}, Problem: "its value cannot be read: body does not begin with '#' at byte 0",
		}},
		{"promise", "s.l9", "r\n\n" + `#{"#error":"no","name":"Error"}`, liveslots.Description{
			Kind: "promise", Name: "l9", Rejected: true, Value: []byte(`{"$error":"no","name":"Error"}`),
		}},
		{"bookkeeping", "ids", "{}", liveslots.Description{Kind: "own", Name: "ids"}},
		{"link", "p.p-5.0000000000000004", "", liveslots.Description{Kind: "own", Name: "p.p-5.0000000000000004"}},
		{"length of a Map", "n.3", "17", liveslots.Description{Kind: "own", Name: "n.3"}},
		{"strange", "q", "x", liveslots.Description{Kind: "other", Name: "q", Problem: "it is not laid out by this version"}},
		{"garbage", "m.1.x", "garbage", liveslots.Description{Kind: "entry", Name: "x", Map: 1, Problem: "it is not in the form of this version"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, d.Describe(test.key, []byte(test.row), true)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := d.Describe("o.o+0", []byte("0\n\n#{"), false); got.Problem == "" || got.Value != nil || got.Type != "a.root" {
		t.Errorf("a row that was cut: %+v", got)
	}
}

// A vat may have written anything at all.
func FuzzDescribe(f *testing.F) {
	f.Add("ids", "o.o+0", []byte("0\n\n#{}"))
	f.Add(`{"kinds":[null],"root":1}`, "o.o+0", []byte("0"))
	f.Add(`{"root":-1}`, "o.o+d0/", []byte("\n\n"))
	f.Add(`{"kinds":[{}],"root":1}`, "w.", []byte("\n \n#[\"$9\"]"))
	f.Fuzz(func(t *testing.T, ids, key string, row []byte) {
		for _, whole := range []bool{true, false} {
			if d := liveslots.NewDescriber([]byte(ids)).Describe(key, row, whole); d.Kind == "" {
				t.Errorf("a row without a kind: %+v", d)
			}
		}
	})
}

// Only the prefixes of this package's own rows are its own, and not what several of them make up.
func TestRowsWithOtherPrefixesAreNotOwn(t *testing.T) {
	d := liveslots.NewDescriber(nil)
	for key, want := range map[string]liveslots.DescriptionKind{
		"n.1": liveslots.RowOwn, "c.o-1": liveslots.RowOwn, "x.1": liveslots.RowOwn,
		"p n.1": liveslots.RowOther, " .1": liveslots.RowOther, ".1": liveslots.RowOther, "n c g.1": liveslots.RowOther, "y.1": liveslots.RowOther,
	} {
		if got := d.Describe(key, nil, true).Kind; got != want {
			t.Errorf("%q is described as %s, want %s", key, got, want)
		}
	}
}
