package ioservice_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/ioservice"
)

// pieces is a reader that gives one piece at a time, and then the end.
type pieces struct{ rest []string }

func (p *pieces) Read(buf []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(buf, p.rest[0])
	if p.rest[0] = p.rest[0][n:]; p.rest[0] == "" {
		p.rest = p.rest[1:]
	}
	return n, nil
}

func (v *vat) readAll() (got []string) {
	v.t.Helper()
	for range 100 {
		u, err := v.read().wait()
		switch {
		case errors.Is(err, ioservice.ErrInvalidText):
			got = append(got, "invalid")
		case errors.Is(err, ioservice.ErrTooLong):
			got = append(got, "too long")
		case err != nil:
			v.t.Fatal(err)
		case u.End:
			return got
		default:
			got = append(got, u.Value)
		}
	}
	v.t.Fatal("it does not end")
	return nil
}

func TestUnits(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		name string
		unit ioservice.UnitKind
		max  int
		in   []string
		want []string
	}{
		{"lines", ioservice.Line, 0, []string{"a\nb\n"}, []string{"a", "b"}},
		{"lines in pieces", ioservice.Line, 0, []string{"a", "b\nc", "d", "\n"}, []string{"ab", "cd"}},
		{"empty lines", ioservice.Line, 0, []string{"\n\n"}, []string{"", ""}},
		{"carriage returns", ioservice.Line, 0, []string{"a\r", "\nb\r\r\nc\rd\n\r"}, []string{"a", "b\r", "c\rd", "\r"}},
		{"last line", ioservice.Line, 0, []string{"a\nb"}, []string{"a", "b"}},
		{"split character in a line", ioservice.Line, 0, []string{"\xe2", "\x82", "\xac\n"}, []string{"€"}},
		{"invalid line", ioservice.Line, 0, []string{"a\xffb\nc\n"}, []string{"invalid", "c"}},
		{"half a character at the end of a line", ioservice.Line, 0, []string{"\xe2\x82\nc\n"}, []string{"invalid", "c"}},
		{"invalid last line", ioservice.Line, 0, []string{"\xff"}, []string{"invalid"}},
		{"longest line", ioservice.Line, 3, []string{"abc\nabc\r\nabc"}, []string{"abc", "abc", "abc"}},
		{"too long by one", ioservice.Line, 3, []string{"abcd\nx\n"}, []string{"too long", "x"}},
		{"too long in pieces", ioservice.Line, 3, []string{"ab", "cd", "e", "f", "\nx\n"}, []string{"too long", "x"}},
		{"too long with carriage return", ioservice.Line, 3, []string{"abcd", "\r\nx\n"}, []string{"too long", "x"}},
		{"too long and last", ioservice.Line, 3, []string{"abcde", "fgh"}, []string{"too long"}},
		{"last too long by one", ioservice.Line, 3, []string{"abcd"}, []string{"too long"}},
		{"last with carriage return", ioservice.Line, 3, []string{"abc\r"}, []string{"too long"}},
		{"string", ioservice.String, 0, []string{"a\nb"}, []string{"a\nb"}},
		{"string in pieces", ioservice.String, 0, []string{"ab", "cd"}, []string{"ab", "cd"}},
		{"split character in a string", ioservice.String, 0, []string{"a\xf0\x9f", "\x98", "\x80b"}, []string{"a", "😀b"}},
		{"invalid in a string", ioservice.String, 0, []string{"a\xffb"}, []string{"a", "invalid", "b"}},
		{"half a character at the end", ioservice.String, 0, []string{"a\xe2\x82"}, []string{"a", "invalid", "invalid"}},
		{"surrogate", ioservice.String, 0, []string{"\xed\xa0\x80x"}, []string{"invalid", "invalid", "invalid", "x"}},
		{"replacement character", ioservice.String, 0, []string{"\ufffd"}, []string{"\ufffd"}},
		{"string above a unit", ioservice.String, 4, []string{"ab€cdefgh"}, []string{"ab", "€c", "defg", "h"}},
		{"unit smaller than a character", ioservice.String, 1, []string{"€a"}, []string{"€", "a"}},
		{"chars", ioservice.Chars, 0, []string{"a\r\n€"}, []string{"a", "\r", "\n", "€"}},
		{"split character", ioservice.Chars, 0, []string{"\xe2\x82", "\xac", "a"}, []string{"€", "a"}},
		{"combining characters", ioservice.Chars, 0, []string{"e\u0301"}, []string{"e", "\u0301"}},
		{"invalid chars", ioservice.Chars, 0, []string{"\xff", "a\x80"}, []string{"invalid", "a", "invalid"}},
		{"bytes", ioservice.Bytes, 0, []string{"\xff\x00a", "b"}, []string{b64("\xff\x00a"), b64("b")}},
		{"bytes above a unit", ioservice.Bytes, 2, []string{"abc"}, []string{b64("ab"), b64("c")}},
		{"nothing", ioservice.Bytes, 0, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.In, Unit: c.unit, MaxUnitBytes: c.max})
			k.opts.Stdin = &pieces{c.in}
			v := k.open()
			if diff := cmp.Diff(c.want, v.readAll()); diff != "" {
				t.Errorf("units (-want +got):\n%s", diff)
			}
			v.read().wantEnd()
		})
	}
}

