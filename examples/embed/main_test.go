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
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(build.Environ(), "CGO_ENABLED=0") // as `make build` does
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	state := filepath.Join(dir, "state")
	// Each run signs once at most. A run that is killed may have begun to sign: its visit is counted then, or while a
	// later run lasts, or never.
	begun, visits := 0, 0
	sign := func() {
		t.Helper()
		begun++
		out, err := exec.Command(program, state).CombinedOutput()
		n := 0
		if _, e := fmt.Sscanf(string(out), "visit %d; ", &n); err != nil || e != nil || n <= visits || n > begun {
			t.Fatalf("run %d, after visit %d: %s%v", begun, visits, out, err)
		}
		visits = n
	}
	sign()
	sign()
	if visits != 2 {
		t.Fatalf("two runs left %d visits", visits)
	}
	killed := 0
	for _, after := range []time.Duration{30, 60, 90, 120, 180, 240} {
		ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
		begun++
		if err := exec.CommandContext(ctx, program, state).Run(); err != nil { // SIGKILL, unless it was through
			killed++
		}
		cancel()
		sign()
	}
	if killed == 0 {
		t.Error("the program was never killed")
	}
	sign()
}
