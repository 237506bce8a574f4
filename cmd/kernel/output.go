package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// printJSON prints one value on one line of stdout.
func (a *app) printJSON(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := a.stdout.Write(append(printableJSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), '\n'))
	return err
}

// printableJSON writes the characters that printable would escape as escapes of JSON: the value stays the same.
// text is JSON.
func printableJSON(text []byte) []byte {
	steers := func(r rune) bool { return r > '~' && !unicode.IsPrint(r) }
	if bytes.IndexFunc(text, steers) < 0 {
		return text
	}
	out := make([]byte, 0, len(text)+16)
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if steers(r) { // in a string: JSON has no such characters anywhere else
			for _, unit := range utf16.AppendRune(nil, r) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		} else {
			out = append(out, text[:size]...)
		}
		text = text[size:]
	}
	return out
}

// print prints lines for people on stdout, or v with --json.
func (a *app) print(v any, human func(w io.Writer)) error {
	if a.json {
		return a.printJSON(v)
	}
	var b strings.Builder
	human(&b)
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// table prints rows in aligned columns. The first row is the heading.
func table(w io.Writer, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // w is in memory
}

// human returns a value for people: as JSON, but for the answer of a method that has none.
func human(value json.RawMessage) string {
	if string(value) == `{"$undefined":true}` {
		return "undefined"
	}
	return string(printableJSON(value))
}

// printable makes foreign text (a vat's error, a file's name) safe to show on a terminal: a character that
// could move the cursor, change colours or the direction of text becomes an escape, and so do a newline and a
// byte that is not UTF-8.
func printable(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[size:]
	}
	return b.String()
}

// printableError is printable for an error, which may have several lines: those after the first are indented,
// so that none of them looks like a line of this program.
func printableError(s string) string {
	return strings.ReplaceAll(printableLines(strings.TrimRight(s, "\n")), "\n", "\n  ")
}

// printableLines is printable for text of several lines: newlines stay.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = printable(strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

// size returns bytes in the spelling of people.
func size(n int64) string {
	switch {
	case n <= 0:
		return "-"
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", (n+1<<10-1)>>10)
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