func TestStringsAndBytesHaveAtMost64KiB(t *testing.T) {
	for _, unit := range []ioservice.UnitKind{ioservice.String, ioservice.Bytes} {
		t.Run(string(unit), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(path, []byte(strings.Repeat("€", 100_000)), 0o600); err != nil {
				t.Fatal(err)
			}
			v := openChannel(t, ioservice.Config{Type: ioservice.File, Path: path, Unit: unit, Direction: ioservice.In})
			total := 0
			for i, u := range v.readAll() {
				if unit == ioservice.Bytes {
					data, err := base64.StdEncoding.DecodeString(u)
					if err != nil {
						t.Fatal(err)
					}
					u = string(data)
				}
				if len(u) > 64<<10 {
					t.Errorf("unit %d has %d bytes", i, len(u))
				}
				total += len(u)
			}
			if total != 300_000 {
				t.Errorf("got %d bytes, want all 300000", total)
			}
		})
	}
}

func TestErrorsOfUnitsNameTheLimitAndThePlace(t *testing.T) {
	k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.In, MaxUnitBytes: 5})
	k.opts.Stdin = strings.NewReader("123456\nab\xfe\n")
	v := k.open()
	for _, want := range []struct {
		kind  error
		texts []string
	}{
		{ioservice.ErrTooLong, []string{"channel c", "5 bytes"}},
		{ioservice.ErrInvalidText, []string{"channel c", "0xfe at 2"}},
	} {
		err := v.read().wantError(want.kind)
		for _, text := range want.texts {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%q does not say %q", err, text)
			}
		}
	}
}

func TestWritesOfEachUnit(t *testing.T) {
	for _, c := range []struct {
		unit     ioservice.UnitKind
		in, want string
		err      error
	}{
		{ioservice.Line, "a", "a\n", nil},
		{ioservice.Line, "", "\n", nil},
		{ioservice.Line, "a\nb", "", ioservice.ErrInvalidText},
		{ioservice.Line, "a\xff", "", ioservice.ErrInvalidText},
		{ioservice.String, "a\nb", "a\nb", nil},
		{ioservice.String, "\xff", "", ioservice.ErrInvalidText},
		{ioservice.Chars, "ab", "ab", nil},
		{ioservice.Chars, "", "", nil},
		{ioservice.Bytes, "/wA=", "\xff\x00", nil},
		{ioservice.Bytes, "/wA", "", ioservice.ErrInvalidText},
		{ioservice.Bytes, "/w\nA=", "", ioservice.ErrInvalidText},
		{ioservice.Bytes, "!", "", ioservice.ErrInvalidText},
	} {
		t.Run(fmt.Sprintf("%s %q", c.unit, c.in), func(t *testing.T) {
			var out strings.Builder
			k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.Out, Unit: c.unit})
			k.opts.Stdout = &out
			v := k.open()
			err := receive(t, v.write(c.in))
			if c.err != nil {
				wantKind(t, err, c.err)
			} else if err != nil {
				t.Fatal(err)
			}
			_ = v.Close()
			if out.String() != c.want {
				t.Errorf("got %q, want %q", out.String(), c.want)
			}
		})
	}
}

