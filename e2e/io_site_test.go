package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/control"
)

// portConfig writes the configuration of one vat, a port of the test program, with the channels, and services
// of the kernel in JSON. The plan is the beginning of the port: nothing, or a method and a channel.
func (s *site) portConfig(t testing.TB, name, plan, channels, services string) string {
	t.Helper()
	do, channel, _ := strings.Cut(plan, " ")
	return s.file(t, name+".json", fmt.Sprintf(`{"bootstrap": %q, "vats": {%[1]q: {
		"module": "test.io", "worker": "bin/testworker", "parameters": {"Do": %q, "Channel": %q},
	}}, "io": {%s}, "services": [%s]}`, name, do, channel, channels, services))
}

// port launches such a vat, and returns its subcluster.
func (s *site) port(t testing.TB, name, plan, channels string) string {
	t.Helper()
	var l control.Launched
	s.read(t, &l, "launch", s.portConfig(t, name, plan, channels, ""))
	return l.ID
}

// tell calls a method of a port, however often the kernel goes away meanwhile, and returns its value in JSON,
// or "!", the code and the message of its rejection.
func (s *site) tell(ctx context.Context, id, target, method string, args ...any) (string, error) {
	var list []string
	for _, a := range args {
		text, err := json.Marshal(a)
		if err != nil {
			return "", err
		}
		list = append(list, string(text))
	}
	out, err := ask(ctx, s.state, id, target, method, list...)
	if err != nil {
		return "", fmt.Errorf("%s.%s: %w", target, method, err)
	}
	if out.Error != nil {
		return fmt.Sprintf("!%s %s", out.Error.Code, out.Error.Message), nil
	}
	return string(out.Value), nil
}

// later is tell in the background.
func (s *site) later(t testing.TB, target, method string, args ...any) <-chan string {
	t.Helper()
	answer := make(chan string, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	go func() {
		defer cancel()
		text, err := s.tell(ctx, "", target, method, args...)
		if err != nil {
			text = "!!" + err.Error()
		}
		answer <- text
	}()
	return answer
}

// now is tell with the wait.
func (s *site) now(t testing.TB, target, method string, args ...any) string {
	t.Helper()
	return <-s.later(t, target, method, args...)
}

// call calls a method of a service of a port, in the background.
func (s *site) call(t testing.TB, sub, service, method string, args ...any) <-chan string {
	t.Helper()
	if args == nil {
		args = []any{}
	}
	return s.later(t, sub, "call", service, method, args)
}

// asks compares the answer of a method of a port's service.
func (s *site) asks(t testing.TB, want, sub, service, method string, args ...any) {
	t.Helper()
	answers(t, s.call(t, sub, service, method, args...), want)
}

// answers compares an answer. Of a rejection, want is a part.
func answers(t testing.TB, answer <-chan string, want string) {
	t.Helper()
	got := <-answer
	if got != want && (!strings.HasPrefix(want, "!") || !strings.HasPrefix(got, "!") || !strings.Contains(got, want[1:])) {
		t.Errorf("got %s, want %s", short(got), short(want))
	}
}

func short(text string) string {
	if len(text) > 300 {
		return fmt.Sprintf("%s… (%d bytes)", text[:300], len(text))
	}
	return text
}

// inJSON is a string in JSON.
func inJSON(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic("e2e: " + err.Error())
	}
	return string(b)
}

// heard returns the log of a port.
func (s *site) heard(t testing.TB, sub string) []string {
	t.Helper()
	var all []string
	for {
		var list []string
		text := s.now(t, sub, "report", len(all)+1)
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatalf("report: got %s: %v", text, err)
		}
		if len(list) == 0 {
			return all
		}
		all = append(all, list...)
	}
}

// channel returns the kernel's description of a channel.
func (s *site) channel(ctx context.Context, sub, name string) (control.Channel, error) {
	c, err := control.Dial(ctx, s.state)
	if err != nil {
		return control.Channel{}, err
	}
	defer c.Close()
	list, err := c.IO(ctx)
	for _, ch := range list {
		if ch.Subcluster == sub && ch.Name == name {
			return ch, nil
		}
	}
	return control.Channel{}, errors.Join(err, fmt.Errorf("%s has no channel %s: %+v", sub, name, list))
}

