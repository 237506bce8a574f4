package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/internal/scripttest"
)

// blocked is an output that takes nothing before it is opened.
type blocked struct {
	written
	open chan struct{}
}

func (b *blocked) Write(p []byte) (int, error) {
	<-b.open
	return b.written.Write(p)
}

// A caller that prints on an output without a reader does not wait. When it is read again, it tells how much is
// missing.
func TestCourtesyDelaysNobody(t *testing.T) {
	out := &blocked{open: make(chan struct{})}
	c := newCourtesy(out)
	const lines = 5000
	for i := range lines {
		if n, err := fmt.Fprintf(c, "line %d\n", i); n == 0 || err != nil {
			t.Fatalf("got %d, %v", n, err)
		}
	}
	c.close(time.Millisecond) // does not wait for it either
	if n, err := c.Write([]byte("line too late\n")); n == 0 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	dropped := c.dropped()
	if dropped < lines-maxCourtesyLines || dropped > lines {
		t.Errorf("%d lines of %d were dropped", dropped, lines)
	}
	close(out.open)
	c.close(time.Minute)
	text := out.String()
	if got := strings.Count(text, "line ") + dropped; got != lines+1 {
		t.Errorf("printed and dropped are %d lines of %d", got, lines+1)
	}
	said := 0
	for _, m := range regexp.MustCompile(`(?m)^kernel: (\d+) lines are missing here`).FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		said += n
	}
	if said != dropped {
		t.Errorf("it says that %d are missing, and %d are", said, dropped)
	}
}

// Large pieces are bounded by their bytes.
func TestCourtesyBoundsBytes(t *testing.T) {
	out := &blocked{open: make(chan struct{})}
	c := newCourtesy(out)
	big := []byte(strings.Repeat("x", maxCourtesyBytes/4))
	for range 20 {
		_, _ = c.Write(big)
	}
	if n := c.dropped(); n < 15 {
		t.Errorf("%d pieces of 20 were dropped", n)
	}
	close(out.open)
	c.close(time.Minute)
}

// failing is an output whose reader has gone.
type failing struct{ tried written }

func (f *failing) Write(p []byte) (int, error) {
	_, _ = f.tried.Write(p)
	return 0, errors.New("broken pipe")
}

func TestCourtesyGoesOnWithoutAReader(t *testing.T) {
	out := new(failing)
	c := newCourtesy(out)
	for i := range 3 {
		fmt.Fprintf(c, "line %d\n", i)
	}
	if err := scripttest.Within(patience, func() error {
		if got := strings.Count(out.tried.String(), "line"); got != 3 {
			return fmt.Errorf("it has tried %d times", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	c.close(time.Minute)
}
