// Package e2e_test runs the real programs as a person does: kernel processes with their own state directories,
// worker processes, the command line, SIGKILL.
//
// The scripts in testdata show the behaviour of the system, an area and a case each. The tests in Go are those
// that need a clock, a load, or many kills. Everything runs in a [site], which finds remains. Where workers die, lie or are
// waited for, a test runs over each [transport].
package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"ocapkernel.dev/internal/scripttest"
)

// built is where TestMain puts the programs, below root; nothing changes them afterwards.
var root, built string

// The programs that the tests run.
var commands = []string{"./cmd/kernel", "./cmd/vatworker", "./e2e/testworker", "./e2e/testplugin"}

func TestMain(m *testing.M) {
	flag.Parse()
	scripttest.HearSignals()
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if testing.Short() {
		fmt.Println("the end-to-end tests are skipped: -short")
		return 0
	}
	var err error
	if root, err = os.MkdirTemp("", "e2e"); err != nil { // short: paths of sockets begin with it
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(root)
	if root, err = filepath.EvalSymlinks(root); err != nil { // as the system names a program that runs
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	built = filepath.Join(root, "built")
	if err := build(built); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Most of the time the tests wait for processes: more of them can run than there are processors.
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		if err := parallel.Value.Set(fmt.Sprint(2 * runtime.GOMAXPROCS(0))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// build builds the programs, with flags of go build, into a directory.
func build(dir string, flags ...string) error {
	args := append([]string{"build", "-o", dir + "/"}, flags...)
	build := exec.Command("go", append(args, commands...)...)
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the commands: %w", err)
	}
	return nil
}