// A client is a program at the outer end of a socket.
type client struct {
	net.Conn
	r *bufio.Reader
}

func newClient(conn net.Conn) *client {
	_ = conn.SetDeadline(time.Now().Add(patience)) // the reads and writes fail if this does
	return &client{conn, bufio.NewReader(conn)}
}

// connect connects to a channel, which may be over TCP.
func (s *site) connect(t testing.TB, sub, name string) *client {
	t.Helper()
	ch, err := s.channel(t.Context(), sub, name)
	if err != nil {
		t.Fatal(err)
	}
	return dialClient(t, ch.Where)
}

func dialClient(t testing.TB, where string) *client {
	t.Helper()
	c, err := dialQuietly(where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // most are closed by then
	return c
}

// dialQuietly connects, if that is possible.
func dialQuietly(where string) (*client, error) {
	network := "tcp"
	if filepath.IsAbs(where) {
		network = "unix"
	}
	conn, err := net.Dial(network, where)
	if err != nil {
		return nil, err
	}
	return newClient(conn), nil
}

// send writes, which must succeed.
func (c *client) send(t testing.TB, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// gets compares the lines that come.
func (c *client) gets(t testing.TB, want string) {
	t.Helper()
	buf := make([]byte, len(want))
	n, err := io.ReadFull(c.r, buf)
	if err != nil || string(buf) != want {
		t.Fatalf("the client gets %q, %v; want %q", short(string(buf[:n])), err, short(want))
	}
}

// ends checks that nothing more comes, and the connection has ended.
func (c *client) ends(t testing.TB) {
	t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		t.Errorf("the client gets %q, %v; want the end", short(string(rest)), err)
	}
}

// halfClose says that nothing more will be sent.
func (c *client) halfClose(t testing.TB) {
	t.Helper()
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// leavesNothing waits until a kernel holds nothing of subclusters: no service object, channel, vat, process or file.
func (s *site) leavesNothing(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		var services struct{ Services []control.Service }
		var channels struct{ Channels []control.Channel }
		if err := s.ask(&services, "services"); err != nil {
			return err
		}
		if err := s.ask(&channels, "io", "ls"); err != nil {
			return err
		}
		var left []string
		for _, x := range services.Services {
			if x.Subcluster != "" || x.Pending+x.Queued > 0 {
				left = append(left, fmt.Sprintf("%+v", x))
			}
		}
		return errors.Join(none("service objects", left), none("channels", channels.Channels), none("workers", s.workers()), none("files", s.ioFiles()))
	})
}

// ask is read, for a command that may fail.
func (s *site) ask(into any, args ...string) error {
	out := s.cli(append(args, "--json")...)
	if out.exit != 0 {
		return fmt.Errorf("kernel %q: %v", args, out)
	}
	return json.Unmarshal([]byte(out.stdout), into)
}

// ioFiles lists the files in the directory of the channels' sockets.
func (s *site) ioFiles() []string {
	var list []string
	err := filepath.WalkDir(filepath.Join(s.state, "io"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && filepath.Base(path) != "io" {
			list = append(list, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return []string{err.Error()}
	}
	return list
}

// descriptors counts the open files of the kernel, but for those of its store, which opens and closes them as it likes.
func (d *daemon) descriptors() (int, error) {
	dir := fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid)
	list, err := os.ReadDir(dir)
	n := 0
	for _, fd := range list {
		target, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		if !strings.Contains(target, "/db/") {
			n++
		}
	}
	return n, err
}

// empty terminates the subclusters, checks that nothing of them is left in the kernel that runs, stops it, and
// checks the files that it leaves.
func (s *site) empty(t testing.TB, d *daemon, subs ...string) {
	t.Helper()
	for _, sub := range subs {
		s.must(t, "terminate", sub)
	}
	s.leavesNothing(t)
	d.stop()
	s.must(t, "check")
	if err := errors.Join(none("files", s.runtimeFiles()), none("files", s.ioFiles()), none("processes", s.processes(""))); err != nil {
		t.Error(err)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