// Each type in each direction with each unit: allowed reads and writes work, and the rest is refused.
func TestEveryTypeDirectionAndUnit(t *testing.T) {
	for _, unit := range []ioservice.UnitKind{ioservice.Line, ioservice.String, ioservice.Chars, ioservice.Bytes} {
		for _, direction := range []ioservice.Direction{ioservice.In, ioservice.Out, ioservice.InOut} {
			sent, given, written := "€\n", "€", "€\n"
			switch unit {
			case ioservice.String:
				given, written = "€\n", "€\n"
			case ioservice.Chars:
				written = "€"
			case ioservice.Bytes:
				given, written = base64.StdEncoding.EncodeToString([]byte("€\n")), "€\n"
			}
			for _, typ := range []ioservice.Type{ioservice.Socket, ioservice.Listen, ioservice.Network, ioservice.File, ioservice.Console} {
				t.Run(fmt.Sprint(typ, direction, unit), func(t *testing.T) {
					v, other := withOther(t, ioservice.Config{Type: typ, Direction: direction, Unit: unit})
					if direction != ioservice.Out {
						if typ == ioservice.Network {
							read := v.read() // it connects for that
							other.give(sent)
							read.want(given)
						} else {
							other.give(sent)
							v.read().want(given)
						}
					} else if err := v.read().wantError(ioservice.ErrDirection); !strings.Contains(err.Error(), "channel c is write-only") {
						t.Errorf("got %q", err)
					}
					if direction == ioservice.In {
						if err := v.wantWriteError(given, ioservice.ErrDirection); !strings.Contains(err.Error(), "channel c is read-only") {
							t.Errorf("got %q", err)
						}
						return
					}
					v.writeWhenConnected(given)
					other.want(written)
				})
			}
		}
	}
}

// An other is the other end of any channel.
type other struct {
	give, want func(text string)
}

// withOther opens a channel with another end.
func withOther(t *testing.T, cfg ioservice.Config) (*vat, other) {
	t.Helper()
	k := newKernel(t, cfg)
	switch cfg.Type {
	case ioservice.Network:
		l := listenTCP(t)
		k.cfg.HostPort = l.Addr().String()
		v := k.open()
		conn := l.next()
		return v, other{func(text string) { (<-conn).say(text) }, func(text string) { (<-conn).hear(text) }}
	case ioservice.File:
		path := filepath.Join(k.dir, "f")
		k.cfg.Path = path
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		given := ""
		return k.open(), other{
			func(text string) {
				given = text
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			func(text string) {
				if got, err := os.ReadFile(path); err != nil || string(got) != given+text {
					t.Errorf("got %q, %v, want %q", got, err, given+text)
				}
			},
		}
	case ioservice.Console:
		stdin, in := pipe(t)
		out, stdout := pipe(t)
		k.opts.Stdin, k.opts.Stdout = stdin, stdout
		return k.open(), other{
			func(text string) { _, _ = io.WriteString(in, text) },
			func(text string) {
				got := make([]byte, len(text))
				if _, err := io.ReadFull(out, got); err != nil || string(got) != text {
					t.Errorf("got %q, %v, want %q", got, err, text)
				}
			},
		}
	default:
		v := k.open()
		c := v.dial()
		return v, other{c.say, c.hear}
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}
