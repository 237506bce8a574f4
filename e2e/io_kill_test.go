package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/control"
	"ocapkernel.dev/internal/scripttest"
)

// storm kills what runs in the site, as many times as KILLS or otherwise says, at random instants until done:
// one time in kernels the kernel, which is then started again, else a worker. Mostly there is some progress between
// them. It returns the last kernel.
func (s *site) storm(t *testing.T, r *rand.Rand, d *daemon, otherwise uint64, kernels int, progress func() int64, done <-chan error) *daemon {
	t.Helper()
	kills := int(envInt(t, "KILLS", otherwise))
	deaths := map[string]int{}
	for range kills {
		before, steps := progress(), r.Int64N(20)
		if r.IntN(4) > 0 {
			_ = scripttest.Within(3*time.Second, func() error {
				if progress() < before+steps && len(done) == 0 {
					return errors.New("nothing happens")
				}
				return nil
			}) // what hangs is found at the end
		}
		pause(r, 10*time.Millisecond)
		if len(done) > 0 {
			break
		}
		if kernels > 0 && r.IntN(kernels) == 0 {
			deaths["kernel"]++
			d.kill()
			d = s.run(t)
			continue
		}
		if list := s.workers(); len(list) > 0 {
			deaths["worker"]++
			_ = syscall.Kill(list[r.IntN(len(list))].pid, syscall.SIGKILL) // it may be gone by now
		}
	}
	t.Logf("killed: %v; over before the end: %v", deaths, len(done) > 0)
	return d
}

// progress tells how far a port has come, by one of its methods; 0 while the kernel does not say.
func (s *site) progress(sub, method string) func() int64 {
	return func() int64 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		out, err := sendOnce(ctx, s.state, control.SendRequest{Target: sub, Method: method, Wait: true})
		n, _ := strconv.ParseInt(string(out.Value), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
}

// during runs f in the background. What it sends is its end.
func during(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// ended waits for that.
func ended(done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-time.After(2 * patience):
		return errors.New("what is under way does not end")
	}
}

// retry calls f until it succeeds.
func retry(f func() error) error { return scripttest.Within(2*patience, f) }

// A speaker is a client that numbers its lines, has a few on their way, and compares the answers. It connects
// again when it has to, and repeats what was not answered.
type speaker struct {
	where func() (string, error)
	// enough, when it is closed, has it come to its end.
	enough <-chan struct{}
	// sent and answered are the numbers of the last lines that were.
	sent, answered int
	connections    int
	progress       atomic.Int64
}

// speak speaks until it is enough, and all is answered.
func (p *speaker) speak(ctx context.Context) error {
	for ctx.Err() == nil {
		err := p.connection()
		if err == nil || errors.As(err, new(wrongAnswer)) {
			return err
		}
		<-time.After(time.Millisecond)
	}
	return ctx.Err()
}

// wrongAnswer says that an answer was not that to the next line.
type wrongAnswer string

func (e wrongAnswer) Error() string { return string(e) }

// connection speaks over one connection.
func (p *speaker) connection() error {
	where, err := p.where()
	if err != nil {
		return err
	}
	c, err := dialQuietly(where)
	if err != nil {
		return err
	}
	defer c.Close()
	p.connections++
	const window = 5
	for n, ending := p.answered, false; !ending || p.answered < p.sent; {
		select {
		case <-p.enough:
			ending = true
		default:
		}
		for n < p.sent || !ending && n < p.answered+window {
			n++
			p.sent = max(p.sent, n)
			if _, err := fmt.Fprintln(c, n); err != nil {
				return err
			}
		}
		if p.answered == p.sent {
			break
		}
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "channel ") {
			return errors.New(line) // the kernel has not seen yet that the client of before is gone
		}
		if line != fmt.Sprintln(p.answered+1) {
			return wrongAnswer(fmt.Sprintf("the answer to line %d, on connection %d, is %q", p.answered+1, p.connections, line))
		}
		p.answered++
		p.progress.Store(int64(p.answered))
	}
	return nil
}

// numbers are the texts of 1 to n.
func numbers(n int) []string {
	var list []string
	for i := range n {
		list = append(list, strconv.Itoa(i+1))
	}
	return list
}

