package sandbox

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// roleKey names the part that a process of the test binary plays.
const roleKey = "SANDBOX_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleKey); role != "" {
		if err := play(role); err != nil {
			fmt.Println("error:", err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play is a worker: it confines itself as the environment says, and then does what its role is.
func play(role string) error {
	policy, err := ParsePolicy(os.Getenv(Key))
	if err != nil {
		return err
	}
	dir, _ := strconv.Unquote(os.Getenv("DIR"))
	sibling, _ := strconv.Atoi(os.Getenv("SIBLING"))
	switch role {
	case "diverge": // a thread has a filter of its own
		if err := filterOneThread(); err != nil {
			return err
		}
	case "one thread": // the confinement that forgets TSYNC
		if err := filterOneThread(); err != nil {
			return err
		}
		policy.Mode = Off
	}
	if err := policy.Begin(4); err != nil {
		return err
	}
	if err := policy.Confine(); err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
	switch role {
	case "attack":
		for _, a := range attacks(dir, sibling) {
			fmt.Printf("%s=%d\n", a.name, a.try())
		}
		return soak()
	case "x32":
		_, _, errno := unix.RawSyscall(0x40000000+unix.SYS_GETPID, 0, 0, 0)
		fmt.Println("alive:", errno)
	case "memory":
		var kept [][]byte
		for range 64 {
			b := make([]byte, 64<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			kept = append(kept, b)
		}
		fmt.Println("alive:", len(kept))
	}
	return nil
}

// filterOneThread gives one thread, which stays, a filter that allows everything.
func filterOneThread() error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			var all []bpf.RawInstruction
			if all, err = bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}}); err == nil {
				_, err = seccomp(all, 0)
			}
		}
		result <- err
		select {}
	}()
	return <-result
}

// An attack is something that a confined process must not be able to do.
type attack struct {
	name string
	// harmless is set if an unconfined process may try it as well, and succeeds.
	harmless bool
	try      func() syscall.Errno
}

