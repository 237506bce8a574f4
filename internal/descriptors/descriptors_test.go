package descriptors_test

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/descriptors"
)

// childEnv makes the test binary be a process with few descriptors.
const childEnv = "DESCRIPTORS_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

// Of few descriptors each user leaves some to those after it, and the rest when no user gets more is enough to
// open files.
func TestSomeAreKeptBack(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func child() int {
	const limit = 120
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		println(err.Error())
		return 1
	}
	b := descriptors.New()
	left := limit
	for _, u := range []descriptors.User{descriptors.Channels, descriptors.Workers, descriptors.Control} {
		taken := 0
		for b.Allows(u, 1) {
			if _, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
				println("what was allowed is not there:", err.Error())
				return 1
			}
			taken++
		}
		if taken == 0 || taken >= left {
			println("user", u, "got", taken, "of", left)
			return 1
		}
		left -= taken
	}
	if err := b.Probe(4); err != nil {
		println("nothing was kept back:", err.Error())
		return 1
	}
	for {
		if _, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			break
		}
	}
	if err := b.Probe(1); !errors.Is(err, syscall.EMFILE) {
		println("the probe does not see that there are none")
		return 1
	}
	if b.Allows(descriptors.Control, 1) {
		println("one is allowed that is not there")
		return 1
	}
	return 0
}
