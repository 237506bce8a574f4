package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/control"
)

// serving launches a vat that serves clients on a Unix socket and over TCP, and returns its subcluster and the
// address of each.
func (s *site) serving(t testing.TB) (sub string, where map[string]string) {
	t.Helper()
	sub = s.port(t, "server", "serve tty", `"tty": {"type": "socket"}, "tcp": {"type": "listen", "hostport": "127.0.0.1:0"}`)
	s.now(t, sub, "serve", "tcp")
	where = map[string]string{}
	for _, name := range []string{"tty", "tcp"} {
		ch, err := s.channel(t.Context(), sub, name)
		if err != nil {
			t.Fatal(err)
		}
		where[name] = ch.Where
	}
	return sub, where
}

// echo says some lines and compares the answers.
func (c *client) echo(t testing.TB, name string, lines int) error {
	for i := range lines {
		line := fmt.Sprintf("%s says %d\n", name, i)
		if _, err := c.Write([]byte(line)); err != nil {
			return err
		}
		got, err := c.r.ReadString('\n')
		if err != nil || got != line {
			return fmt.Errorf("got %q, %v; want %q", got, err, line)
		}
	}
	return nil
}

// atRest waits until a vat that serves has no session, has served so many, and the kernel has only the objects
// that the channels are.
func (s *site) atRest(t testing.TB, sub string, served int) {
	t.Helper()
	eventually(t, func() error {
		if got, want := s.now(t, sub, "tally"), fmt.Sprintf("[0,%d]", served); got != want {
			return fmt.Errorf("sessions and clients are %s, want %s", got, want)
		}
		var list struct{ Services []control.Service }
		if err := s.ask(&list, "services"); err != nil {
			return err
		}
		var left []string
		for _, x := range list.Services {
			if x.Subcluster == sub && (!strings.HasPrefix(x.Name, "io:") || x.Pending > 1 || x.Queued > 0) {
				left = append(left, fmt.Sprintf("%+v", x))
			}
		}
		return none("service objects", left)
	})
}

// Many clients, one after the other, each served by a connection of its own, leave nothing: no service
// object, no descriptor of the kernel, no row and no reference that there was not after the first few.
func TestClientsInTurnLeaveNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	sub, where := s.serving(t)
	names := []string{"tty", "tcp"}
	serve := func(n int) {
		t.Helper()
		for i := range n {
			c := dialClient(t, where[names[i%2]])
			if err := c.echo(t, fmt.Sprint("client ", i), 1); err != nil {
				t.Fatalf("client %d: %v", i, err)
			}
			_ = c.Close()
		}
	}
	const first = 20
	serve(first)
	s.atRest(t, sub, first)
	kept := s.kept(t)
	descriptors, err := d.descriptors()
	if err != nil {
		t.Fatal(err)
	}
	n := int(envInt(t, "CLIENTS", 300))
	serve(n - first)
	s.atRest(t, sub, n)
	eventually(t, func() error {
		now, err := d.descriptors()
		if now > descriptors+2 { // the store opens a file now and then
			err = errors.Join(err, fmt.Errorf("the kernel has %d descriptors, and had %d", now, descriptors))
		}
		return err
	})
	if diff := cmp.Diff(kept, s.kept(t)); diff != "" {
		t.Errorf("what is kept (- after %d clients, + after all):\n%s", first, diff)
	}
	if v := s.vats(t)["server"]; v.Transcript != 0 {
		t.Errorf("the vat is not at rest: %+v", v)
	}
	s.empty(t, d, sub)
}

// A hundred clients at once, of which each says a few lines, are all served; afterwards nothing is left.
func TestHundredClientsAtOnce(t *testing.T) { overEach(t, manyClients) }

func manyClients(t *testing.T, over transport) {
	s := newSiteOver(t, over)
	d := s.run(t)
	sub, where := s.serving(t)
	before, err := d.descriptors()
	if err != nil {
		t.Fatal(err)
	}
	const clients = 100
	all := make([]*client, clients)
	failures := make([]error, clients)
	var wg, connected sync.WaitGroup
	connected.Add(clients)
	for i := range clients {
		all[i] = dialClient(t, where[[]string{"tty", "tcp"}[i%2]])
		wg.Go(func() {
			err := all[i].echo(t, fmt.Sprint("client ", i), 1)
			connected.Done()
			connected.Wait() // none goes before all were served
			failures[i] = errors.Join(err, all[i].echo(t, fmt.Sprint("client ", i, " again"), 2))
			_ = all[i].Close()
		})
	}
	wg.Wait()
	if err := errors.Join(failures...); err != nil {
		t.Error(err)
	}
	s.atRest(t, sub, clients)
	eventually(t, func() error {
		now, err := d.descriptors()
		if now > before+2 {
			err = errors.Join(err, fmt.Errorf("the kernel has %d descriptors, and had %d", now, before))
		}
		return err
	})
	s.empty(t, d, sub)
}

// Connections end with their subcluster, with nobody's doing: the clients see the end, and there is no
// descriptor, object or file.
func TestConnectionsEndWithTheirSubcluster(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	before, err := d.descriptors()
	if err != nil {
		t.Fatal(err)
	}
	sub, where := s.serving(t)
	var all []*client
	for range 10 {
		c := dialClient(t, where["tty"])
		if err := c.echo(t, "x", 1); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	waits := dialClient(t, where["tty"])
	s.must(t, "terminate", sub)
	for _, c := range append(all, waits) {
		if rest, err := c.r.ReadString('\n'); err == nil || rest != "" {
			t.Errorf("after the end the client gets %q, %v", rest, err)
		}
	}
	if _, err := os.Lstat(where["tty"]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is there: %v", err)
	}
	if _, err := os.Lstat(filepath.Dir(where["tty"])); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory is there: %v", err)
	}
	s.leavesNothing(t)
	eventually(t, func() error {
		now, err := d.descriptors()
		if now > before+2 {
			err = errors.Join(err, fmt.Errorf("the kernel has %d descriptors, and had %d", now, before))
		}
		return err
	})
	s.empty(t, d)
}
