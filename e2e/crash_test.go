package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// outOfMemory takes all further memory from a kernel, so that it crashes as Go does: with a fatal error that nothing
// can catch.
func (s *site) outOfMemory(t testing.TB, pid int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var pages uint64
	if _, err := fmt.Sscan(string(text), &pages); err != nil {
		t.Fatal(err)
	}
	size := pages * uint64(os.Getpagesize())
	if err := unix.Prlimit(pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: size, Max: size}, nil); err != nil {
		t.Skip(err)
	}
	// Requests that do not end: the kernel keeps the outcome of each.
	part := bytes.Repeat([]byte("x"), 6<<20)
	for range 30 {
		conn, err := net.Dial("unix", filepath.Join(s.state, "kernel.sock"))
		if err != nil {
			break // it has crashed
		}
		defer conn.Close()
		if _, err := conn.Write(part); err != nil {
			break
		}
	}
	eventually(t, func() error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kernel %d lives: %v", pid, err)
		}
		return nil
	})
}

// A vat of whose memory three kernels in a row crash, in a way that no program can catch, is held back by the fourth.
func TestAVatOfWhichKernelsCrashIsHeldBack(t *testing.T) {
	s := newSite(t)
	s.must(t, "start")
	sub := s.waiters(t, "test.fickle")
	s.must(t, "send", "--no-wait", sub, "nap")
	s.atSlow(t, "nap")
	s.must(t, "send", "--no-wait", sub, "peer")
	waiter := s.vats(t)["waiter"].ID
	s.must(t, "stop")
	s.must(t, "start")
	held := waiter + " is held back: 3 kernels in a row died while they worked for it"
	for crashes := 0; !strings.Contains(s.must(t, "status"), held); crashes++ {
		if crashes == 10 { // some may come when its memory was made already
			t.Fatalf("after %d crashes status says %s", crashes, s.must(t, "status"))
		}
		s.must(t, "send", "--no-wait", sub, "nap") // so that its memory is made again
		eventually(t, func() error {
			if v := s.vats(t)["waiter"]; v.PID == 0 {
				return fmt.Errorf("its memory is not being made: %+v", v)
			}
			return nil
		})
		var status struct{ PID int }
		s.read(t, &status, "status")
		s.outOfMemory(t, status.PID)
		s.must(t, "start")
	}
	if logs := s.must(t, "logs"); !strings.Contains(logs, "fatal error: ") {
		t.Errorf("no crash in the log: %s", tail(logs, 20))
	}
	s.must(t, "stop")
}
