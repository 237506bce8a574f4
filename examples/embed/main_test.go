package main_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestTheBookIsFoundAgain runs the program as a person does, and kills it at moments that differ.
func TestTheBookIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "embed")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	state := filepath.Join(dir, "state")
	visits := 0
	sign := func(most int) {
		t.Helper()
		out, err := exec.Command(program, state).CombinedOutput()
		n := 0
		if _, e := fmt.Sscanf(string(out), "visit %d; ", &n); err != nil || e != nil || n <= visits || n > visits+most {
			t.Fatalf("after visit %d: %s%v", visits, out, err)
		}
		visits = n
	}
	sign(1)
	sign(1)
	killed := 0
	for _, after := range []time.Duration{30, 60, 90, 120, 180, 240} {
		ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
		if err := exec.CommandContext(ctx, program, state).Run(); err != nil { // SIGKILL, unless it was through
			killed++
		}
		cancel()
		sign(2) // the one that was killed may have signed
	}
	if killed == 0 {
		t.Error("the program was never killed")
	}
	sign(1)
}
