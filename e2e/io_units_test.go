package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/internal/scripttest"
)

// unitCases have for each unit the input that the other end sends, at once, the results of the reads, and the
// bytes that writes send. back is the result of one read of those bytes, where both go through one file.
var unitCases = map[string]struct {
	sent               string
	reads              []string
	write, taken, back string
}{
	"line":   {"héllo\r\n\ntwo\n", []string{"héllo", "", "two"}, "ä line", "ä line\n", "ä line"},
	"string": {"hé\r\nllo", []string{"hé\r\nllo"}, "ä text\n, no line", "ä text\n, no line", "ä text\n, no line"},
	"chars":  {"hé\n", []string{"h", "é", "\n"}, "ä text", "ä text", "ä"},
	"bytes":  {"\xff\x00\n", []string{"/wAK"}, "/wAK", "\xff\x00\n", "/wAK"},
}

var directions = []string{"in", "out", "inout"}

// combinations are those of direction and unit that have a use.
func combinations(do func(direction, unit string)) {
	for _, d := range directions {
		for _, u := range []string{"line", "string", "chars", "bytes"} {
			if u != "chars" || d != "out" {
				do(d, u)
			}
		}
	}
}

// TestChannelsOfEachTypeDirectionAndUnit reads and writes each combination that has a use, through one kernel,
// and is refused where the direction is the other.
func TestChannelsOfEachTypeDirectionAndUnit(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	stdin, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs, stdout := io.Pipe()
	s.stdin, s.stdout = stdin, stdout
	d := s.run(t)
	_ = stdin.Close() // the kernel has it
	var subs []string
	for _, kind := range []string{"socket", "listen", "network", "file"} {
		var channels []string
		listeners := map[string]net.Listener{}
		combinations(func(direction, unit string) {
			name, where := direction+"-"+unit, ""
			switch kind {
			case "listen":
				where = `, "hostport": "127.0.0.1:0"`
			case "network":
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = l.Close() }) // the end of the test
				listeners[name] = l
				where = fmt.Sprintf(`, "hostport": %q`, l.Addr())
			case "file":
				s.file(t, name+".txt", "")
				where = fmt.Sprintf(`, "path": %q`, name+".txt")
			}
			channels = append(channels, fmt.Sprintf(`%q: {"type": %q, "direction": %q, "unit": %q%s}`, name, kind, direction, unit, where))
		})
		sub := s.port(t, kind, "", strings.Join(channels, ", "))
		subs = append(subs, sub)
		combinations(func(direction, unit string) {
			name := direction + "-" + unit
			c := combination{s, kind, sub, name, direction, unit}
			t.Run(kind+"/"+name, func(t *testing.T) {
				switch kind {
				case "socket", "listen":
					c.connected(t, s.connect(t, sub, name))
				case "network":
					c.dialed(t, listeners[name])
				case "file":
					c.file(t, filepath.Join(s.dir, name+".txt"))
				}
			})
		})
	}
	// There is one console: its channels are there one after the other.
	combinations(func(direction, unit string) {
		t.Run("console/"+direction+"-"+unit, func(t *testing.T) {
			sub := s.port(t, "console", "", fmt.Sprintf(`"tty": {"type": "console", "direction": %q, "unit": %q}`, direction, unit))
			c := combination{s, "console", sub, "tty", direction, unit}
			c.reads(t, func(text string) { _, _ = ours.WriteString(text) }) // a line that does not arrive is not read
			c.writes(t, func() *client { return newClient(reader{theirs}) })
			s.must(t, "terminate", sub)
		})
	})
	sub := s.port(t, "console", "", `"tty": {"type": "console"}`)
	_ = ours.Close()
	s.asks(t, "null", sub, "tty", "read")
	s.empty(t, d, append(subs, sub)...)
}

// reader is a connection of which only reading works.
type reader struct{ io.Reader }

