package scripttest

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

const aloneVariable = "OCAPKERNEL_TEST_ALONE"

// Alone runs a test in a process of its own. It is for a test that changes the whole process, such as a limit
// of the system: Go's test runner writes files of its own in this process. It reports whether this is that
// process; otherwise the test has been run.
func Alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(aloneVariable) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), aloneVariable+"="+t.Name())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("in a process of its own: %v\n%s", err, out)
	}
	return false
}

// SmallFiles lets no file of this process grow beyond some bytes, until again is called. The test is one that runs [Alone].
func SmallFiles(t *testing.T, bytes uint64) (again func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}
}
