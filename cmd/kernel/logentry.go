package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ocapkernel.dev/internal/logging"
)

// The limits of an entry of the log. A value that is longer is cut, and ends in an ellipsis; further fields are left out.
const (
	maxEntryValue  = 32 << 10
	maxEntryFields = 64
)

// entryTime is the form of an entry's time, in UTC.
const entryTime = "2006-01-02T15:04:05.000Z07:00"

// An entry is one line of the log file: a JSON object, here by its fixed members. The values that the entry was
// logged with are members beside them, under their own names and in the order in which they were logged.
type entry struct {
	Time    string `json:"@timestamp"`
	Level   string `json:"@level"`
	Module  string `json:"@module"`
	Message string `json:"@message"`
	// Text has the values as kernel logs shows them, key=value. With it grep finds the text that kernel logs shows in the
	// file, and kernel logs need not render the values again.
	Text string `json:"@text,omitempty"`
	// Vat is the vat that the entry is about, if it is about one.
	Vat string `json:"vat"`
}

// newEntry returns the line for the file, with its newline, and the entry that it holds.
func newEntry(now time.Time, level slog.Level, module, message string, args []any) ([]byte, entry) {
	e := entry{Time: now.UTC().Format(entryTime), Level: logging.LevelName(level), Module: module, Message: cut(message)}
	var text strings.Builder
	fields := make([]byte, 0, 256)
	known := map[string]bool{}
	for i := 0; i < len(args) && len(known) < maxEntryFields; i += 2 {
		key, value := fmt.Sprint(args[i]), any("(no value)")
		if i+1 < len(args) {
			value = args[i+1]
		}
		if strings.HasPrefix(key, "@") || key == "" {
			key = "_" + key
		}
		if known[key] {
			continue // an object has each name once; the first is the logger's own
		}
		known[key] = true
		said, asJSON := entryValue(value)
		if key == "vat" {
			e.Vat = said
		}
		fields = append(append(appendQuoted(append(fields, ','), key), ':'), asJSON...)
		appendPair(&text, key, said)
	}
	e.Text = text.String()
	line := make([]byte, 0, 256+2*len(fields))
	for i, member := range [...][2]string{
		{"@timestamp", e.Time},
		{"@level", e.Level},
		{"@module", e.Module},
		{"@message", e.Message},
		{"@text", e.Text},
	} {
		if member[1] == "" {
			continue
		}
		line = append(line, "{,"[min(i, 1)])
		line = appendQuoted(append(appendQuoted(line, member[0]), ':'), member[1])
	}
	return append(append(line, fields...), '}', '\n'), e
}

// parseEntry returns the entry in a line of the file. It returns false for a line that is no entry, such as a line that an
// earlier version wrote.
func parseEntry(line string) (e entry, ok bool) {
	if !strings.HasPrefix(line, `{"@`) || json.Unmarshal([]byte(line), &e) != nil {
		return entry{}, false
	}
	return e, e.Message != ""
}

// String is the entry as people read it. It ends without a newline and may have several lines.
func (e entry) String() string {
	s := fmt.Sprintf("%s %-7s %s: %s", e.Time, "["+strings.ToUpper(e.Level)+"]", e.Module, e.Message)
	switch {
	case e.Text == "":
		return s
	case strings.HasPrefix(e.Text, "\n"):
		return s + ":" + e.Text
	default:
		return s + ": " + e.Text
	}
}

// entryValue returns a logged value as text and as JSON.
func entryValue(v any) (text string, asJSON []byte) {
	switch v := v.(type) {
	case nil:
		return "null", []byte("null")
	case error:
		text = v.Error()
	case fmt.Stringer:
		text = v.String()
	default:
		switch r := reflect.ValueOf(v); {
		case r.Kind() == reflect.String:
			text = r.String()
		case r.Kind() == reflect.Bool || r.CanInt() || r.CanUint():
			text = fmt.Sprint(v)
			return text, []byte(text)
		default:
			b, err := json.Marshal(v)
			if err != nil || len(b) > maxEntryValue {
				text = fmt.Sprint(v)
				break
			}
			return string(b), b
		}
	}
	text = cut(text)
	return text, appendQuoted(nil, text)
}

func cut(s string) string {
	if len(s) <= maxEntryValue {
		return s
	}
	return s[:maxEntryValue] + "…"
}

// appendPair adds key=value. A value of several lines stands on lines of its own, each after two spaces.
func appendPair(b *strings.Builder, key, value string) {
	if strings.Contains(value, "\n") {
		fmt.Fprintf(b, "\n  %s=", key)
		for line := range strings.SplitSeq(strings.TrimRight(value, "\n"), "\n") {
			b.WriteString("\n  | " + line)
		}
		b.WriteString("\n ")
		return
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	plain := func(r rune) bool {
		return unicode.IsPrint(r) && r != ' ' && r != '"' && r != '=' && r != utf8.RuneError
	}
	if value == "" || strings.IndexFunc(value, func(r rune) bool { return !plain(r) }) >= 0 {
		// Backslashes stay as they are: most belong to an escape that the value had before it was logged.
		value = `"` + printable(strings.ReplaceAll(value, `"`, `\"`)) + `"`
	}
	b.WriteString(key + "=" + value)
}

// appendQuoted appends a JSON string in which, unlike in encoding/json, every character is escaped that could steer a
// terminal: a person may print the file on one.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\t':
			b = append(b, '\\', 't')
		case unicode.IsPrint(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			r -= 0x10000
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, '"')
}
