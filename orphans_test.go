package ocapkernel_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ocapkernel.dev"
	"ocapkernel.dev/internal/scripttest"
)

// Leave starts a daemon that sleeps for so long: it is in a session of its own, and its parent has ended.
func (u *User) Leave(mark string) error {
	cmd := exec.Command("/bin/sh", "-c", "PATH=/usr/bin:/bin; sleep "+mark+" >/dev/null 2>&1 &")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Run()
}

func sleepers(mark string) (n int) {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		if text, _ := os.ReadFile(name); bytes.Equal(text, []byte("sleep\x00"+mark+"\x00")) {
			n++
		}
	}
	return n
}

func TestWhatWorkersLeaveBehindEndsIfTheProgramAdoptsOrphans(t *testing.T) {
	if !scripttest.Alone(t) { // it holds for all of the process, for good
		return
	}
	mark, own := fmt.Sprintf("31000.%d", os.Getpid()), fmt.Sprintf("32000.%d", os.Getpid())
	child := exec.Command("sleep", own)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	// A child that is there before, in a session of its own, and leaves a daemon in it while the kernel runs.
	before, trigger := fmt.Sprintf("33000.%d", os.Getpid()), filepath.Join(t.TempDir(), "trigger")
	sidecar := exec.Command("/bin/sh", "-c", "until test -e "+trigger+"; do sleep 0.05; done; sh -c 'sleep "+before+" &'; sleep "+before)
	sidecar.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := sidecar.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-sidecar.Process.Pid, syscall.SIGKILL)
		_ = sidecar.Wait() // it was killed
	}()
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), AdoptOrphans: true})
	write(t, trigger, "")
	sub := k.ensure(t, `[]`)
	if _, err := ocapkernel.Call[any](t.Context(), k.Kernel, sub.ID, "leave", mark); err != nil {
		t.Fatal(err)
	}
	eventually := func(what string, is func() bool) {
		t.Helper()
		err := scripttest.Within(30*time.Second, func() error {
			if !is() {
				return fmt.Errorf("%s: %d sleep", what, sleepers(mark))
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	eventually("the daemon runs", func() bool { return sleepers(mark) == 1 })
	eventually("what the earlier child starts runs", func() bool { return sleepers(before) == 2 })
	if err := k.Backend().RestartVat(context.Background(), sub.Vats["user"], false); err != nil {
		t.Fatal(err)
	}
	eventually("the daemon has ended with its worker", func() bool { return sleepers(mark) == 0 })
	if n := sleepers(before); n != 2 {
		t.Errorf("of what an earlier child has started in its own session %d processes are left, want 2", n)
	}
	if sleepers(own) != 1 {
		t.Error("a child of the program, in its session, was killed")
	}
	k.end(t)
	if err := child.Process.Kill(); err != nil {
		t.Errorf("the child of the program: %v", err)
	}
	if err := child.Wait(); err == nil {
		t.Error("the child of the program was not killed by this test")
	}
}

// A program that does not ask for it stays as it is: orphans are not its children.
func TestAKernelDoesNotAdoptOrphansByItself(t *testing.T) {
	if !scripttest.Alone(t) {
		return
	}
	k := start(t, ocapkernel.Options{Dir: t.TempDir()})
	k.ensure(t, `[]`)
	k.end(t)
	var is int32
	if _, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&is)), 0); errno != 0 || is != 0 {
		t.Errorf("it is the parent of orphans: %d, %v", is, errno)
	}
}
