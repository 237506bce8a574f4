package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// A client that is killed in the middle of a line leaves a line without an end, and then an end; one that comes
// in between, while the vat has not read that, waits, and its input is not lost.
func TestClientDiesInTheMiddleOfALine(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	sub := s.port(t, "port", "", `"tty": {"type": "socket"}, "tcp": {"type": "listen", "hostport": "127.0.0.1:0"}`)
	for _, name := range []string{"tty", "tcp"} {
		read := s.call(t, sub, name, "read")
		c := s.connect(t, sub, name)
		c.send(t, "one\ntwo\nthr")
		answers(t, read, `"one"`)
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // as when the machine of the client dies: a reset
		}
		_ = c.Close()
		next := s.connect(t, sub, name)
		next.send(t, "four\n")
		s.asks(t, `"two"`, sub, name, "read")
		s.asks(t, `"thr"`, sub, name, "read")
		s.asks(t, "!CONNECTION_LOST", sub, name, "write", "to whom?")
		s.asks(t, "null", sub, name, "read")
		s.asks(t, `"four"`, sub, name, "read")
		s.asks(t, `{"$undefined":true}`, sub, name, "write", "hello")
		next.gets(t, "hello\n")
		_ = next.Close()
		s.asks(t, "null", sub, name, "read")
	}
	s.empty(t, d, sub)
}

// The input of a client that has gone is there for the vat, in order, however late the vat reads; the next
// client waits, and a third is refused.
func TestUnreadLinesOutliveTheirClient(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	sub := s.port(t, "port", "", `"tty": {"type": "socket"}`)
	first := s.connect(t, sub, "tty")
	first.send(t, "1\n2\n3\n")
	_ = first.Close()
	second := s.connect(t, sub, "tty")
	second.send(t, "4\n")
	s.asks(t, `"1"`, sub, "tty", "read")
	third := s.connect(t, sub, "tty")
	third.gets(t, "channel tty serves another client\n")
	third.ends(t)
	for _, want := range []string{`"2"`, `"3"`, "null", `"4"`} {
		s.asks(t, want, sub, "tty", "read")
	}
	third = s.connect(t, sub, "tty")
	third.gets(t, "channel tty serves another client\n")
	third.ends(t)
	s.asks(t, `{"$undefined":true}`, sub, "tty", "write", "for the second")
	second.gets(t, "for the second\n")
	_ = second.Close()
	s.empty(t, d, sub)
}

// A client that has said that it sends no more is answered all the same, until it is gone.
func TestHalfClosedClientIsAnswered(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	sub := s.port(t, "port", "", `"tty": {"type": "socket"}, "tcp": {"type": "listen", "hostport": "127.0.0.1:0"}`)
	for _, name := range []string{"tty", "tcp"} {
		c := s.connect(t, sub, name)
		c.send(t, "one\nlast")
		c.halfClose(t)
		for _, line := range []string{"one", "last"} {
			s.asks(t, inJSON(line), sub, name, "read")
			s.asks(t, `{"$undefined":true}`, sub, name, "write", line+"!")
			c.gets(t, line+"!\n")
		}
		s.asks(t, "null", sub, name, "read")
		s.asks(t, `{"$undefined":true}`, sub, name, "write", "goodbye")
		c.gets(t, "goodbye\n")
		_ = c.Close()
		read := s.call(t, sub, name, "read")
		next := s.connect(t, sub, name)
		next.send(t, "next\n")
		answers(t, read, `"next"`)
		_ = next.Close()
	}
	s.empty(t, d, sub)
}