func attacks(dir string, sibling int) []attack {
	name := func(s string) uintptr {
		p, err := unix.BytePtrFromString(s)
		if err != nil {
			panic(err)
		}
		return uintptr(unsafe.Pointer(p)) // leaks for the call, as test code may
	}
	call := func(n uintptr, args ...uintptr) func() syscall.Errno {
		return func() syscall.Errno {
			var a [6]uintptr
			copy(a[:], args)
			r, _, errno := unix.RawSyscall6(n, a[0], a[1], a[2], a[3], a[4], a[5])
			if errno == 0 && (n == unix.SYS_CLONE || n == unix.SYS_FORK) && r == 0 {
				unix.RawSyscall(unix.SYS_EXIT_GROUP, 9, 0, 0) // the child
			}
			return errno
		}
	}
	atCWD := ^uintptr(99) // AT_FDCWD, -100
	parent := uintptr(os.Getppid())
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		panic(err)
	}
	at := uintptr(unsafe.Pointer(&page[0]))
	const anon = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	return []attack{
		{"open /etc/passwd", true, call(unix.SYS_OPENAT, atCWD, name("/etc/passwd"), unix.O_RDONLY, 0)},
		{"open, the old call", true, call(unix.SYS_OPEN, name("/etc/passwd"), unix.O_RDONLY, 0)},
		{"open the state", true, call(unix.SYS_OPENAT, atCWD, name(filepath.Join(dir, "state")), unix.O_RDWR, 0)},
		{"list the state", true, call(unix.SYS_OPENAT, atCWD, name(dir), unix.O_DIRECTORY, 0)},
		{"create a file", true, call(unix.SYS_OPENAT, atCWD, name(filepath.Join(dir, "new")), unix.O_CREAT|unix.O_WRONLY, 0o600)},
		{"write own memory by a file", true, call(unix.SYS_OPENAT, atCWD, name("/proc/self/mem"), unix.O_RDWR, 0)},
		{"stat", true, call(unix.SYS_NEWFSTATAT, atCWD, name(dir), at, 0)},
		{"unlink", false, call(unix.SYS_UNLINKAT, atCWD, name(filepath.Join(dir, "state")), 0)},
		{"chdir", false, call(unix.SYS_CHDIR, name("/"))},
		{"a socket of Unix, as for the control socket", true, call(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0)},
		{"a socket of TCP", true, call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)},
		{"a socket of UDP", true, call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, 0)},
		{"a socket of netlink", true, call(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, 0)},
		{"a pair of sockets", true, call(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM, 0, at)},
		{"connect", false, call(unix.SYS_CONNECT, 0, at, 16)},
		{"send a descriptor", false, call(unix.SYS_SENDMSG, 1, at, 0)},
		{"receive a descriptor", false, call(unix.SYS_RECVMSG, 0, at, 0)},
		{"fork", false, call(unix.SYS_FORK)},
		{"fork by clone", false, call(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0)},
		{"a user namespace by clone", false, call(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0, 0, 0)},
		{"unshare", false, call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)},
		{"setns", false, call(unix.SYS_SETNS, 0, 0)},
		{"exec", false, call(unix.SYS_EXECVE, name("/bin/true"), 0, 0)},
		{"exec of a descriptor", false, call(unix.SYS_EXECVEAT, 0, name(""), 0, 0, unix.AT_EMPTY_PATH)},
		{"a file of memory", true, call(unix.SYS_MEMFD_CREATE, name("x"), 0)},
		{"trace the parent", false, call(unix.SYS_PTRACE, unix.PTRACE_ATTACH, parent)},
		{"read the parent's memory", false, call(unix.SYS_PROCESS_VM_READV, parent, at, 1, at, 1, 0)},
		{"signal the parent", true, call(unix.SYS_KILL, parent, 0)},
		{"kill the parent", false, call(unix.SYS_KILL, parent, uintptr(unix.SIGKILL))},
		{"kill a thread of the parent", false, call(unix.SYS_TGKILL, parent, parent, uintptr(unix.SIGKILL))},
		{"signal a sibling", true, call(unix.SYS_KILL, uintptr(sibling), 0)},
		{"kill a sibling", false, call(unix.SYS_KILL, uintptr(sibling), uintptr(unix.SIGKILL))},
		{"kill all", false, call(unix.SYS_KILL, ^uintptr(0), uintptr(unix.SIGKILL))},
		{"a pid whose upper half is set", false, call(unix.SYS_TGKILL, 1<<32|uintptr(os.Getpid()), uintptr(os.Getpid()), 0)},
		{"a pidfd", true, call(unix.SYS_PIDFD_OPEN, parent, 0)},
		{"executable memory", true, call(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, anon, ^uintptr(0), 0)},
		{"memory made executable", false, call(unix.SYS_MPROTECT, at, 4096, unix.PROT_READ|unix.PROT_EXEC)},
		{"shared memory", true, call(unix.SYS_MMAP, 0, 4096, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_ANONYMOUS, ^uintptr(0), 0)},
		{"raise a limit", false, call(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, at, 0)},
		{"raise a limit, the old call", false, call(unix.SYS_SETRLIMIT, unix.RLIMIT_CORE, at)},
		{"io_uring", false, call(unix.SYS_IO_URING_SETUP, 1, at)},
		{"keyctl", false, call(unix.SYS_KEYCTL, 0, 0)},
		{"add_key", false, call(unix.SYS_ADD_KEY, name("user"), name("x"), at, 1, 0)},
		{"bpf", false, call(unix.SYS_BPF, 0, at, 8)},
		{"userfaultfd", false, call(unix.SYS_USERFAULTFD, 0)},
		{"perf", false, call(unix.SYS_PERF_EVENT_OPEN, at, 0, 0, 0, 0)},
		{"System V shared memory", false, call(unix.SYS_SHMGET, 0, 4096, unix.IPC_CREAT)},
		{"mount", false, call(unix.SYS_MOUNT, name("x"), name("/nowhere"), name("no such type"), 0, 0)},
		{"chroot", false, call(unix.SYS_CHROOT, name("/nowhere"))},
		{"become dumpable", false, call(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1)},
		{"another filter", false, call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, at)},
		{"set the user", false, call(unix.SYS_SETUID, 0)},
		{"set the priority", false, call(unix.SYS_SETPRIORITY, 0, 0, 0)},
		{"a duplicate of a descriptor", true, call(unix.SYS_DUP, 1)},
		{"the same by fcntl", true, call(unix.SYS_FCNTL, 1, unix.F_DUPFD, 0)},
		{"an owner of signals", false, call(unix.SYS_FCNTL, 0, unix.F_SETOWN, parent)},
		{"ioctl", false, call(unix.SYS_IOCTL, 0, unix.TIOCSTI, at)},
	}
}

