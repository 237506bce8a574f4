package e2e_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/control"
)

// fixed is the configuration of a port with channels that there can be once only: a socket of that path, a port of
// that number.
func (s *site) fixed(t testing.TB, name, plan string) string {
	t.Helper()
	where := ownPort(t)
	return s.portConfig(t, name, plan, fmt.Sprintf(`"tty": {"type": "socket", "path": "%s.sock"}, "own": {"type": "socket"},
		"tcp": {"type": "listen", "hostport": %q}, "out": {"type": "file", "path": "%[1]s.txt", "direction": "out"}`, name, where), `"random", "timer"`)
}

// lastPort counts the ports that ownPort has given away.
var lastPort atomic.Int32

// ownPort returns the address of a port that is free now, and that no process gets which asks for any free
// port: it is below the range of those. No two tests get the same. So it stays free while no kernel has it.
func ownPort(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	var first int
	if _, err := fmt.Sscan(string(text), &first); err != nil || first < 4096 {
		t.Fatalf("the first free port is one of %q: %v", text, err)
	}
	const lowest = 2048
	start := os.Getpid() * 64 // other test programs may run at the same time
	for range first - lowest {
		where := fmt.Sprintf("127.0.0.1:%d", lowest+(start+int(lastPort.Add(1)))%(first-lowest))
		l, err := net.Listen("tcp", where)
		if err != nil {
			continue
		}
		_ = l.Close() // for the kernel to have it
		return where
	}
	t.Fatalf("no port from %d to %d is free", lowest, first)
	return ""
}

// subclusterIDs lists those that a kernel has.
func (s *site) subclusterIDs(t testing.TB) []string {
	t.Helper()
	var status struct {
		Clusters []control.Subcluster `json:"clusters"`
	}
	s.read(t, &status, "status")
	var list []string
	for _, c := range status.Clusters {
		list = append(list, c.ID)
	}
	return list
}

// murder kills a random process of the site: the kernel, which is then started again, or a worker.
func (s *site) murder(t testing.TB, r *rand.Rand, d *daemon) *daemon {
	t.Helper()
	if list := s.workers(); len(list) > 0 && r.IntN(3) == 0 {
		_ = syscall.Kill(list[r.IntN(len(list))].pid, syscall.SIGKILL) // it may be gone by now
		return d
	}
	d.kill()
	return s.run(t)
}

// A launch during which a process is killed happened, or did not: it leaves a whole subcluster or nothing, and
// the next launch of the same configuration, with the same paths and ports, succeeds. So it is with the end of
// a subcluster, in the middle of any work of its vat.
func TestLaunchAndTerminateWithKills(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := dice(t)
	d := s.run(t)
	config := s.fixed(t, "port", "answer tty")
	outcomes := map[string]int{}
	for range envInt(t, "KILLS", 8) {
		launched := make(chan said, 1)
		go func() { launched <- s.cli("launch", "--json", config) }()
		pause(r, 150*time.Millisecond)
		d = s.murder(t, r, d)
		out := <-launched
		subs := s.subclusterIDs(t)
		switch {
		case out.exit == 0 && len(subs) == 1:
			outcomes["launched"]++
		case out.exit == 0:
			t.Fatalf("launch succeeded, and there are %v", subs)
		case len(subs) > 1:
			t.Fatalf("one launch left %v: %v", subs, out)
		case len(subs) == 1:
			outcomes["launched, and its client not told"]++
		default:
			outcomes["not launched"]++
		}
		if len(subs) == 0 {
			s.leavesNothing(t)
			subs = []string{s.launched(t, config)}
		}
		s.works(t, subs[0], "tty")

		terminated := make(chan said, 1)
		go func() { terminated <- s.cli("terminate", subs[0]) }()
		pause(r, 60*time.Millisecond)
		d = s.murder(t, r, d)
		if out := <-terminated; out.exit == 0 && len(s.subclusterIDs(t)) > 0 {
			t.Fatalf("terminate succeeded, and there are %v", s.subclusterIDs(t))
		}
		for _, sub := range s.subclusterIDs(t) {
			outcomes["not terminated"]++
			s.cli("terminate", sub) // it may be about to go
		}
		s.leavesNothing(t)
		if _, err := os.Lstat(filepath.Join(s.dir, "port.sock")); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("the socket is left: %v", err)
		}
	}
	t.Logf("%v", outcomes)
	s.works(t, s.launched(t, config), "tty")
	s.empty(t, d, s.subclusterIDs(t)...)
}

