package ioservice

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzUnits sends bytes in pieces through each kind of unit: the output is the input, but for the bytes that
// the rules drop, and does not depend on the pieces where units do not.
func FuzzUnits(f *testing.F) {
	for _, seed := range []string{"", "a\r\nb\n", "\xe2\x82\xac\n\xe2\x82", "\xff\xfe\n\r\r\n", "abcdefghijklmnop\nq"} {
		f.Add([]byte(seed), []byte{1, 2, 3}, uint8(4))
	}
	f.Fuzz(func(t *testing.T, data, cuts []byte, limit uint8) {
		most := int(limit)%40 + 1
		for _, kind := range []UnitKind{Line, String, Chars, Bytes} {
			cfg := Config{Name: "c", Unit: kind, MaxUnitBytes: most}
			checkUnits(t, cfg, data, cuts)
		}
	})
}

func checkUnits(t *testing.T, cfg Config, data, cuts []byte) {
	p := &splitter{cfg: cfg}
	var joined bytes.Buffer
	var lines []string
	ask := func(ended bool) {
		for {
			before := p.taken
			value, err, ok := p.next(ended)
			taken := data[before:p.taken]
			if !ok {
				if len(taken) > 0 && cfg.Unit != Line {
					t.Fatalf("%s: %q went, and no unit came", cfg.Unit, taken)
				}
				return
			}
			switch cfg.Unit {
			case Line:
				switch {
				case err == nil:
					if len(value) > cfg.MaxUnitBytes || strings.Contains(value, "\n") || !utf8.ValidString(value) {
						t.Fatalf("line %q", value)
					}
					lines = append(lines, value)
				case errors.Is(err, ErrTooLong):
					lines = append(lines, "too long")
				case errors.Is(err, ErrInvalidText):
					lines = append(lines, "invalid")
				default:
					t.Fatal(err)
				}
				continue
			case Bytes:
				raw, decodeErr := base64.StdEncoding.DecodeString(value)
				if err != nil || decodeErr != nil || len(raw) == 0 || len(raw) > cfg.MaxUnitBytes {
					t.Fatalf("bytes %q: %v, %v", value, err, decodeErr)
				}
				value = string(raw)
			default:
				if err != nil {
					if !errors.Is(err, ErrInvalidText) || len(taken) != 1 || taken[0] < utf8.RuneSelf {
						t.Fatalf("%s: dropped %q: %v", cfg.Unit, taken, err)
					}
					joined.Write(taken)
					continue
				}
				runes := utf8.RuneCountInString(value)
				if !utf8.ValidString(value) || runes == 0 || cfg.Unit == Chars && runes > 1 || runes > 1 && len(value) > cfg.MaxUnitBytes {
					t.Fatalf("%s: unit %q", cfg.Unit, value)
				}
			}
			if value != string(taken) {
				t.Fatalf("%s: unit %q of %q", cfg.Unit, value, taken)
			}
			joined.WriteString(value)
		}
	}
	rest := data
	for i := 0; len(rest) > 0; i++ {
		n := len(rest)
		if i < len(cuts) {
			n = min(n, int(cuts[i])%17)
		}
		if n > p.room() {
			t.Fatalf("%s: no room for %d bytes when %d are held", cfg.Unit, n, p.held())
		}
		p.add(rest[:n])
		rest = rest[n:]
		if i%3 != 2 { // sometimes more arrives before anyone asks
			ask(false)
		}
	}
	ask(true)
	if p.taken != int64(len(data)) || p.held() != 0 || p.skipping {
		t.Fatalf("%s: %d of %d bytes went, %d are held, skipping: %v", cfg.Unit, p.taken, len(data), p.held(), p.skipping)
	}
	if cfg.Unit != Line {
		if !bytes.Equal(joined.Bytes(), data) {
			t.Fatalf("%s: got %q, want %q", cfg.Unit, joined.Bytes(), data)
		}
		return
	}
	want := plainLines(cfg, string(data))
	if strings.Join(want, "\n") != strings.Join(lines, "\n") || len(want) != len(lines) {
		t.Fatalf("lines of %q: got %q, want %q", data, lines, want)
	}
}

// plainLines returns the lines of a text, in the simplest way.
func plainLines(cfg Config, text string) (lines []string) {
	for text != "" {
		line, rest, whole := strings.Cut(text, "\n")
		text = rest
		if whole {
			line = strings.TrimSuffix(line, "\r")
		}
		switch {
		case len(line) > cfg.MaxUnitBytes:
			line = "too long"
		case !utf8.ValidString(line):
			line = "invalid"
		}
		lines = append(lines, line)
	}
	return lines
}
