package vattest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/vattest"
)

// author is a vat with the mistakes that authors make, and some things that go well.
type author struct {
	vat.Durable
	Peer, Timer, Port, Repetition vat.Ref
	Heard                         []string
}

func newAuthor() *author { return &author{} }

func (a *author) Bootstrap(vats map[string]vat.Ref, services map[string]vat.Ref) string {
	a.Peer, a.Timer, a.Port = vats["peer"], services["timer"], services["port"]
	return "hello"
}

// Refused makes a call of When that is refused: the method does not exist.
func (a *author) Refused(ctx context.Context) {
	vat.When(ctx, vat.Send(ctx, a.Peer, "add", 1), a, "NoSuchMethod")
}

// Lost sends a message that is rejected, and does not wait for it.
func (a *author) Lost(ctx context.Context) { vat.Send(ctx, a.Peer, "fail") }

// Piped does the same, one message further.
func (a *author) Piped(ctx context.Context) { vat.Send(ctx, vat.Send(ctx, a.Peer, "fail"), "more") }

// Late waits for a rejection that has come already.
func (a *author) Late(ctx context.Context) {
	p := vat.Send(ctx, a.Peer, "fail")
	for range 3 {
		_, _ = vat.Call[int](ctx, a.Peer, "add", 1)
	}
	_, _ = vat.Await[vat.None](ctx, p)
}

// Watched has its store wait for a rejection, Passed hands one on to a vat that waits for it.
func (a *author) Watched(ctx context.Context) {
	vat.When(ctx, vat.Send(ctx, a.Peer, "fail"), a, "OnWatched")
}

func (a *author) OnWatched(ctx context.Context, o vat.Outcome[vat.None]) {}

func (a *author) Passed(ctx context.Context) {
	vat.Send(ctx, a.Peer, "swallow", []vat.Promise{vat.Send(ctx, a.Peer, "fail")})
}

// Fails has a continuation fail whose result is not used.
func (a *author) Fails(ctx context.Context) {
	vat.When(ctx, vat.Send(ctx, a.Peer, "add", 1), a, "OnFails")
}

func (a *author) OnFails(ctx context.Context, o vat.Outcome[int]) error { return errors.New("no luck") }

// Waited waits for a rejection; Handed hands one on.
func (a *author) Waited(ctx context.Context) string {
	_, err := vat.Call[vat.None](ctx, a.Peer, "fail")
	return fmt.Sprint(err)
}

func (a *author) Handed(ctx context.Context) vat.Promise { return vat.Send(ctx, a.Peer, "fail") }

// Later waits for the timer, Often for each of its ticks.
func (a *author) Later(ctx context.Context, ms int) {
	vat.When(ctx, vat.Send(ctx, a.Timer, "delay", ms), a, "OnTime", ms)
}

func (a *author) OnTime(ctx context.Context, _ vat.Outcome[float64], ms int) {
	a.Heard = append(a.Heard, fmt.Sprint(ms, " at ", vat.Now(ctx).Unix()))
}

func (a *author) Often(ctx context.Context, ms int) {
	vat.When(ctx, vat.Send(ctx, a.Timer, "repeat", ms, vat.RefOf(ctx, a)), a, "OnRepeat")
}

func (a *author) OnRepeat(ctx context.Context, o vat.Outcome[vat.Ref]) { a.Repetition = o.Value }

func (a *author) Tick(ctx context.Context, now float64) { a.Heard = append(a.Heard, "tick") }

func (a *author) Cancel(ctx context.Context) (vat.None, error) {
	return vat.Call[vat.None](ctx, a.Repetition, "cancel")
}

func (a *author) All() []string { return a.Heard }

// Accept takes a connection and reads a line of it.
func (a *author) Accept(ctx context.Context) (string, error) {
	conn, err := vat.Call[vat.Ref](ctx, a.Port, "accept")
	if err != nil {
		return "", err
	}
	return vat.Call[string](ctx, conn, "read")
}

// silent never answers bootstrap.
type silent struct{ vat.Durable }

func (s *silent) Bootstrap(ctx context.Context) error {
	p, _ := vat.NewPromise(ctx)
	_, err := vat.Await[int](ctx, p)
	return err
}

// failing is a peer that can fail.
type failing struct{ vat.Durable }

func (f *failing) Add(n int) int { return n + 1 }
func (f *failing) Fail() error   { return errors.New("it fails") }
func (f *failing) Swallow(ctx context.Context, ps []vat.Promise) {
	_, _ = vat.Await[vat.None](ctx, ps[0])
}

func authors(t *testing.T) *vattest.Kernel {
	t.Helper()
	return vattest.New(t, vat.Modules{
		"author": newAuthor, "peer": func() *failing { return &failing{} }, "silent": func() *silent { return &silent{} },
	})
}

var authorVats = []vattest.Vat{{Name: "author", Module: "author"}, {Name: "peer", Module: "peer"}}

func launchAuthor(t *testing.T) (k *vattest.Kernel, port *vattest.Service) {
	t.Helper()
	k = authors(t)
	k.Timer("timer")
	port = k.Service("port")
	if err := k.Launch("author", authorVats...); err != nil {
		t.Fatal(err)
	}
	return k, port
}

