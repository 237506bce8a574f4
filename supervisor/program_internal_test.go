package supervisor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/scripttest"
	"ocapkernel.dev/wire"
)

// file makes a file and returns its path and its hash.
func file(t *testing.T, text string, mode os.FileMode) (path, sum string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256([]byte(text))
	return path, hex.EncodeToString(h[:])
}

func TestWhatIsNoProgramOfThatHash(t *testing.T) {
	script, scriptSum := file(t, "#!/bin/sh\n", 0o755)
	short, shortSum := file(t, "x", 0o755)
	empty, emptySum := file(t, "", 0o755)
	locked, lockedSum := file(t, "binary", 0o644)
	huge, _ := file(t, "#!/bin/sh\n", 0o755)
	if err := os.Truncate(huge, maxScriptBytes+1); err != nil {
		t.Fatal(err)
	}
	large, _ := file(t, "#!/bin/sh\n", 0o755)
	if err := os.Truncate(large, maxScriptBytes); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, sum, want string }{
		{"no name", "", scriptSum, "no worker program"},
		{"no file", script + "x", scriptSum, "no such file"},
		{"a directory", filepath.Dir(script), scriptSum, "is not a regular file"},
		{"a pipe, which is not waited for", fifo, scriptSum, "is not a regular file"},
		{"a file that may not be executed", locked, lockedSum, "may not be executed: permission denied"},
		{"a script that is too long", huge, scriptSum, "is a script of more than 16777216 bytes"},
		{"a script as long as may be", large, scriptSum, "has sha256"},
		{"another script", script, shortSum, "has sha256 " + scriptSum + ", want " + shortSum},
		{"another binary", short, scriptSum, "has sha256 " + shortSum + ", want " + scriptSum},
		{"an odd hash", short, "\x1b" + strings.Repeat("x", 100), `want \x1b` + strings.Repeat("x", 79) + "…"},
		{"the right hash", script, scriptSum, ""},
		{"the right hash, in other letters", script, strings.ToUpper(scriptSum), ""},
		{"one byte", short, shortSum, ""},
		{"nothing", empty, emptySum, ""},
		{"no hash", locked, "", ""}, // the system says whether it may be executed
	} {
		p, err := openProgram(c.path, c.sum)
		if got := fmt.Sprint(err); (err == nil) != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		p.close()
	}
}

// The checked program runs: of a binary the file that was open, of a script a copy that no process can change.
func TestAPinnedProgramIsTheOneThatWasChecked(t *testing.T) {
	text := "#!/bin/sh\necho as it was\n"
	path, sum := file(t, text, 0o755)
	p, err := openProgram(path, sum)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho changed\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := p.file.WriteAt([]byte("x"), 0); err == nil {
		t.Error("the copy of a script can be written to")
	}
	if err := p.file.Truncate(0); err == nil {
		t.Error("the copy of a script can be cut off")
	}
	if err := p.file.Truncate(1 << 20); err == nil {
		t.Error("the copy of a script can grow")
	}
	if b, err := io.ReadAll(io.NewSectionReader(p.file, 0, 1<<20)); err != nil || string(b) != text {
		t.Errorf("the copy is %q, %v", b, err)
	}
	cmd := exec.Command("/bin/false")
	p.run(cmd)
	if out, err := cmd.Output(); err != nil || string(out) != "as it was\n" {
		t.Errorf("it says %q, %v", out, err)
	}

	echo, err := os.ReadFile("/bin/echo")
	if err != nil {
		t.Skip("this system has no /bin/echo")
	}
	path, sum = file(t, string(echo), 0o755)
	if p, err = openProgram(path, sum); err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if int(p.file.Fd()) < 16 {
		t.Errorf("it is open as descriptor %d, where the child has others", p.file.Fd())
	}
	if flags, err := unix.FcntlInt(p.file.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the child inherits the program: %v, %v", flags, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho changed\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("/bin/false", "as", "it", "was")
	p.run(cmd)
	if out, err := cmd.Output(); err != nil || string(out) != "as it was\n" {
		t.Errorf("it says %q, %v", out, err)
	}
}

// modulesOf asks a script with that text for its modules.
func modulesOf(t *testing.T, text string) ([]string, error) {
	t.Helper()
	path, _ := file(t, "#!/bin/sh\n"+text+"\n", 0o755)
	return Modules(context.Background(), path, "")
}

func TestTheBoundsOfModules(t *testing.T) {
	list := func(n, length int) string {
		name := `"` + strings.Repeat("m", length) + `"`
		return "printf '%s' '[" + strings.Repeat(name+",", n-1) + name + "]'"
	}
	pad := func(n int) string { return fmt.Sprintf(`printf '[]%%%ds' ''`, n-2) }
	for _, c := range []struct{ name, script, want string }{
		{"as many as may be", list(maxModules, 1), ""},
		{"one more", list(maxModules+1, 1), "more than 4096"},
		{"as long as may be", list(1, maxModuleName), ""},
		{"longer", list(1, maxModuleName+1), "is no name"},
		{"an empty name", list(1, 0), `"" is no name`},
		{"as much as may be", pad(maxModulesBytes), ""},
		{"more", pad(maxModulesBytes + 1), "it says more than 1048576 bytes"},
		{"nothing", ":", "does not answer --modules with a JSON array"},
		{"no list", "echo '{}'", "so it is no worker program"},
		{"a failure without a word", "exit 3", "exit status 3"},
		{"a failure that says why", "echo ' why ' >&2; echo not; exit 3", "exit status 3: why"},
		{"a failure that says much", "printf '%05000d' 0 >&2; exit 3", "exit status 3: " + strings.Repeat("0", maxLastWords) + "…"},
	} {
		got, err := modulesOf(t, c.script)
		if text := fmt.Sprint(err); (err == nil) != (c.want == "") || !strings.Contains(text, strings.ReplaceAll(c.want, "--modules", wire.ModulesFlag)) {
			t.Errorf("%s: got %.60v and error %.400v, want %q", c.name, got, err, c.want)
		}
	}
}

// A program is asked in surroundings that are its own: no variable of the kernel's but those for the runtime of Go.
func TestModulesAreAskedForInCleanSurroundings(t *testing.T) {
	t.Setenv("DECOY_SECRET", "x")
	t.Setenv("GOTRACEBACK", "crash")
	got, err := modulesOf(t, `printf '["%s","%s","%s","%s","%s","%s"]' "$(pwd)" "$DECOY_SECRET." "$GOTRACEBACK" "$LC_ALL" "${`+wire.CookieKey+`:-none}" "$#-$1"`)
	if want := fmt.Sprintf("[/ . crash C %s 1-%s]", wire.CookieValue, wire.ModulesFlag); err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v, want %s", got, err, want)
	}
}

