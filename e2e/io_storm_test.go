package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/control"
	"ocapkernel.dev/internal/scripttest"
)

// storm kills processes of the site, as many times as KILLS or otherwise says, at random instants until done:
// one time in kernels the kernel, which is then started again, else a worker. Mostly there is some progress
// between them. It returns the last kernel.
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
			}) // a hanging process is found at the end
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

// during runs f in the background. The last byte that it sends is its end.
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
// again when it has to, and repeats lines that were not answered.
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