// soak does what the Go runtime does in a long life.
func soak() error {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			runtime.LockOSThread() // a thread for each, which ends with it
			kept := make([][]byte, 50)
			for j := range 200 {
				kept[(i+j)%len(kept)] = make([]byte, 64<<10)
				func() {
					defer func() { _ = recover() }()
					var p *int
					*p = j
				}()
			}
			<-time.After(time.Millisecond)
			_, _ = rand.Read(make([]byte, 16))
		})
	}
	wg.Wait()
	debug.FreeOSMemory()
	fmt.Println("soaked", time.Now().Local().Year() > 2000, runtime.NumCPU() > 0)
	return nil
}

// actor is a process that plays a role.
type actor struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	rest bytes.Buffer
}

// nobody is the id of a user that has no rights.
const nobody = 65534

// start starts an actor and waits until it is ready, or has failed.
func start(t *testing.T, role string, p Policy, asNobody bool, env ...string) (a *actor, first string) {
	t.Helper()
	a = &actor{t: t, cmd: exec.Command("/proc/self/exe")}
	a.cmd.Env = append(env, roleKey+"="+role, Key+"="+p.String(), "GODEBUG=containermaxprocs=0,updatemaxprocs=0")
	a.cmd.Dir = "/"
	a.cmd.Stderr = &a.rest
	if asNobody {
		a.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	var err error
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.out = bufio.NewReader(out)
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
	})
	first, err = a.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the process says nothing: %v", err)
	}
	return a, strings.TrimSpace(first)
}

// end lets the actor go on, and returns what it says until its end.
func (a *actor) end() (said string, err error) {
	_ = a.in.Close()
	b, err := io.ReadAll(a.out)
	if err != nil {
		a.t.Fatal(err)
	}
	err = a.cmd.Wait()
	return string(b) + a.rest.String(), err
}

func policy(m Mode) Policy { return Policy{Mode: m, Limits: DefaultLimits()} }

// skipRace skips a test of a confined process if the race detector is in the program: its memory is shared, and its address
// space mapped by itself.
func skipRace(t *testing.T) {
	t.Helper()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-race" && s.Value == "true" {
				t.Skip("the race detector needs what the filter denies")
			}
		}
	}
}

// users runs a test as the user of the tests, and, if that is root, as a normal one too.
func users(t *testing.T, test func(t *testing.T, asNobody bool)) {
	skipRace(t)
	t.Run("self", func(t *testing.T) { test(t, false) })
	t.Run("nobody", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("only root can become another user")
		}
		test(t, true)
	})
}

func TestAConfinedProcessCanAttackNothing(t *testing.T) {
	users(t, func(t *testing.T, asNobody bool) {
		dir := t.TempDir()
		for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o777} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "state"), nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, "state"), 0o666); err != nil {
			t.Fatal(err)
		}
		for _, mode := range []Mode{BestEffort, Required} {
			sibling, _ := start(t, "wait", policy(mode), asNobody)
			a, first := start(t, "attack", policy(mode), asNobody, "DIR="+strconv.Quote(dir), "SIBLING="+strconv.Itoa(sibling.cmd.Process.Pid))
			if first != "ready" {
				t.Fatal(first)
			}
			if err := policy(mode).Verify(a.cmd.Process.Pid); err != nil {
				t.Error(err)
			}
			said, err := a.end()
			if err != nil || !strings.Contains(said, "soaked true true\n") {
				t.Fatalf("%s: the runtime does not go on: %v\n%s", mode, err, said)
			}
			for _, attack := range attacks(dir, 1) {
				if !strings.Contains(said, fmt.Sprintf("%s=%d\n", attack.name, unix.EPERM)) {
					t.Errorf("%s: %s: want EPERM, got\n%s", mode, attack.name, said)
				}
			}
			if _, err := sibling.end(); err != nil {
				t.Errorf("the sibling: %v", err)
			}
		}
	})
}

// The attacks that are harmless succeed without confinement: it is the confinement that stops them.
func TestTheAttacksAreReal(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, a := range attacks(dir, os.Getpid()) {
		if a.harmless {
			if errno := a.try(); errno != 0 {
				t.Errorf("%s: %v", a.name, errno)
			}
		}
	}
}

func TestAnotherArchitectureEndsTheProcess(t *testing.T) {
	users(t, func(t *testing.T, asNobody bool) {
		a, first := start(t, "x32", policy(BestEffort), asNobody)
		if first != "ready" {
			t.Fatal(first)
		}
		said, err := a.end()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGSYS {
			t.Errorf("got %v\n%s", err, said)
		}
	})
}