func (s *site) launched(t testing.TB, config string) string {
	t.Helper()
	var l control.Launched
	s.read(t, &l, "launch", config)
	return l.ID
}

// works checks that a vat answers on a channel.
func (s *site) works(t testing.TB, sub, channel string) {
	t.Helper()
	eventually(t, func() error {
		// A client is refused as long as the kernel has not seen that the one before has gone.
		c := s.connect(t, sub, channel)
		defer c.Close()
		return c.echo(t, "works", 2)
	})
}

// A launch that fails, for any reason, leaves nothing of its channels, and the next succeeds. Files of others
// at a path stay.
func TestFailedLaunchUnmakesItsChannels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	before, err := d.descriptors()
	if err != nil {
		t.Fatal(err)
	}
	good := s.fixed(t, "port", "answer tty")
	for _, plan := range []string{"fail tty", "never tty"} {
		bad := s.fixed(t, "port", plan)
		if strings.HasPrefix(plan, "never") {
			text := strings.Replace(readFile(t, bad), `"bootstrap": "port",`, `"bootstrap": "port", "limits": {"bootstrap": "500ms"},`, 1)
			s.file(t, "port.json", text)
		}
		if out := s.cli("launch", bad); out.exit != 1 || !strings.Contains(out.stderr, "the launch failed") {
			t.Errorf("%s: got %v", plan, out)
		}
		s.leavesNothing(t)
	}
	// A channel that cannot be made, after others that could.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := s.portConfig(t, "taken", "", fmt.Sprintf(`"tty": {"type": "socket", "path": "port.sock"}, "tcp": {"type": "listen", "hostport": %q}`, l.Addr()), "")
	if out := s.cli("launch", taken); out.exit != 1 || !strings.Contains(out.stderr, "address already in use") {
		t.Errorf("got %v", out)
	}
	s.leavesNothing(t)
	_ = l.Close()
	// A service that there is not.
	unknown := s.portConfig(t, "unknown", "", `"tty": {"type": "socket", "path": "port.sock"}`, `"kernelFacet"`)
	if out := s.cli("launch", unknown); out.exit != 1 || !strings.Contains(out.stderr, "kernelFacet") {
		t.Errorf("got %v", out)
	}
	s.leavesNothing(t)
	s.fixed(t, "port", "answer tty")
	sub := s.launched(t, good)
	// Another one of it cannot have the socket, and does not take it away.
	if out := s.cli("launch", good); out.exit != 1 || !strings.Contains(out.stderr, "listens on") {
		t.Errorf("got %v", out)
	}
	s.works(t, sub, "tty")
	s.must(t, "terminate", sub)
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

// Clients that are served through accept when the kernel is killed lose their connections; the vat is told so of
// each, new clients are served, and nothing of the old ones is left. Killed workers they do not notice.
func TestServedClientsWithKills(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := dice(t)
	d := s.run(t)
	sub := s.port(t, "server", "serve tty", `"tty": {"type": "socket", "path": "tty.sock"}`)
	const clients = 8
	enough := make(chan struct{})
	speakers := make([]speaker, clients)
	dones := make([]<-chan error, clients)
	for i := range speakers {
		speakers[i] = speaker{enough: enough, where: func() (string, error) { return s.dir + "/tty.sock", nil }}
		dones[i] = during(func() error { return speakers[i].speak(t.Context()) })
	}
	d = s.storm(t, r, d, 12, 2, func() int64 {
		sum := int64(0)
		for i := range speakers {
			sum += speakers[i].progress.Load()
		}
		return sum
	}, nil)
	close(enough)
	for i, done := range dones {
		if err := ended(done); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
	}
	var served int
	if _, err := fmt.Sscanf(s.now(t, sub, "tally"), "[%d,%d]", new(int), &served); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d sessions", served)
	s.atRest(t, sub, served)
	if heard := s.heard(t, sub); len(heard) > 0 {
		t.Errorf("accept was rejected: %q", heard)
	}
	s.empty(t, d, sub)
}
