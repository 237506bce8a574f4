package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/service"
)

// shop exports objects, and keeps references.
type shop struct {
	kept service.Ref
	ctx  context.Context
}

type item struct{ name string }

func (i *item) Name() string { return i.name }

func (s *shop) Item(ctx context.Context, name string) (service.Ref, error) {
	return service.ExportObject(ctx, &item{name}, service.Restorable("item", []byte(name)))
}

// Pair exports three objects and returns two, the last one first and twice.
func (s *shop) Pair(ctx context.Context, given service.Ref) (map[string]any, error) {
	var refs []service.Ref
	for _, name := range []string{"a", "b", "c"} {
		r, err := service.ExportObject(ctx, &item{name})
		if err != nil {
			return nil, err
		}
		refs = append(refs, r)
	}
	s.kept, s.ctx = refs[0], ctx
	return map[string]any{"1": refs[2], "2": given, "3": refs[0], "4": refs[2], "5": refs[0].String()}, nil
}

func (s *shop) Many(ctx context.Context, n int) error {
	for i := range n {
		if _, err := service.ExportObject(ctx, &item{fmt.Sprint(i)}); err != nil {
			return err
		}
	}
	return nil
}

func (s *shop) Doomed(ctx context.Context) (service.Ref, error) {
	r, err := service.ExportObject(ctx, &item{"x"})
	return r, errors.Join(err, errors.New("no"))
}

func (s *shop) Bad(ctx context.Context) (service.Ref, error) {
	return service.ExportObject(ctx, item{})
}
func (s *shop) Keep(r service.Ref) { s.kept = r }
func (s *shop) Kept() service.Ref  { return s.kept }

