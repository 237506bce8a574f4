package ocapkernel_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/service"
)

func TestAProgramFindsItsClusterAgain(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "user.json"), `{"bootstrap":"user","vats":{"user":{"module":"user"}}}`)
	state := filepath.Join(dir, "state")
	k := start(t, ocapkernel.Options{Dir: state})
	first, err := k.EnsureFile(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ocapkernel.Call[string](t.Context(), k.Kernel, first.ID, "hello", "world")
	if err != nil || got != "hello, world" {
		t.Errorf("got %q, %v", got, err)
	}
	another, err := k.LaunchFile(t.Context(), file)
	if err != nil || another.ID == first.ID {
		t.Errorf("a launch gives %s, %v, want one more cluster", another.ID, err)
	}
	if err := k.Terminate(t.Context(), another.ID); err != nil {
		t.Fatal(err)
	}
	k.end(t)

	k = start(t, ocapkernel.Options{Dir: state})
	again, err := k.EnsureFile(t.Context(), file)
	if err != nil || again.ID != first.ID || again.Root != first.Root {
		t.Errorf("got %+v, %v, want %+v", again, err, first)
	}
	write(t, file, `{"bootstrap":"u","vats":{"u":{"module":"user"}}}`)
	if _, err := k.EnsureFile(t.Context(), file); !errors.Is(err, ocapkernel.ErrConflict) {
		t.Errorf("the file has changed: %v, want CONFLICT", err)
	}
}

func TestEnsureByManyLaunchesOne(t *testing.T) {
	k := start(t, ocapkernel.Options{Dir: t.TempDir()})
	ids := make(chan string, 4)
	for range cap(ids) {
		go func() {
			sub, err := k.Ensure(t.Context(), user(`[]`))
			if err != nil {
				t.Error(err)
			}
			ids <- sub.ID
		}()
	}
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first {
			t.Errorf("got %s and %s", first, id)
		}
	}
}

func TestACallUnderAnIDHappensOnce(t *testing.T) {
	dir := t.TempDir()
	o := &inOrder{}
	notes := map[string]ocapkernel.Service{"notes": {Object: o}}
	for range 2 { // runs
		k := start(t, ocapkernel.Options{Dir: dir, Services: notes})
		sub := k.ensure(t, `["notes"]`)
		for range 2 {
			if _, err := k.CallOnce(t.Context(), "the-call", sub.ID, "ask", "notes", "note", []any{0}); err != nil {
				t.Error(err)
			}
		}
		if _, err := k.CallOnce(t.Context(), "the-call", sub.ID, "ask", "notes", "note", []any{1}); !errors.Is(err, ocapkernel.ErrConflict) {
			t.Errorf("another call under the id: %v, want CONFLICT", err)
		}
		k.end(t)
	}
	if err := o.check(1); err != nil {
		t.Error(err)
	}
}

func TestOneKernelForOneDirectory(t *testing.T) {
	dir := t.TempDir()
	k := start(t, ocapkernel.Options{Dir: dir, Control: true})
	_, err := ocapkernel.New(ocapkernel.Options{Dir: dir})
	if !errors.Is(err, ocapkernel.ErrAlreadyRunning) {
		t.Errorf("a second kernel: %v, want ALREADY_RUNNING", err)
	}
	k.end(t)
	start(t, ocapkernel.Options{Dir: dir}) // the kernel that was stopped has left no lock
}

