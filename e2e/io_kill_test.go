package e2e_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

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
func TestNoLineIsLostWhenWorkersAreKilled(t *testing.T) { overEach(t, noLineIsLost) }

func noLineIsLost(t *testing.T, over transport) {
	s := newSiteOver(t, over)
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

// A kernel that is killed costs the connection, which the vat is told once, and no line: the client repeats
// lines that were not answered, and answers come in order. On each connection the vat hears each line once, and
// none is skipped.
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

// A file is read once, through any kills: by a vat that waits in its store, and by a turn.
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

// A write of a vat to a file is there once if it was fulfilled, at most once if it was rejected with AMBIGUOUS,
// and nothing else is there; all in order.
func TestFileIsWrittenAsTheVatIsTold(t *testing.T) { overEach(t, writesAreTold) }

func writesAreTold(t *testing.T, over transport) {
	s := newSiteOver(t, over)
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
