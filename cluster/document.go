package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"

	"ocapkernel.dev/internal/limits"
)

const (
	maxFileBytes = limits.ConfigBytes
	// maxDepth bounds the nesting of JSON values, and with it the recursion of the parser.
	maxDepth = limits.ConfigDepth
	// maxValues bounds the memory of the parsed file: a value takes some 200 bytes.
	maxValues = limits.ConfigValues
)

// document is the text of a configuration, and the places of its fields.
type document struct {
	name string
	data []byte
	// within is the path of the configuration in data, which precedes the paths of its fields; empty if it is
	// all of data.
	within string
	// places holds the offset of each field, by its dotted path.
	places map[string]int
	// services holds the path of the field that names the kernel service, for each Service by its name.
	services map[string]string
}

func newDocument(name string, data []byte) *document {
	return &document{name: name, data: data, places: map[string]int{}, services: map[string]string{}}
}

// full returns the path of a field in the whole of the data.
func (d *document) full(field string) string {
	if d.within == "" || field == "" {
		return d.within + field
	}
	return d.within + "." + field
}

// problem returns a Problem at offset.
func (d *document) problem(offset int, field, format string, args ...any) Problem {
	line, column := position(d.data, offset)
	return Problem{
		File: d.name, Line: line, Column: column, Field: d.full(field), Message: fmt.Sprintf(format, args...),
	}
}

// position returns the line and the character in the line at offset, both from 1.
func position(data []byte, offset int) (line, column int) {
	before := data[:min(offset, len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[start:])
}

// parse parses the text, after it has checked the bounds that a recursive parser needs.
func (d *document) parse() (hujson.Value, error) {
	fail := func(offset int, format string, args ...any) (hujson.Value, error) {
		return hujson.Value{}, &Errors{Problems: []Problem{d.problem(offset, "", format, args...)}}
	}
	if len(d.data) > maxFileBytes {
		return hujson.Value{}, &Errors{Problems: []Problem{{
			File: d.name, Message: fmt.Sprintf("the file is larger than %d bytes", maxFileBytes),
		}}}
	}
	if bytes.HasPrefix(d.data, []byte("\ufeff")) {
		return fail(0, "the file begins with a byte order mark: save it as UTF-8 without one")
	}
	if !utf8.Valid(d.data) {
		return fail(invalidUTF8(d.data), "the file is not valid UTF-8 here")
	}
	depth, values := shape(d.data)
	if depth >= 0 {
		return fail(depth, "values are nested more than %d deep", maxDepth)
	}
	if values >= 0 {
		return fail(values, "the file has more than %d values", maxValues)
	}
	// A comment in the last line needs its end.
	root, err := hujson.Parse(append(d.data[:len(d.data):len(d.data)], '\n'))
	if err != nil {
		return fail(d.syntaxError(err))
	}
	return root, nil
}

func invalidUTF8(data []byte) (offset int) {
	for offset < len(data) {
		r, size := utf8.DecodeRune(data[offset:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		offset += size
	}
	return offset
}

// shape returns the offset at which the text is nested too deeply, and the offset at which it has too many
// values, or -1. It reads strings and comments as the parser does; if the text is no JSON, the parser stops
// earlier.
func shape(data []byte) (tooDeep, tooMany int) {
	depth, values := 0, 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '/':
			end := ""
			switch {
			case bytes.HasPrefix(data[i:], []byte("//")):
				end = "\n"
			case bytes.HasPrefix(data[i:], []byte("/*")):
				end = "*/"
			default:
				continue
			}
			n := bytes.Index(data[i+2:], []byte(end))
			if n < 0 {
				return -1, -1
			}
			i += 2 + n + len(end) - 1
		case '[', '{':
			if depth++; depth > maxDepth {
				return i, -1
			}
			values++
		case ']', '}':
			depth--
		case ',', ':':
			if values++; values > maxValues {
				return -1, i
			}
		}
	}
	return -1, -1
}

// syntaxError returns the parser's error with its offset, which the parser gives only in its text.
func (d *document) syntaxError(err error) (offset int, format, message string) {
	var line, column int
	if _, scanErr := fmt.Sscanf(err.Error(), "hujson: line %d, column %d:", &line, &column); scanErr == nil {
		for ; line > 1; line-- {
			n := bytes.IndexByte(d.data[offset:], '\n')
			if n < 0 { // behind the line break that parse added
				n = len(d.data) - offset - 1
			}
			offset += n + 1
		}
		offset = min(offset+column-1, len(d.data))
	}
	message = err.Error()
	if inner := errors.Unwrap(err); inner != nil {
		message = inner.Error()
	}
	literal, isLiteral := strings.CutPrefix(message, "invalid literal: ")
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		what, _, _ := strings.Cut(message, ":")
		message = fmt.Sprintf("the file ends too early (%s): is a closing bracket or quote missing?", what)
	case isLiteral && strings.HasPrefix(literal, `"`):
		message = `this string is not JSON: write \\ for a backslash, \n for a line break`
	case isLiteral:
		message = shorten(literal) + " is not JSON: names and strings stand in double quotes"
	case strings.HasPrefix(message, `invalid character '\''`):
		message += ": strings stand in double quotes"
	}
	return offset, "%s", message
}

// shorten bounds the text of a file that is put into a message.
func shorten(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	for i := most; ; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i] + "…"
		}
	}
}