func TestMistakesAreToldAsSuch(t *testing.T) {
	if _, err := ocapkernel.New(ocapkernel.Options{Dir: t.TempDir(), Durability: "some"}); !errors.Is(err, ocapkernel.ErrInvalid) {
		t.Errorf("a durability that does not exist: %v", err)
	}
	if _, err := ocapkernel.New(ocapkernel.Options{}); !errors.Is(err, ocapkernel.ErrInvalid) {
		t.Errorf("no directory: %v", err)
	}
	k := start(t, ocapkernel.Options{Dir: t.TempDir()})
	bad := ocapkernel.LaunchRequest{Path: "/test/bad.json", Config: []byte(`{"bootstrap":"a","vats":{"a":{"module":"usr"}}}`)}
	_, err := k.Ensure(t.Context(), bad)
	var told *ocapkernel.Error
	if !errors.As(err, &told) || len(told.Details) != 1 || !strings.Contains(told.Details[0], "usr") {
		t.Errorf("a module that does not exist: %+v", err)
	}
	for what, call := range map[string]func() error{
		"an argument that is none": func() error { _, err := k.Call(t.Context(), "ko1", "hello", func() {}); return err },
		"an id that is none":       func() error { _, err := k.CallOnce(t.Context(), "a b", "ko1", "hello"); return err },
		"a reload of nothing":      func() error { _, err := k.Reload(t.Context(), ""); return err },
		"the id of another epoch":  func() error { _, err := k.CallOnce(t.Context(), "a.b", "ko1", "hello"); return err },
	} {
		if err := call(); !errors.Is(err, ocapkernel.ErrInvalid) {
			t.Errorf("%s: %v, want INVALID", what, err)
		}
	}
	// A word can be a name, of something that is not there.
	for what, call := range map[string]func() error{
		"a subcluster": func() error { _, err := k.Call(t.Context(), "s77", "hello"); return err },
		"a target":     func() error { _, err := k.Call(t.Context(), "bob", "hello"); return err },
		"a name":       func() error { return k.Terminate(t.Context(), "x") },
	} {
		if err := call(); !errors.Is(err, ocapkernel.ErrNotFound) {
			t.Errorf("%s that is not there: %v, want NOT_FOUND", what, err)
		}
	}
}

func TestAContextEndsTheWaitAndNotTheCall(t *testing.T) {
	lab := newLab()
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Services: lab.object(t)})
	sub := k.ensure(t, `["lab"]`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := k.Call(ctx, sub.ID, "ask", "lab", "wait", []any{})
		ended <- err
	}()
	<-lab.began
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(lab.ended) != 0 {
		t.Error("the call was ended too")
	}
}

func TestWhatIsAskedOfAStoppedKernelFails(t *testing.T) {
	lab := newLab()
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Services: lab.object(t)})
	sub := k.ensure(t, `["lab"]`)
	waiting := make(chan error, 1)
	go func() {
		_, err := k.Call(t.Context(), sub.ID, "ask", "lab", "wait", []any{})
		waiting <- err
	}()
	<-lab.began
	if err := k.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, ocapkernel.ErrStopping) {
		t.Errorf("a call under way: %v, want STOPPING", err)
	}
	if err := <-lab.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the context of a service's call ends with %v", err)
	}
	k.end(t)
	if _, err := k.Call(t.Context(), sub.ID, "hello", "you"); !errors.Is(err, ocapkernel.ErrStopping) {
		t.Errorf("a call afterwards: %v, want STOPPING", err)
	}
	if _, err := k.Ensure(t.Context(), user(`["lab"]`)); !errors.Is(err, ocapkernel.ErrStopping) {
		t.Errorf("a launch afterwards: %v, want STOPPING", err)
	}
}

// replConfig is a repl on the console.
var replConfig = ocapkernel.LaunchRequest{
	Path: "/test/repl.json", Config: []byte(`{"bootstrap":"repl","vats":{"repl":{"module":"repl"}},"io":{"console":{"type":"console"}}}`),
}

func TestTheConsoleIsWhatTheProgramSays(t *testing.T) {
	in, toVat := io.Pipe()
	fromVat, out := io.Pipe()
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Stdin: in, Stdout: out})
	if _, err := k.Ensure(t.Context(), replConfig); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(fromVat)
	for _, c := range [][2]string{{"set x 2", "x = 2"}, {"add x 40", "42"}} {
		if _, err := io.WriteString(toVat, c[0]+"\n"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != c[1] {
			t.Errorf("%s: got %q, want %q", c[0], lines.Text(), c[1])
		}
	}
	_ = toVat.Close() // a pipe's does not fail; the read under way ends
	k.end(t)
}

// tape is a channel of the program's own.
type tape struct {
	lines chan string
	said  chan string
}