// A worker that is killed, however often, costs no line: each is read once, answered once, in order, over one
// connection.
func TestNoLineIsLostWhenWorkersAreKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := dice(t)
	d := s.run(t)
	sub := s.port(t, "port", "answer tty", `"tty": {"type": "socket"}`)
	ch, err := s.channel(t.Context(), sub, "tty")
	if err != nil {
		t.Fatal(err)
	}
	enough := make(chan struct{})
	p := speaker{where: func() (string, error) { return ch.Where, nil }, enough: enough}
	done := during(func() error { return p.speak(t.Context()) })
	d = s.storm(t, r, d, 20, 0, p.progress.Load, done)
	close(enough)
	if err := ended(done); err != nil || p.connections != 1 {
		t.Errorf("%d connections, %v", p.connections, err)
	}
	lines := p.sent
	t.Logf("%d lines", lines)
	eventually(t, func() error {
		if heard := s.heard(t, sub); !slices.Equal(heard, append(numbers(lines), "!END")) {
			return fmt.Errorf("the vat has heard %d lines: %q", len(heard), tailOf(heard, 20))
		}
		return nil
	})
	s.empty(t, d, sub)
}

func tailOf[T any](list []T, n int) []T { return list[max(0, len(list)-n):] }

// A kernel that is killed costs the connection, which the vat is told once, and no line: what was not answered
// the client repeats, and what is answered is answered in order. On each connection the vat hears each line
// once, and none is skipped.
func TestNoLineIsSkippedWhenTheKernelIsKilled(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{`"type": "socket", "path": "tty.sock"`, `"type": "listen", "hostport": "127.0.0.1:0"`} {
		s := newSite(t)
		r := dice(t)
		d := s.run(t)
		sub := s.port(t, "port", "answer tty", `"tty": {`+kind+`}`)
		enough := make(chan struct{})
		p := speaker{enough: enough, where: func() (string, error) {
			ch, err := s.channel(t.Context(), sub, "tty")
			return ch.Where, err
		}}
		done := during(func() error { return p.speak(t.Context()) })
		d = s.storm(t, r, d, 12, 2, p.progress.Load, done)
		close(enough)
		if err := ended(done); err != nil {
			t.Errorf("after line %d: %v", p.answered, err)
		}
		t.Logf("%d lines, %d connections", p.sent, p.connections)
		var heard []string
		eventually(t, func() error {
			if heard = s.heard(t, sub); len(heard) == 0 || heard[len(heard)-1] != "!END" {
				return fmt.Errorf("the vat has heard %d lines, %q", len(heard), tailOf(heard, 5))
			}
			return nil
		})
		last, most := 0, 0
		for i, what := range heard[:len(heard)-1] {
			n, err := strconv.Atoi(what)
			switch {
			case what == "!CONNECTION_LOST":
				last = -1
				continue
			case err != nil:
				t.Errorf("the vat has heard %q as its %dth", what, i)
			case last >= 0 && n != last+1, last < 0 && n > most+1:
				t.Errorf("the vat has heard line %d as its %dth, after %q", n, i, heard[max(0, i-5):i])
			}
			last, most = n, max(most, n)
		}
		if most != p.sent {
			t.Errorf("the last line is %d, want %d", most, p.sent)
		}
		s.empty(t, d, sub)
	}
}

// A file is read once, whatever is killed meanwhile: by a vat that waits in its store, and by a turn.
func TestFileIsReadOnceWhateverIsKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := dice(t)
	const lines = 300
	text := strings.Join(numbers(lines), "\n") + "\n"
	for _, way := range []string{"when", "turn"} {
		s.file(t, way+".txt", text)
		d := s.run(t)
		sub := s.port(t, way, "", fmt.Sprintf(`"file": {"type": "file", "path": %q, "direction": "in"}`, way+".txt"))
		done := during(func() error {
			method, args, want := "follow", []any{"file", false}, append(numbers(lines), "!END")
			if way == "turn" {
				method, args, want = "take", []any{"file", lines}, numbers(lines)
			}
			answer, err := s.tell(t.Context(), way, sub, method, args...)
			if err != nil || strings.HasPrefix(answer, "!") {
				return fmt.Errorf("%s: got %s, %w", method, answer, err)
			}
			return retry(func() error {
				// The numbers alone, which are asked for when the kernel runs.
				answer, err := s.tell(t.Context(), "", sub, "heard")
				if err != nil || answer != strconv.Itoa(len(want)) {
					return fmt.Errorf("%s of %d lines were heard, %w", answer, len(want), err)
				}
				return nil
			})
		})
		d = s.storm(t, r, d, 8, 2, s.progress(sub, "heard"), done)
		if err := ended(done); err != nil {
			t.Error(err)
		}
		heard := s.heard(t, sub)
		if got := slices.DeleteFunc(slices.Clone(heard), func(x string) bool { return x == "!END" }); !slices.Equal(got, numbers(lines)) {
			t.Errorf("%s: the vat has heard %q", way, heard)
		}
		s.empty(t, d, sub)
	}
}