func TestExportedObjectsAreInTheReply(t *testing.T) {
	s := &shop{}
	o := object(t, s, service.Name("shop"))
	r := call(t, o, "item", `["tea"]`)
	if got := show(t, r); got != `{"$ref":"new0"}` || len(r.Exports) != 1 {
		t.Fatalf("got %s with %d exports, want new0 and one", got, len(r.Exports))
	}
	if x := r.Exports[0]; x.Kind != "item" || string(x.Config) != "tea" {
		t.Errorf("export is %q of %q, want an item of tea", x.Kind, x.Config)
	}
	if got := show(t, call(t, r.Exports[0].Object, "name", `[]`)); got != `"tea"` {
		t.Errorf("the item's name is %s", got)
	}

	// Exports are numbered as the result refers to them; b is not exported.
	r = call(t, o, "pair", `[{"$ref":"ko9"}]`)
	if got, want := show(t, r), `{"1":{"$ref":"new0"},"2":{"$ref":"ko9"},"3":{"$ref":"new1"},"4":{"$ref":"new0"},"5":"new0"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var names []string
	for _, x := range r.Exports {
		names = append(names, show(t, call(t, x.Object, "name", `[]`)))
	}
	if diff := cmp.Diff([]string{`"c"`, `"a"`}, names); diff != "" {
		t.Errorf("exports (-want +got):\n%s", diff)
	}
}

func TestExportBelongsToOneCall(t *testing.T) {
	s := &shop{}
	o := object(t, s, service.Name("shop"))
	call(t, o, "pair", `[null]`)
	if got := show(t, call(t, o, "kept", `[]`)); !strings.Contains(got, "only be referred to by the result of the call that exported it") {
		t.Errorf("a reference to another call's export gives %s", got)
	}
	if _, err := service.ExportObject(s.ctx, &item{}); err == nil || !strings.Contains(err.Error(), "the call has ended") {
		t.Errorf("export after the call: got error %v", err)
	}
	if _, err := service.ExportObject(t.Context(), &item{}); err == nil || !strings.Contains(err.Error(), "belongs to no call") {
		t.Errorf("export outside of a call: got error %v", err)
	}
	if _, ok := service.Caller(t.Context()); ok {
		t.Error("there is a caller outside of a call")
	}
}

func TestExportsThatFail(t *testing.T) {
	o := object(t, &shop{}, service.Name("shop"))
	if got := show(t, call(t, o, "many", `[64]`)); got != `{"$undefined":true}` {
		t.Errorf("64 exports give %s", got)
	}
	if got := show(t, call(t, o, "many", `[65]`)); !strings.Contains(got, "[KERNEL:LIMIT] export: more than the limit of 64") {
		t.Errorf("65 exports give %s", got)
	}
	if r := call(t, o, "doomed", `[]`); !r.Rejected || len(r.Exports) > 0 {
		t.Errorf("a rejection exports %d objects", len(r.Exports))
	}
	if got := show(t, call(t, o, "bad", `[]`)); !strings.Contains(got, "pass a pointer") {
		t.Errorf("export of a value without methods gives %s", got)
	}
}

// A reference that a service keeps can be given to others later.
func TestKeptReference(t *testing.T) {
	o := object(t, &shop{})
	call(t, o, "keep", `[{"$ref":"ko9"}]`)
	if got := show(t, call(t, o, "kept", `[]`)); got != `{"$ref":"ko9"}` {
		t.Errorf("got %s, want ko9", got)
	}
}

func TestRef(t *testing.T) {
	for name, ok := range map[string]bool{
		"ko1": true, "kp77": true, "ko0": true, "ko": false, "ko01": false, "ko-1": false, "ko+1": false, "kx1": false, "new0": false, "": false,
		"ko99999999999999999999": false, "o+1": false, "ko1!": false,
	} {
		r, err := service.ParseRef(name)
		if (err == nil) != ok || ok && r.String() != name {
			t.Errorf("%q: got %v, error %v", name, r, err)
		}
	}
	r, err := service.ParseRef("ko4")
	if err != nil {
		t.Fatal(err)
	}
	if r == (service.Ref{}) || (service.Ref{}).String() != "null" {
		t.Error("the zero Ref is not null")
	}
	type pair struct{ A, B service.Ref }
	text, err := json.Marshal(pair{A: r})
	if err != nil {
		t.Fatal(err)
	}
	var back pair
	if err := json.Unmarshal(text, &back); err != nil || back != (pair{A: r}) {
		t.Errorf("%s is read as %v, error %v", text, back, err)
	}
	for _, bad := range []string{`{}`, `{"$ref":4}`, `{"$ref":"ko4","x":1}`, `"ko4"`, `4`, `{"$ref":"ko4!x"}`, `{"$ref":"new0"}`} {
		if err := json.Unmarshal([]byte(bad), &r); err == nil {
			t.Errorf("%s is read as %v", bad, r)
		}
	}
}

func TestReplies(t *testing.T) {
	r, err := service.ParseRef("ko4")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		got  service.Reply
		want string
	}{
		{service.Fulfil(nil), `null`},
		{service.Fulfil(capdata.Undefined{}), `{"$undefined":true}`},
		{service.Fulfil(map[string]any{"a": r, "b": []service.Ref{r, service.NewRef(1)}}), `{"a":{"$ref":"ko4"},"b":[{"$ref":"ko4"},{"$ref":"new1"}]}`},
		{service.Fulfil(map[string]any{"$ref": "ko4"}), `rejected Error: the result cannot be passed: {$ref: "ko4"}: a reference is passed as a service.Ref`},
		{service.Fulfil(service.NewRef(64)), `rejected Error: the result cannot be passed: "new64": a reply has at most 64 exports`},
		{service.Fulfil(func() {}), `rejected Error: the result cannot be passed: json: unsupported type`},
		{service.Fulfil([]func(){nil}), `rejected Error: the result cannot be passed: json: unsupported type`},
		{service.Reject(errcode.Limit, "more than %d", 7), `rejected Error: [KERNEL:LIMIT] more than 7`},
		{service.Reject(errcode.Limit, "%s", "100%"), `rejected Error: [KERNEL:LIMIT] 100%`},
		{service.Reject("BORED", "so"), `rejected Error: [KERNEL:UNKNOWN] so`},
		{service.Fail(errors.New("bad \xff")), "rejected Error: bad \uFFFD"},
		{service.Fail(&service.Error{Code: errcode.Revoked, Message: "x"}), `rejected Error: [KERNEL:REVOKED] x`},
	} {
		if got := show(t, test.got); !strings.HasPrefix(got, test.want) {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}