func TestMemoryEndsAtItsBound(t *testing.T) {
	users(t, func(t *testing.T, asNobody bool) {
		p := policy(BestEffort)
		p.Limits.DataBytes = 256 << 20
		a, first := start(t, "memory", p, asNobody)
		if first != "ready" {
			t.Fatal(first)
		}
		if said, err := a.end(); err == nil || !strings.Contains(said, "out of memory") {
			t.Errorf("got %v\n%s", err, said)
		}
	})
}

// A filter that one thread does not get is on no thread, which the system does not call an error.
func TestAThreadWithAnotherFilterIsNoticed(t *testing.T) {
	users(t, func(t *testing.T, asNobody bool) {
		_, first := start(t, "diverge", policy(BestEffort), asNobody)
		if !strings.Contains(first, "layer seccomp is missing: install the filter: thread ") {
			t.Errorf("got %q", first)
		}
	})
}

func TestVerifyNamesTheLayerThatIsMissing(t *testing.T) {
	users(t, func(t *testing.T, asNobody bool) {
		layer := func(role string, is, want Policy) string {
			t.Helper()
			a, first := start(t, role, is, asNobody)
			if first != "ready" {
				t.Fatal(first)
			}
			err := want.Verify(a.cmd.Process.Pid)
			var missing *LayerError
			if err != nil && (!errors.As(err, &missing) || missing.Hint == "") {
				t.Fatalf("got %v", err)
			}
			if missing == nil {
				return ""
			}
			return missing.Layer
		}
		small := policy(BestEffort)
		small.Limits.DataBytes /= 2
		for _, c := range []struct {
			role     string
			is, want Policy
			layer    string
		}{
			{"wait", policy(Off), policy(Off), ""},
			{"wait", policy(BestEffort), policy(Off), ""},
			{"wait", policy(BestEffort), policy(BestEffort), ""},
			{"wait", policy(Required), policy(Required), ""},
			{"wait", policy(Off), policy(BestEffort), LayerLimits},
			{"wait", policy(BestEffort), small, LayerLimits},
		} {
			if got := layer(c.role, c.is, c.want); got != c.layer {
				t.Errorf("%s that is %v, and must be %v: missing is %q, want %q", c.role, c.is, c.want, got, c.layer)
			}
		}
		for role, want := range map[string]string{"wait": LayerSeccomp, "one thread": LayerSeccomp} {
			a, _ := start(t, role, policy(Off), asNobody)
			_, err := policy(BestEffort).verifyThreads(fmt.Sprintf("/proc/%d/task", a.cmd.Process.Pid))
			var missing *LayerError
			if !errors.As(err, &missing) || missing.Layer != want {
				t.Errorf("%s: got %v, want the layer %s", role, err, want)
			}
		}
	})
	status := "Seccomp:\t2\nNoNewPrivs:\t0\nCapEff:\t0000000000000000\n"
	var missing *LayerError
	if err := policy(BestEffort).verifyStatus(status); !errors.As(err, &missing) || missing.Layer != LayerNoNewPrivs {
		t.Errorf("got %v", err)
	}
	status = "Seccomp:\t2\nNoNewPrivs:\t1\nCapEff:\t00000000000000a0\n"
	if err := policy(Required).verifyStatus(status); !errors.As(err, &missing) || missing.Layer != LayerCapabilities {
		t.Errorf("got %v", err)
	}
	if err := policy(BestEffort).verifyStatus(status); err != nil {
		t.Error(err)
	}
}

func TestPolicies(t *testing.T) {
	p := Policy{Required, Limits{1 << 40, 7, 3}}
	if got, err := ParsePolicy(p.String()); err != nil || got != p {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := ParsePolicy(""); err != nil || got != (Policy{}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []string{"x", "off", "best 1 2 3", "off 1 2 x", "off 1 2 3 4"} {
		if got, err := ParsePolicy(s); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
	for _, l := range []Limits{{minDataBytes - 1, minFiles, minStackBytes}, {minDataBytes, minFiles - 1, minStackBytes}, {minDataBytes, minFiles, minStackBytes - 1}} {
		if (Policy{BestEffort, l}).Confine() == nil {
			t.Errorf("%+v is not refused", l)
		}
	}
	if err := (Limits{minDataBytes, minFiles, minStackBytes}).check(); err != nil {
		t.Error(err)
	}
}
