package supervisor_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

func TestStartFails(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	write := func(text string) string {
		t.Helper()
		if err := os.WriteFile(script, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
		return script
	}
	tests := []struct {
		name   string
		change func(*workers.Spec)
		parts  []string
	}{
		{"missing program", func(s *workers.Spec) { s.Program = "/does/not/exist" }, []string{"no such file"}},
		{"not a program", func(s *workers.Spec) { s.Program = "/etc/passwd" }, []string{"permission denied"}},
		{"wrong hash", func(s *workers.Spec) { s.SHA256 = strings.Repeat("00", 32) }, []string{"has sha256", "want 0000"}},
		{"pinned device", func(s *workers.Spec) { s.Program, s.SHA256 = "/dev/null", "00" }, []string{"not a regular file"}},
		{"hello with an error", func(s *workers.Spec) { s.Start.Module = onDescriptor.prefix() + "no-hello" }, []string{`this vat\ncannot be`}},
		{"hello with an error on a stream", func(s *workers.Spec) { s.Start.Module = onStream.prefix() + "no-hello" }, []string{`this vat\ncannot be`}},
		{"death before hello", func(s *workers.Spec) { s.Start.Module = onDescriptor.prefix() + "die-early" }, []string{"exit status 7", "a reason"}},
		{"death before hello on a stream", func(s *workers.Spec) { s.Start.Module = onStream.prefix() + "die-early" }, []string{"exit status 7", "a reason"}},
		{"no handshake", func(s *workers.Spec) { s.Program = write("echo nonsense >&1; echo because >&2; exit 4") }, []string{"nonsense"}},
		{"silent exit", func(s *workers.Spec) { s.Program = write("echo because >&2; exit 4") }, []string{"no handshake: exit status 4: because"}},
		{"wrong version", func(s *workers.Spec) { s.Program = write("echo '1|99|unix|x|grpc|'; exec sleep 60") }, []string{"incompatible", "99"}},
		{"a flood for a handshake", func(s *workers.Spec) { s.Program = write("exec cat /dev/zero") }, []string{"not a worker program"}},
		{"an address to dial", func(s *workers.Spec) { s.Program = write("echo '1|1|tcp|127.0.0.1:1|grpc|'") }, []string{"listens on tcp", "unix socket"}},
		{"another protocol of go-plugin", func(s *workers.Spec) { s.Program = write("echo '1|1|unix|fd4|netrpc|'; exec sleep 60") }, []string{"netrpc"}},
	}
	h := newHouse(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h.t = t
			spec := h.spec("echo")
			tt.change(&spec)
			h.Start(spec, h.events)
			h.wantExit(workers.CauseStart, tt.parts...)
		})
	}
}

// A worker chooses the version of the protocol: this one or the one before it.
func TestVersionOfTheProtocol(t *testing.T) {
	program := func(version string) string {
		path := filepath.Join(t.TempDir(), "worker")
		script := "#!/bin/sh\necho '1|" + version + "|unix|fd4|grpc|'\nprintf '\\003\\000\\000\\000\\222\\021\\240' >&3\nexec cat <&3 >/dev/null\n"
		if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	h := newHouse(t)
	for version, known := range map[string]int{"1": 1, "2": 2} { // in any order
		spec := h.spec("")
		spec.Program = program(version)
		w := h.Start(spec, h.events)
		if r := want[workers.Ready](h); r.Version != known {
			t.Errorf("version %s: got %+v", version, r)
		}
		w.Kill()
		h.wantExit(workers.CauseStopped)
	}
	for _, version := range []string{"0", "3", "-1", "x"} {
		spec := h.spec("")
		spec.Program = program(version)
		h.Start(spec, h.events)
		h.wantExit(workers.CauseStart, "version")
	}
}

func TestStartTimeout(t *testing.T) { overEach(t, testStartTimeout) }

func testStartTimeout(t *testing.T, via transport) {
	h := newHouse(t, func(c *supervisor.Config) { c.StartTimeout = 500 * time.Millisecond }).over(via)
	spec := h.spec("hang-early")
	h.Start(spec, h.events)
	h.wantExit(workers.CauseStart, "no hello within 500ms")
	spec.Program = "/bin/cat" // refuses its arguments
	h.Start(spec, h.events)
	h.wantExit(workers.CauseStart)
}

func TestPinnedProgramRuns(t *testing.T) { overEach(t, testPinnedProgramRuns) }

func testPinnedProgramRuns(t *testing.T, via transport) {
	b, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	h := newHouse(t).over(via)
	spec := h.spec("echo")
	spec.SHA256 = strings.ToUpper(hex.EncodeToString(sum[:]))
	w := h.start(spec)
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", w.Pid()))
	if err != nil || string(comm) != "vatworker\n" {
		t.Errorf("process is called %q (%v)", comm, err)
	}
}

func TestSurroundings(t *testing.T) {
	t.Setenv("DECOY_SECRET", "x")
	r, w2, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w2.Close()
	if _, err := unix.FcntlInt(w2.Fd(), unix.F_SETFD, 0); err != nil { // it is not closed on exec
		t.Fatal(err)
	}
	h := newHouse(t)
	w := h.start(h.spec("echo"))
	w.Deliver(call(1, "env"))
	got := want[workers.Done](h).Done.Outcome.Fault
	for _, word := range strings.Fields(got) {
		name, rest, _ := strings.Cut(word, ":")
		switch {
		case strings.HasPrefix(name, "PLUGIN_"), name == wire.CookieKey, name == wire.LogKey, slices.Contains([]string{"GODEBUG", "GOTRACEBACK", "GOCOVERDIR", "GORACE"}, name):
		case name == "fd" && (rest == "/dev/null" || rest == "" /* the listing itself */ || strings.HasPrefix(rest, "/proc/") || strings.HasPrefix(rest, "anon_inode:") || strings.HasPrefix(rest, "/sys/fs/cgroup")):
		case word == "comm:vatworker", word == "cwd:/", word == "args:vatworker,v1,descriptor/echo":
		default:
			t.Errorf("worker has %q", word)
		}
	}
}

func TestModules(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	got, err := h.Modules(ctx, "", "")
	if diff := cmp.Diff([]string{"echo", "rogue"}, got); err != nil || diff != "" {
		t.Errorf("got %v, %v", got, err)
	}
	dir := t.TempDir()
	for name, tt := range map[string]struct{ script, want string }{
		"missing":  {"", "no such file"},
		"failing":  {"echo oh >&2; exit 3", "exit status 3: oh"},
		"not-json": {"echo hello", "no worker program"},
		"endless":  {"exec cat /dev/zero", "more than"},
		"bad-name": {`echo '["a\u0007"]'`, "is no name"},
	} {
		path := filepath.Join(dir, name)
		if tt.script != "" {
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+tt.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := h.Modules(ctx, path, ""); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	path := filepath.Join(dir, "slow")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nsleep 60\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := h.Modules(short, path, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestStartedByHand(t *testing.T) {
	// The test binary is a worker only if the cookie is there, so a wrong one stands for none.
	cmd := exec.Command(self(t))
	cmd.Env = append(os.Environ(), wire.CookieKey+"=wrong")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "only\nthe kernel can start it") {
		t.Errorf("got %v, %s", err, out)
	}
}