// A line may have a mebibyte; a longer line is skipped and rejected, and so are bytes that are no text. Lines
// after it are as if it had not been.
func TestLinesAtTheLimitAndWhatIsNoText(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	sub := s.port(t, "port", "", `"tty": {"type": "socket"}, "small": {"type": "socket", "maxUnit": "1KiB"}, "str": {"type": "socket", "unit": "string"},
		"large": {"type": "socket", "maxUnit": "2MiB"}`)
	c := s.connect(t, sub, "tty")
	const most = 1 << 20
	go func() {
		// A line that does not arrive is not read.
		_, _ = c.Write([]byte(strings.Repeat("x", most) + "\n" + strings.Repeat("y", most+1) + "\nafter\n" +
			strings.Repeat("z", 5*most) + "\nagain\nno \xff text\nend\n"))
	}()
	s.asks(t, inJSON(strings.Repeat("x", most)), sub, "tty", "read")
	for _, want := range []string{
		"!a line is longer than 1048576 bytes: it was skipped", `"after"`, "!a line is longer", `"again"`,
		"!a line is not UTF-8: byte 0xff at 3; it was skipped", `"end"`,
	} {
		s.asks(t, want, sub, "tty", "read")
	}
	large := strings.Repeat("w", most-1)
	written := s.call(t, sub, "tty", "write", large)
	c.gets(t, large+"\n")
	answers(t, written, `{"$undefined":true}`)
	s.asks(t, "!LIMIT", sub, "tty", "write", large+"w")
	s.asks(t, "!the line contains an end of line at 1", sub, "tty", "write", "a\nb")

	small := s.connect(t, sub, "small")
	small.send(t, strings.Repeat("x", 1024)+"\r\n"+strings.Repeat("y", 1025)+"\nend\n")
	for _, want := range []string{inJSON(strings.Repeat("x", 1024)), "!longer than 1024 bytes", `"end"`} {
		s.asks(t, want, sub, "small", "read")
	}

	// Text that JSON has to escape is longer in a message, and meets another limit earlier. It is lost, and
	// said to be.
	wide := s.connect(t, sub, "large")
	go func() {
		_, _ = wide.Write([]byte(strings.Repeat("x", 2*most) + "\n" + strings.Repeat("\x01", most) + "\nend\n" +
			strings.Repeat("x", 2*most) + "\n")) // as before
	}()
	for _, want := range []string{inJSON(strings.Repeat("x", 2*most)), "!LIMIT", `"end"`} {
		s.asks(t, want, sub, "large", "read")
	}
	answers(t, s.later(t, sub, "take", "large", 1), `{"$undefined":true}`) // the vat itself gets it

	str := s.connect(t, sub, "str")
	str.send(t, "a\xc3") // the half of a letter
	s.asks(t, `"a"`, sub, "str", "read")
	read := s.call(t, sub, "str", "read")
	str.send(t, "\xa9\xffb")
	answers(t, read, `"é"`)
	s.asks(t, "!byte 0xff at 0 is not UTF-8: it was dropped", sub, "str", "read")
	s.asks(t, `"b"`, sub, "str", "read")
	s.empty(t, d, sub)
}

// A vat that does not read stops its client: the input that the kernel holds is bounded. When it reads on,
// nothing is missing.
func TestVatThatDoesNotReadStopsItsClient(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	sub := s.port(t, "port", "", `"tty": {"type": "socket", "maxUnit": "1KiB"}`)
	c := s.connect(t, sub, "tty")
	sent := 0
	// Between two lines that are taken there is never half a second.
	for err := error(nil); err == nil; {
		_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		var n int
		n, err = c.Write([]byte(fmt.Sprintf("%1000d\n", sent/1001)))
		sent += n
	}
	t.Logf("%d bytes were taken", sent)
	if sent < 1000 || sent > 2<<20 {
		t.Errorf("%d bytes were taken from a client whose vat does not read", sent)
	}
	_ = c.Close()
	s.now(t, sub, "follow", "tty", false)
	var heard []string
	eventually(t, func() error {
		if heard = s.heard(t, sub); !slices.Contains(heard, "!END") {
			return fmt.Errorf("%d lines were read", len(heard))
		}
		return nil
	})
	for i, line := range heard[:len(heard)-1] {
		if whole := fmt.Sprintf("%1000d", i); line != whole && (i < len(heard)-2 || !strings.HasPrefix(whole, line)) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if want := (sent + 1000) / 1001; len(heard)-1 != want {
		t.Errorf("%d lines were read, want %d", len(heard)-1, want)
	}
	s.empty(t, d, sub)
}

// A client that does not read makes write wait, and then reject. It gets earlier writes whole, and the next
// client gets nothing of them.
func TestClientThatDoesNotReadMakesWriteReject(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	sub := s.port(t, "port", "", `"tty": {"type": "socket", "writeTime": "3s"}`)
	c := s.connect(t, sub, "tty")
	c.send(t, "hello\n")
	s.asks(t, `"hello"`, sub, "tty", "read")
	s.asks(t, `{"$undefined":true}`, sub, "tty", "write", "before")
	line := strings.Repeat("x", 1<<20-1) // more than the operating system takes for a client that does not read
	at := time.Now()
	s.asks(t, "!not all of what was written was taken within 3s: the connection is closed", sub, "tty", "write", line)
	if took := time.Since(at); took < 3*time.Second {
		t.Errorf("write rejected after %v", took)
	}
	got, err := io.ReadAll(c.r)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	part, whole := strings.CutPrefix(string(got), "before\n")
	if !whole || part == "" || len(part) > len(line) || strings.Trim(part, "x") != "" {
		t.Errorf("the client got %s, want the line before and a part of the other", short(string(got)))
	}
	s.asks(t, "!CONNECTION_LOST", sub, "tty", "read") // it was given up in the middle of a line
	next := s.connect(t, sub, "tty")
	next.send(t, "next\n")
	s.asks(t, `"next"`, sub, "tty", "read")
	s.asks(t, `{"$undefined":true}`, sub, "tty", "write", "short")
	next.gets(t, "short\n")
	s.empty(t, d, sub)
}