func (reader) Write([]byte) (int, error)        { return 0, io.ErrClosedPipe }
func (reader) Close() error                     { return nil }
func (reader) LocalAddr() net.Addr              { return nil }
func (reader) RemoteAddr() net.Addr             { return nil }
func (reader) SetDeadline(time.Time) error      { return nil }
func (reader) SetReadDeadline(time.Time) error  { return nil }
func (reader) SetWriteDeadline(time.Time) error { return nil }

// A combination is a channel under test.
type combination struct {
	*site
	kind, sub, name, direction, unit string
}

// connected tests a channel to which a client has connected.
func (c combination) connected(t *testing.T, far *client) {
	c.reads(t, func(text string) { far.send(t, text) })
	c.writes(t, func() *client { return far })
	if c.direction == "out" {
		return
	}
	_ = far.Close()
	c.asks(t, "null", c.sub, c.name, "read")
	if c.unit != "line" {
		return
	}
	// A line without an end is one when the client is gone.
	far = c.connect(t, c.sub, c.name)
	far.send(t, "tail")
	_ = far.Close()
	c.asks(t, `"tail"`, c.sub, c.name, "read")
	c.asks(t, "null", c.sub, c.name, "read")
}

// dialed tests a channel that connects when it is used.
func (c combination) dialed(t *testing.T, l net.Listener) {
	var far *client
	accept := func() *client {
		if far == nil {
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() }) // it may be closed
			far = newClient(conn)
		}
		return far
	}
	c.reads(t, func(text string) { accept().send(t, text) })
	c.writes(t, accept)
	if c.direction != "out" {
		_ = far.Close()
		c.asks(t, "null", c.sub, c.name, "read")
	}
}

// file tests a channel that is a file.
func (c combination) file(t *testing.T, path string) {
	add := func(text string) {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	sent := ""
	if c.direction != "out" {
		c.asks(t, "null", c.sub, c.name, "read") // and the next looks again
		sent = unitCases[c.unit].sent
		add(sent)
		c.reads(t, func(string) {})
		c.asks(t, "null", c.sub, c.name, "read")
	} else {
		c.reads(t, nil)
	}
	c.writes(t, func() *client {
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(text), sent) {
			t.Fatalf("the file is %q, %v", text, err)
		}
		return newClient(reader{strings.NewReader(strings.TrimPrefix(string(text), sent))})
	})
	if c.direction == "inout" {
		c.asks(t, inJSON(unitCases[c.unit].back), c.sub, c.name, "read")
	}
}

// reads has the vat read the input of the other end.
func (c combination) reads(t *testing.T, send func(string)) {
	if c.direction == "out" {
		c.asks(t, "!write-only", c.sub, c.name, "read")
		return
	}
	u := unitCases[c.unit]
	first := c.call(t, c.sub, c.name, "read")
	send(u.sent)
	answers(t, first, inJSON(u.reads[0]))
	for _, want := range u.reads[1:] {
		c.asks(t, inJSON(want), c.sub, c.name, "read")
	}
}

// writes has the vat write, and the other end take it.
func (c combination) writes(t *testing.T, far func() *client) {
	u := unitCases[c.unit]
	if c.direction == "in" {
		c.asks(t, "!read-only", c.sub, c.name, "write", u.write)
		return
	}
	done := make(chan string, 1)
	go func() {
		// A client may have connected, and the channel not have seen it.
		_ = scripttest.Within(patience, func() error {
			text := c.now(t, c.sub, "call", c.name, "write", []any{u.write})
			if strings.Contains(text, "no client is connected") {
				return errors.New(text)
			}
			done <- text
			return nil
		}) // the other end misses a write that did not happen
	}()
	const written = `{"$undefined":true}`
	if c.kind == "file" {
		answers(t, done, written) // before anybody looks
		far().gets(t, u.taken)
		return
	}
	far().gets(t, u.taken)
	answers(t, done, written)
}
