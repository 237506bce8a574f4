package logging

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Line is what was logged once.
type Line struct {
	Time  time.Time
	Level slog.Level
	// Component is the name that [Named] gave; of a logger that was named twice, both, with a dot between them.
	Component string
	Message   string
	// Args are keys and values in turn: first those of [slog.Logger.With], sorted by key, then those of the call. The key of
	// an attribute in a group is that of the group, a dot, and its own.
	Args []any
}

// New returns a logger whose lines of a level, and of those above, write gets, one at a time.
func New(level slog.Level, write func(Line)) *slog.Logger {
	return slog.New(&handler{level: level, write: write, mu: &sync.Mutex{}})
}

// handler is a [slog.Handler].
type handler struct {
	level     slog.Level
	write     func(Line)
	mu        *sync.Mutex // held while write is called; all loggers that were made from one share it
	component string
	group     string // of the attributes that come, with a dot at its end
	with      []pair
}

type pair struct {
	key   string
	value any
}

// Enabled implements [slog.Handler].
func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// Handle implements [slog.Handler].
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	all := slices.Clone(h.with)
	r.Attrs(func(a slog.Attr) bool {
		all = flatten(all, h.group, a)
		return true
	})
	line := Line{Time: r.Time, Level: r.Level, Component: h.component, Message: r.Message}
	for _, p := range all {
		line.Args = append(line.Args, p.key, p.value)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.write(line)
	return nil
}

// WithAttrs implements [slog.Handler].
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *h
	var added []pair
	for _, a := range attrs {
		if a.Key == ComponentKey && h.group == "" {
			out.component = strings.TrimPrefix(out.component+"."+a.Value.String(), ".")
			continue
		}
		added = flatten(added, h.group, a)
	}
	out.with = slices.DeleteFunc(slices.Clone(h.with), func(old pair) bool {
		return slices.ContainsFunc(added, func(p pair) bool { return p.key == old.key })
	})
	out.with = append(out.with, added...)
	slices.SortStableFunc(out.with, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return &out
}

// WithGroup implements [slog.Handler].
func (h *handler) WithGroup(name string) slog.Handler {
	out := *h
	if name != "" {
		out.group += name + "."
	}
	return &out
}

// flatten appends an attribute, and those of a group each by itself.
func flatten(to []pair, group string, a slog.Attr) []pair {
	value := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}): // handlers ignore it
	case value.Kind() == slog.KindGroup:
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range value.Group() {
			to = flatten(to, group, member)
		}
	default:
		to = append(to, pair{group + a.Key, value.Any()})
	}
	return to
}

// NewText returns a logger that writes its lines to out as people read them, without the time.
func NewText(out io.Writer, level slog.Level) *slog.Logger {
	return New(level, func(l Line) { _, _ = io.WriteString(out, l.String()+"\n") }) // nowhere to tell it
}

// String returns the line as people read it, without the time.
func (l Line) String() string {
	text := fmt.Sprintf("%-7s ", "["+strings.ToUpper(LevelName(l.Level))+"]")
	if l.Component != "" {
		text += l.Component + ": "
	}
	text += l.Message
	for i := 0; i+1 < len(l.Args); i += 2 {
		value := fmt.Sprint(l.Args[i+1])
		if value == "" || strings.ContainsFunc(value, quoted) {
			value = `"` + strings.ReplaceAll(value, `"`, `\"`) + `"`
		}
		text += []string{": ", " "}[min(i, 1)] + fmt.Sprint(l.Args[i]) + "=" + value
	}
	return text
}

// quoted reports whether a value with r in it is shown in quotes.
func quoted(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '=' }

// NewWorker returns the logger of a worker process, whose lines are those of a go-plugin plugin: JSON objects with the
// members @level, @message and @timestamp, and one for each attribute.
func NewWorker(out io.Writer, level slog.Level) *slog.Logger {
	return New(level, func(l Line) { _, _ = out.Write(pluginLine(l)) }) // nowhere to tell it
}

func pluginLine(l Line) []byte {
	members := map[string]any{
		"@level": LevelName(l.Level), "@message": l.Message, "@timestamp": l.Time.Format("2006-01-02T15:04:05.000000Z07:00"),
	}
	for i := 0; i+1 < len(l.Args); i += 2 {
		key, value := fmt.Sprint(l.Args[i]), l.Args[i+1]
		if strings.HasPrefix(key, "@") {
			key = "_" + key
		}
		members[key] = member(value)
	}
	line, err := json.Marshal(members)
	if err != nil { // a value that looks good, and is not
		members = map[string]any{"@level": members["@level"], "@message": l.Message, "@timestamp": members["@timestamp"], "args": fmt.Sprint(l.Args...)}
		line, _ = json.Marshal(members) // of strings
	}
	return append(line, '\n')
}

// member returns a value as JSON has it: an error as its text, and as its text, too, a value of which there is no JSON.
func member(v any) any {
	switch v := v.(type) {
	case json.Marshaler, encoding.TextMarshaler:
		return v
	case error:
		return v.Error()
	}
	if _, err := json.Marshal(v); err != nil {
		return fmt.Sprintf("%+v", v)
	}
	return v
}
