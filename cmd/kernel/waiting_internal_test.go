package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"ocapkernel.dev/control"
	"ocapkernel.dev/control/controltest"
)

// twoVats is a kernel of which one vat is held, and the other one busy.
type twoVats struct{ *controltest.Fake }

func (k twoVats) PS(ctx context.Context) ([]control.Vat, error) {
	vats, err := k.Fake.PS(ctx)
	for i := range vats {
		vats[i].State, vats[i].Queue = control.VatRunning, 3
		if vats[i].ID == "v1" {
			vats[i].State, vats[i].Why = control.VatHeld, "three kernels died of it"
		}
	}
	return vats, err
}

// A person who waits for an answer is told about the vat that is to give it, under any name of the call's
// target.
func TestWhoWaitsHearsAboutTheVatThatIsCalled(t *testing.T) {
	fake := controltest.New()
	fake.Declare(false, controltest.Declaration{Name: "bank", Config: "1"})
	if _, _, err := fake.Launch(t.Context(), control.LaunchRequest{Config: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	listener, err := control.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- control.NewServer(listener, twoVats{fake}, control.ServerOptions{}).Run(ctx) }()
	a := &app{patience: patience}
	for target, want := range map[string]string{
		"s1": "v1", "v1": "v1", "ko1": "v1", "s1/root": "v1", "bank": "v1", "bank/root": "v1",
		"s2": "v2", "v2": "v2", "ko2": "v2", "s2/root": "v2",
		"s7": "", "v7": "", "ko7": "", "nobody/there": "", "": "",
	} {
		lines := a.waits(t.Context(), dir, target)
		has := func(text string) bool {
			return slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, text) })
		}
		if has("held back: three kernels died of it") != (want == "v1") || has("is busy: 3 messages wait for it") != (want == "v2") {
			t.Errorf("a call of %q waits for %q, want something of %q", target, lines, want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
