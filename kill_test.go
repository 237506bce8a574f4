package ocapkernel_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"ocapkernel.dev"
	"ocapkernel.dev/service"
)

// victimEnv names the state directory, in the process that is to be killed.
const victimEnv = "OCAPKERNEL_TEST_VICTIM"

// victim runs a kernel whose service is in the middle of two calls, and says so.
func victim(dir string) {
	lab := newLab()
	o, err := service.New(lab, service.Name("lab"), service.IdempotentMethods("waitTwice"))
	if err != nil {
		fmt.Println(err)
		return
	}
	k, err := ocapkernel.New(ocapkernel.Options{
		Dir: dir, Durability: "process", Services: map[string]ocapkernel.Service{"lab": {Object: o}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	go func() { fmt.Println(k.Run(ctx)) }()
	sub, err := k.Ensure(ctx, user(`["lab"]`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, method := range []string{"wait", "waitTwice"} {
		go func() { _, _ = k.CallOnce(ctx, method, sub.ID, "ask", "lab", method, []any{}) }()
		fmt.Println("began", <-lab.began)
	}
	select {} // until it is killed
}

// TestCallsThatTheProgramWasKilledIn kills a program that embeds the kernel, in the middle of a call that must not
// be done twice and of one that may.
func TestCallsThatTheProgramWasKilledIn(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), victimEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, want := range []string{"began wait", "began waitTwice"} {
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("the program says %q, want %q", lines.Text(), want)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed
	if t.Failed() {
		return
	}

	lab := newLab()
	k := start(t, ocapkernel.Options{Dir: dir, Services: lab.object(t)})
	sub := k.ensure(t, `["lab"]`)
	if _, err := k.CallOnce(t.Context(), "wait", sub.ID, "ask", "lab", "wait", []any{}); !errors.Is(err, ocapkernel.ErrAmbiguous) {
		t.Errorf("the call that must not be done twice: %v, want AMBIGUOUS", err)
	}
	got, err := k.CallOnce(t.Context(), "waitTwice", sub.ID, "ask", "lab", "waitTwice", []any{})
	if err != nil || string(got) != `"the second time"` {
		t.Errorf("the call that may be done twice: %s, %v", got, err)
	}
	if len(lab.began) != 0 {
		t.Errorf("%s was begun again", <-lab.began)
	}
}