// Read gives the next line.
func (c *tape) Read(ctx context.Context) (string, error) {
	select {
	case line := <-c.lines:
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Write takes a line.
func (c *tape) Write(line string) { c.said <- line }

func TestAProgramMakesChannelsOfItsOwn(t *testing.T) {
	c := &tape{make(chan string), make(chan string, 1)}
	var opened cluster.Channel
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Channels: map[cluster.ChannelType]ocapkernel.ChannelFactory{
		cluster.ChannelConsole: func(cfg cluster.Channel, _ service.Opening) (service.Object, error) {
			opened = cfg
			return service.New(c, service.IdempotentMethods("read"))
		},
	}})
	sub, err := k.Ensure(t.Context(), replConfig)
	if err != nil {
		t.Fatal(err)
	}
	c.lines <- "add 1 2"
	if got := <-c.said; got != "3" {
		t.Errorf("got %q", got)
	}
	if opened.Name != "console" {
		t.Errorf("the factory was given %+v", opened)
	}
	list, err := k.Backend().IO(t.Context())
	if err != nil || len(list) != 1 || list[0].Subcluster != sub.ID || list[0].Name != "console" {
		t.Errorf("io lists %+v, %v", list, err)
	}
}

func TestAChannelThatCannotBeMadeUnmakesTheLaunch(t *testing.T) {
	bad := true
	c := &tape{make(chan string), make(chan string, 1)}
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), Channels: map[cluster.ChannelType]ocapkernel.ChannelFactory{
		cluster.ChannelConsole: func(cluster.Channel, service.Opening) (service.Object, error) {
			if bad {
				return nil, errors.New("no tape")
			}
			return service.New(c)
		},
	}})
	_, err := k.Ensure(t.Context(), replConfig)
	if err == nil || !strings.Contains(err.Error(), "no tape") {
		t.Errorf("got %v", err)
	}
	if vats, err := k.Vats(t.Context()); err != nil || len(vats) != 0 {
		t.Errorf("%+v, %v are left", vats, err)
	}
	bad = false // the kernel's goroutine has answered: nothing else reads it now
	if _, err := k.Ensure(t.Context(), replConfig); err != nil {
		t.Error(err)
	}
}

func TestTheCommandKernelTalksToTheProgram(t *testing.T) {
	command := filepath.Join(t.TempDir(), "kernel")
	build := exec.Command("go", "build", "-o", command, "ocapkernel.dev/cmd/kernel")
	build.Env = append(build.Environ(), "CGO_ENABLED=0") // as `make build` does
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir := t.TempDir()
	k := start(t, ocapkernel.Options{Dir: dir, Control: true, Services: newLab().object(t), Version: "embedded 1"})
	sub := k.ensure(t, `["lab"]`)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(command, args...)
		cmd.Env = append(cmd.Environ(), "OCAPKERNEL_STATE="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("kernel %s: %v", strings.Join(args, " "), err)
		}
		return string(out)
	}
	if got := run("services"); !strings.Contains(got, "lab") {
		t.Errorf("kernel services prints %s", got)
	}
	if got := run("send", sub.ID, "ask", `"lab"`, `"echo"`, `[7]`); !strings.HasSuffix(got, "\n7\n") && got != "7\n" {
		t.Errorf("kernel send prints %q", got)
	}
	client, err := control.Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if s, err := client.Status(t.Context()); err != nil || s.Version != "embedded 1" || s.Subclusters != 1 {
		t.Errorf("got %+v, %v", s, err)
	}
	run("stop")
	k.end(t)
}

func TestACallIsForgottenWhenItsTimeIsOver(t *testing.T) {
	o := &inOrder{}
	k := start(t, ocapkernel.Options{Dir: t.TempDir(), KeepAnswers: time.Second, Services: map[string]ocapkernel.Service{"notes": {Object: o}}})
	sub := k.ensure(t, `["notes"]`)
	calls := 0
	for o.check(1) == nil || calls == 0 { // again and again, until it is a new call
		if _, err := k.CallOnce(t.Context(), "id", sub.ID, "ask", "notes", "note", []any{0}); err != nil {
			t.Fatal(err)
		}
		calls++
	}
}
