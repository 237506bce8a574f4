package ocapkernel_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev"
)

// The operator's requests go through the control socket, and are no methods of a Kernel.
func TestTheMethodsOfAKernelAreThoseThatProgramsNeed(t *testing.T) {
	var got []string
	for m := range reflect.TypeFor[*ocapkernel.Kernel]().Methods() {
		got = append(got, m.Name)
	}
	got = slices.DeleteFunc(got, func(name string) bool { return name == "Backend" }) // of the tests
	want := []string{
		"Apply", "Call", "CallOnce", "Ensure", "EnsureFile", "Launch", "LaunchFile", "Register", "Release", "Reload", "Revoke", "Root", "Run",
		"Shutdown", "Status", "Terminate", "Unregister", "Vats",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestALaunchTellsWhatItsBootstrapAnswered(t *testing.T) {
	dir := t.TempDir()
	k := start(t, ocapkernel.Options{Dir: dir, Services: newLab().object(t)})
	first := k.ensure(t, `["lab"]`)
	again := k.ensure(t, `["lab"]`)
	another, err := k.Launch(t.Context(), user(`[]`))
	if err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string][2]string{
		"launched": {string(first.Result), "1"}, "found": {string(again.Result), "1"}, "another": {string(another.Result), "0"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: got %q, want %s", what, got[0], got[1])
		}
	}
	status, err := k.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first.Result, another.Result = nil, nil
	want := ocapkernel.Status{
		State: ocapkernel.Running, Subclusters: []ocapkernel.Subcluster{first, another}, Vats: 2, Cranks: status.Cranks, Commit: status.Commit,
	}
	if diff := cmp.Diff(want, status); diff != "" || first.State != ocapkernel.SubclusterRunning || status.Cranks == 0 || status.Commit < status.Cranks {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestVatsAreDescribed(t *testing.T) {
	k := start(t, ocapkernel.Options{Dir: t.TempDir()})
	sub := k.ensure(t, `[]`)
	list, err := k.Vats(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("got %+v, %v", list, err)
	}
	v := list[0]
	if v.PID <= 0 || v.RSSBytes <= 0 || v.State != ocapkernel.VatRunning {
		t.Errorf("its process: %+v", v)
	}
	v.PID, v.RSSBytes = 0, 0
	want := ocapkernel.Vat{ID: sub.Vats["user"], Name: "user", Subcluster: sub.ID, State: ocapkernel.VatRunning}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestASubclusterIsChangedReloadedAndRemoved(t *testing.T) {
	k := start(t, ocapkernel.Options{Dir: t.TempDir()})
	sub := k.ensure(t, `[]`)
	r := ocapkernel.ApplyRequest{Path: user(`[]`).Path, Config: []byte(
		`{"bootstrap":"user","vats":{"user":{"module":"user"},"guest":{"module":"user"}},"services":["timer"]}`), DryRun: true}
	planned, err := k.Apply(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	want := []ocapkernel.Change{
		{Field: "services.timer", Kind: ocapkernel.Added, Applies: ocapkernel.Live},
		{Field: "vats.guest", Kind: ocapkernel.Added, Applies: ocapkernel.Live},
	}
	for i := range planned.Changes {
		planned.Changes[i].New = "" // for people
	}
	slices.SortFunc(planned.Changes, func(a, b ocapkernel.Change) int { return strings.Compare(a.Field, b.Field) })
	if diff := cmp.Diff(want, planned.Changes); diff != "" || len(planned.Vats) > 0 {
		t.Errorf("planned (-want +got):\n%s%v", diff, planned.Vats)
	}
	r.DryRun = false
	done, err := k.Apply(t.Context(), r)
	if err != nil || done.Subcluster != sub.ID || done.Vats["guest"] == "" || done.Services["timer"] == "" || len(done.Problems) > 0 {
		t.Fatalf("got %+v, %v", done, err)
	}
	if got, err := ocapkernel.Call[string](t.Context(), k.Kernel, done.Vats["guest"], "hello", "you"); got != "hello, you" {
		t.Errorf("the vat that was added: %q, %v", got, err)
	}

	r.Config = []byte(`{"bootstrap":"user","vats":{"user":{"module":"user"}}}`)
	_, err = k.Apply(t.Context(), r)
	var told *ocapkernel.Error
	if !errors.Is(err, ocapkernel.ErrConflict) || !errors.As(err, &told) || len(told.Details) == 0 {
		t.Errorf("a vat is taken away: %v, want CONFLICT and what stands in the way", err)
	}
	r.Replace = sub.ID
	replaced, err := k.Apply(t.Context(), r)
	if err != nil || replaced.Replaced != sub.ID || replaced.Deleted["user"] != sub.Vats["user"] || replaced.Subcluster == sub.ID {
		t.Errorf("got %+v, %v", replaced, err)
	}

	now, err := k.Reload(t.Context(), replaced.Subcluster)
	if err != nil || now.ID == replaced.Subcluster || now.State != ocapkernel.SubclusterRunning {
		t.Errorf("reload: got %+v, %v", now, err)
	}
	if err := k.Revoke(t.Context(), now.Root); err != nil {
		t.Error(err)
	}
	if _, err := k.Call(t.Context(), now.ID, "hello", "you"); !errors.Is(err, ocapkernel.ErrRevoked) {
		t.Errorf("a revoked object: %v, want REVOKED", err)
	}
	if err := k.Terminate(t.Context(), now.ID); err != nil {
		t.Error(err)
	}
	if err := k.Terminate(t.Context(), now.ID); !errors.Is(err, ocapkernel.ErrNotFound) {
		t.Errorf("terminate what is not there: %v, want NOT_FOUND", err)
	}
	if err := k.Revoke(t.Context(), "ko9999"); !errors.Is(err, ocapkernel.ErrObjectDeleted) {
		t.Errorf("revoke what is not there: %v, want OBJECT_DELETED", err)
	}
	if _, err := k.Reload(t.Context(), now.ID); !errors.Is(err, ocapkernel.ErrNotFound) {
		t.Errorf("reload what is not there: %v, want NOT_FOUND", err)
	}
}

// A program asks for the root of a system subcluster right after the start, which launches it.
func TestTheRootOfASystemSubclusterIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	system := write(t, filepath.Join(dir, "kernel.json"), `{"system":{
		"first": {"bootstrap":"user","vats":{"user":{"module":"user"}}},
		"bad":   {"bootstrap":"user","vats":{"user":{"module":"user"}},"io":{"door":{"type":"file","path":"/nowhere/at/all","direction":"in"}}},
		"last":  {"bootstrap":"user","vats":{"user":{"module":"user"}}}}}`)
	k := start(t, ocapkernel.Options{Dir: filepath.Join(dir, "state"), System: system})
	root, err := k.Root(t.Context(), "last")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ocapkernel.Call[string](t.Context(), k.Kernel, root, "hello", "you"); got != "hello, you" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := k.Root(t.Context(), "bad"); !errors.Is(err, ocapkernel.ErrRejected) {
		t.Errorf("one that could not be launched: %v, want REJECTED", err)
	}
	if _, err := k.Root(t.Context(), "none"); !errors.Is(err, ocapkernel.ErrNotFound) {
		t.Errorf("one that is not declared: %v, want NOT_FOUND", err)
	}
}