// What a vat writes to a file is there once if it was told so, at most once if it was told AMBIGUOUS, and nothing
// else is there; all in order.
func TestFileIsWrittenAsTheVatIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := dice(t)
	d := s.run(t)
	const lines = 500
	sub := s.port(t, "port", "", `"out": {"type": "file", "path": "out.txt", "direction": "out"}`)
	var written string
	done := during(func() error {
		if answer, err := s.tell(t.Context(), "submit", sub, "submit", "out", lines); err != nil || strings.HasPrefix(answer, "!") {
			return fmt.Errorf("submit: got %s, %w", answer, err)
		}
		return retry(func() (err error) {
			if written, err = s.tell(t.Context(), "", sub, "written"); err == nil && strings.HasPrefix(written, "!") {
				err = errors.New(written)
			}
			return err
		})
	})
	d = s.storm(t, r, d, 8, 2, s.progress(sub, "begun"), done)
	if err := ended(done); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "out.txt"))
	if err != nil {
		t.Fatal(err)
	}
	inFile := map[string]int{}
	previous := 0
	for line := range strings.Lines(string(text)) {
		n, err := strconv.Atoi(strings.TrimSuffix(line, "\n"))
		if err != nil || n <= previous {
			t.Errorf("the file has %q after %d", line, previous)
		}
		previous = n
		inFile[strconv.Itoa(n)]++
	}
	told := map[string]int{}
	for i, what := range strings.Split(strings.Trim(written, "[]"), ",") {
		what = strings.Trim(what, `"`)
		told[what]++
		times := inFile[strconv.Itoa(i+1)]
		if what == "written" && times != 1 || what == "AMBIGUOUS" && times > 1 || what != "written" && what != "AMBIGUOUS" {
			t.Errorf("of line %d the vat was told %q, and it is there %d times", i+1, what, times)
		}
	}
	t.Logf("the vat was told %v", told)
	s.empty(t, d, sub)
}

// A vat that is made to begin from its store, in the middle of a turn that reads, loses its turn and no line.
func TestVatWithoutMemoryLosesNoLine(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := dice(t)
	d := s.run(t)
	sub := s.port(t, "port", "", `"tty": {"type": "socket"}`)
	far := s.connect(t, sub, "tty")
	const lines = 300
	done := during(func() error {
		for _, n := range numbers(lines) {
			if _, err := fmt.Fprintln(far, n); err != nil {
				return err
			}
			if r.IntN(10) == 0 {
				<-time.After(time.Millisecond) // the vat waits for some of them
			}
		}
		return far.Close()
	})
	v := s.vats(t)["port"].ID
	c := s.dial(t)
	forgotten := 0
	for n, wait := 0, rand.New(rand.NewPCG(r.Uint64(), 1)); n <= lines; {
		answer := s.later(t, sub, "take", "tty", lines+1-n)
		pause(wait, 100*time.Millisecond)
		if forgotten < int(envInt(t, "KILLS", 15)) {
			if err := c.RestartVat(t.Context(), v, true); err != nil {
				t.Fatal(err)
			}
			forgotten++
		}
		if got := <-answer; strings.HasPrefix(got, "!") && !strings.HasPrefix(got, "!VAT_RESTARTED") {
			t.Fatalf("take: got %s", got)
		}
		n, _ = strconv.Atoi(s.now(t, sub, "heard")) // it may be told again
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	t.Logf("it forgot %d times", forgotten)
	if heard := s.heard(t, sub); !slices.Equal(heard, append(numbers(lines), "!END")) {
		t.Errorf("the vat has heard %q", heard)
	}
	s.empty(t, d, sub)
}