// An error in a vat that no caller gets is told to the author; one that a caller gets is not.
func TestWhatNobodyHearsOfIsTold(t *testing.T) {
	for _, c := range []struct{ method, want string }{
		{"refused", "noSuchMethod"},
		{"lost", "fail was rejected, and nothing uses the answer"},
		{"piped", "more was rejected, and nothing uses the answer"},
		{"fails", "no luck"},
		{"late", ""},
		{"watched", ""},
		{"passed", ""},
		{"waited", ""},
		{"handed", ""},
	} {
		t.Run(c.method, func(t *testing.T) {
			var told []string
			t.Run("a test of vats", func(t *testing.T) {
				k, _ := launchAuthor(t)
				k.OnComplaint = func(vat, what string) { told = append(told, vat+": "+what) }
				k.Send("author", c.method)
				k.Run()
			})
			switch text := strings.Join(told, "\n"); {
			case c.want == "" && text != "":
				t.Errorf("told: %s", text)
			case c.want != "" && (len(told) != 1 || !strings.HasPrefix(text, "author: ") || !strings.Contains(text, c.want)):
				t.Errorf("told: %q, want %q", told, c.want)
			}
		})
	}
}

func TestClockIsDriven(t *testing.T) {
	k, _ := launchAuthor(t)
	began := k.Now()
	for _, ms := range []string{"90000", "1000"} {
		call(t, k, `{"$undefined":true}`, "author", "later", ms)
	}
	call(t, k, `[]`, "author", "all")
	k.Advance(2 * time.Second)
	want := fmt.Sprint("1000 at ", began.Unix()+1)
	call(t, k, fmt.Sprintf("[%q]", want), "author", "all")
	k.RestartKernel()
	k.Advance(2 * time.Minute)
	call(t, k, fmt.Sprintf("[%q,%q]", want, fmt.Sprint("90000 at ", began.Unix()+90)), "author", "all")

	call(t, k, `{"$undefined":true}`, "author", "often", "1000")
	k.Advance(3500 * time.Millisecond)
	got, err := k.Call("author", "all")
	if n := strings.Count(got, "tick"); n != 3 || err != nil {
		t.Errorf("%d ticks in three and a half seconds, want 3: %s, %v", n, got, err)
	}
	call(t, k, `{"$undefined":true}`, "author", "cancel")
	k.Advance(time.Hour)
	if got, err := k.Call("author", "all"); strings.Count(got, "tick") != 3 || err != nil {
		t.Errorf("it ticks on when it was cancelled: %s, %v", got, err)
	}
}

func TestConnectionsAreAccepted(t *testing.T) {
	k, port := launchAuthor(t)
	a := k.Send("author", "accept")
	k.Run()
	conn := port.Call("accept").Connection()
	k.Kill("author")
	k.Run()
	conn.Call("read").Unit(`"a line"`)
	k.RestartKernel()
	k.Run()
	answer(t, `"a line"`, a)
}

func TestLaunchWhoseBootstrapNeverAnswersFails(t *testing.T) {
	k := authors(t)
	err := k.Launch("silent", vattest.Vat{Name: "silent", Module: "silent"})
	if err == nil || !strings.Contains(err.Error(), "bootstrap of silent never answers") {
		t.Errorf("got %v", err)
	}
}

func TestAnswerOfBootstrapIsRead(t *testing.T) {
	k, _ := launchAuthor(t)
	if got, err := k.Bootstrapped(); got != `"hello"` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestVatIsTerminated(t *testing.T) {
	k, _ := launchAuthor(t)
	k.Terminate("peer")
	got, err := k.Call("author", "waited")
	if err != nil || !strings.Contains(got, "VAT_TERMINATED") && !strings.Contains(got, "OBJECT_DELETED") {
		t.Errorf("got %s, %v", got, err)
	}
	k.RestartKernel()
	if _, err := k.Call("author", "handed"); err == nil {
		t.Error("a vat that was terminated answers after a restart of the kernel")
	}
}

// A kernel that dies in the middle of a turn goes on in it.
func TestKernelRestartsInTheMiddle(t *testing.T) {
	for at := range 60 {
		k := summers(t)
		a := k.Send("summer", "sum", "10", "1")
		for n := 0; k.Step(); n++ {
			if n == at {
				k.RestartKernel()
			}
		}
		answer(t, "45", a)
		call(t, k, "10", "peer", "getAsked")
	}
}

func TestClusterFileIsLaunched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.json")
	text := `{
		"bootstrap": "author",
		"vats": {"author": {"module": "author"}, "peer": {"module": "peer"}},
		"io": {"port": {"type": "socket"}}, // played by the test
		"services": ["timer"],
	}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	k := authors(t)
	played, err := k.LaunchFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a := k.Send("author", "accept")
	k.Run()
	conn := played["port"].Call("accept").Connection()
	k.Run()
	conn.Call("read").Unit(`"a line"`)
	k.Run()
	answer(t, `"a line"`, a)
	call(t, k, `{"$undefined":true}`, "author", "later", "1000")
	k.Advance(time.Second)
	if got, err := k.Call("author", "all"); !strings.Contains(got, "1000 at") || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := k.LaunchFile(filepath.Join(t.TempDir(), "nothing.json")); err == nil {
		t.Errorf("a file that is not there: %v", err)
	}
}
