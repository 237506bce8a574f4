package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/internal/logging"
)

// Bounds of a worker's log.
const (
	maxLine       = limits.LogLineBytes // bytes of a line that are read; the rest is cut off
	maxLogText    = limits.LogTextBytes // bytes of a message, or of a value, that are logged
	maxLogFields  = 16
	linesPerSec   = limits.LogLines
	linesAtOnce   = limits.LogLinesAtOnce
	bytesPerSec   = 16 << 20 // beyond it the worker's writes wait: a flood costs CPU here as well
	maxLastWords  = 300
	droppedNotice = "worker log lines dropped"
)

// logReader turns the output of a worker into log entries of ours.
type logReader struct {
	log   *slog.Logger
	lines *rate.Limiter
	bytes *rate.Limiter

	mu struct {
		sync.Mutex
		dropped  int
		reported time.Time // when that was last said
		last     string    // the last line of plain text, or the first of a panic
		panics   bool
	}
}

func newLogReader(log *slog.Logger) *logReader {
	return &logReader{
		log:   log,
		lines: rate.NewLimiter(linesPerSec, linesAtOnce),
		bytes: rate.NewLimiter(bytesPerSec, bytesPerSec),
	}
}

// read logs the lines of in until it ends.
func (l *logReader) read(in *bufio.Reader) {
	fresh := true // the next piece begins a line; a piece that does not is cut off
	for {
		piece, err := in.ReadSlice('\n')
		if fresh {
			l.line(bytes.TrimRight(piece, "\r\n"))
		}
		if fresh = err == nil; err != nil && err != bufio.ErrBufferFull {
			return
		}
		// A fraction of a millisecond at most, so there is nothing to cancel.
		_ = l.bytes.WaitN(context.Background(), len(piece))
	}
}

// printed takes a plugin's output, as go-plugin hands it over: in pieces, on one goroutine.
type printed struct {
	logs *logReader
	line []byte // its beginning
}

// Write is part of being an [io.Writer].
func (p *printed) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		piece, rest, whole := bytes.Cut(b, []byte("\n"))
		p.line = append(p.line, piece[:min(len(piece), maxLine-len(p.line))]...)
		if b = rest; whole {
			p.logs.line(bytes.TrimRight(p.line, "\r"))
			p.line = p.line[:0]
		}
	}
	_ = p.logs.bytes.WaitN(context.Background(), n) // a fraction of a millisecond, as above
	return n, nil
}

// line logs one line, if there have not been too many.
func (l *logReader) line(line []byte) {
	if len(line) == 0 {
		return
	}
	structured := line[0] == '{'
	if !structured {
		l.remember(line)
	}
	if !l.lines.Allow() {
		l.mu.Lock()
		l.mu.dropped++
		l.mu.Unlock()
		return
	}
	l.report(false)
	if structured && l.structured(line) {
		return
	}
	level := slog.LevelInfo // the output of an author is shown
	if bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: ")) {
		level = slog.LevelError
	}
	l.log.Log(context.Background(), level, "worker says", "text", clean(string(line), maxLogText))
}

// structured logs a line that a logger wrote in the worker, as hclog does, at its level. It answers false if it is not one.
func (l *logReader) structured(line []byte) bool {
	var entry map[string]json.RawMessage
	if json.Unmarshal(line, &entry) != nil {
		return false
	}
	text := func(key string) string {
		var s string
		_ = json.Unmarshal(entry[key], &s) // a value that is no string counts as none
		return s
	}
	message := text("@message")
	level, ok := logging.ParseLevel(text("@level"))
	if !ok || level == logging.Off || message == "" {
		return false
	}
	if !l.log.Enabled(context.Background(), level) {
		return true
	}
	var fields []any
	for _, key := range slices.Sorted(maps.Keys(entry)) {
		if strings.HasPrefix(key, "@") || len(fields) == 2*maxLogFields {
			continue
		}
		value := string(entry[key])
		var s string
		if json.Unmarshal(entry[key], &s) == nil {
			value = s
		}
		fields = append(fields, fieldName(key), clean(value, maxLogText))
	}
	l.log.Log(context.Background(), level, clean(message, maxLogText), fields...)
	return true
}

// fieldName keeps a worker's field from passing for one of ours.
func fieldName(key string) string {
	key = strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, key)
	switch key = key[:min(len(key), 32)]; key {
	case "vat", "name", "pid", "crank", "service", "cause", "":
		return "its_" + key
	}
	return key
}

// remember keeps the line that most likely explains the death of a worker.
func (l *logReader) remember(line []byte) {
	starts := bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: ")) || bytes.HasPrefix(line, []byte("worker: "))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.panics && !starts {
		return // the rest of its stack trace
	}
	l.mu.panics = starts
	l.mu.last = clean(string(line[:min(len(line), maxLastWords)]), maxLastWords)
}

func (l *logReader) lastWords() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.last
}

// report logs the number of lines dropped since the last report: at most once a second, and at the end.
func (l *logReader) report(last bool) {
	l.mu.Lock()
	n := 0
	if now := time.Now(); l.mu.dropped > 0 && (last || now.Sub(l.mu.reported) >= time.Second) {
		n, l.mu.dropped, l.mu.reported = l.mu.dropped, 0, now
	}
	l.mu.Unlock()
	if n > 0 {
		l.log.Warn(droppedNotice, "lines", n)
	}
}

// clean makes text from outside fit for a log or a terminal: one line, no control characters, at most
// that many bytes (and a little).
func clean(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "…"
	}
	plain := func(r rune) bool { return r != utf8.RuneError && strconv.IsPrint(r) }
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case plain(r):
			b.WriteRune(r)
		case r == utf8.RuneError:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}