// withoutOrphans has this process adopt no orphans until the test ends, as one that is more than a kernel.
func withoutOrphans(t *testing.T) {
	adopted := ours.adopts.Swap(false)
	t.Cleanup(func() {
		ours.adopts.Store(adopted)
		ours.killRest(0)
	})
}

// A program that leaves a process behind which keeps its output open has answered nevertheless.
func TestModulesOfAProgramWhoseOutputStaysOpen(t *testing.T) {
	withoutOrphans(t)
	pid := filepath.Join(t.TempDir(), "pid")
	t.Cleanup(func() {
		var left int
		if b, err := os.ReadFile(pid); err == nil {
			if _, err := fmt.Sscan(string(b), &left); err == nil {
				_ = unix.Kill(left, unix.SIGKILL)
			}
		}
	})
	// The child of the child has another parent before the program ends.
	got, err := modulesOf(t, `(setsid sh -c 'echo $$ >`+pid+`.new; mv `+pid+`.new `+pid+`; exec sleep 1000' &); while ! test -e `+pid+`; do :; done; echo '["m"]'`)
	if err != nil || fmt.Sprint(got) != "[m]" {
		t.Errorf("got %v, %v", got, err)
	}
}

// A question for modules does not wait for processes that the program leaves behind, and those that can be found are
// killed.
func TestWhatIsAskedForModulesIsNotWaitedFor(t *testing.T) {
	withoutOrphans(t)
	pid := filepath.Join(t.TempDir(), "pid")
	path, _ := file(t, "#!/bin/sh\nsetsid sh -c 'echo $$ >"+pid+".new; mv "+pid+".new "+pid+"; exec sleep 1000' &\nsleep 1000\n", 0o755)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	over := make(chan error, 1)
	go func() {
		_, err := Modules(ctx, path, "")
		over <- err
	}()
	child := 0
	if err := scripttest.Within(time.Minute, func() error {
		b, err := os.ReadFile(pid)
		if err == nil {
			_, err = fmt.Sscan(string(b), &child)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := scripttest.Within(time.Minute, func() error {
		if p, err := readStat(child); err == nil && p.state != 'Z' {
			return fmt.Errorf("what it has started is %c", p.state)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}

	// An orphan that holds the pipe of the answer is not found, nor waited for.
	before := len(ours.known)
	begin := time.Now()
	_, err := modulesOf(t, `setsid sh -c 'sleep 1000 & :' ; echo '["m"]'`)
	if took := time.Since(begin); took > 2*time.Minute {
		t.Errorf("it took %v: %v", took, err)
	}
	if len(ours.known) != before {
		t.Errorf("%d processes are known that were reaped", len(ours.known)-before)
	}
}
