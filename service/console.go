package service

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/time/rate"

	"ocapkernel.dev/internal/limits"
)

// Console returns the service "console", which writes to a log: one entry for each call, with the calling vat
// and at most 4 KiB of text, made safe to show on a terminal. Entries come in the order of the calls.
//
// A vat may write 1000 entries at once, and then 100 each second, like a worker its lines: further entries are
// left out, so that no vat soon pushes the entries of others out of a log that is bounded. The next entry has
// the number of those left out.
//
// Its methods may be done again after the kernel's death: an entry may then stand in the log twice.
func Console(log *slog.Logger) Object {
	return builtIn("console", &console{log: log}, Serial(), Logger(log), IdempotentMethods("error", "info", "log", "warn"))
}

type console struct {
	log *slog.Logger

	mu     sync.Mutex
	voices map[string]*voice // by vat; guarded by mu
}

// voice counts the entries of one vat.
type voice struct {
	entries *rate.Limiter
	leftOut int
}

const (
	entriesPerSec = limits.ConsoleEntries
	entriesAtOnce = limits.ConsoleEntriesAtOnce
	// maxVoices bounds the vats that are remembered: beyond it, silent vats are forgotten.
	maxVoices = 1000
)

// allow reports whether a vat may write an entry, and how many before it were left out.
func (c *console) allow(vat string, now time.Time) (leftOut int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.voices[vat]
	if v == nil {
		if len(c.voices) >= maxVoices {
			maps.DeleteFunc(c.voices, func(_ string, v *voice) bool { return v.entries.TokensAt(now) >= entriesAtOnce })
		}
		if c.voices == nil {
			c.voices = map[string]*voice{}
		}
		v = &voice{entries: rate.NewLimiter(entriesPerSec, entriesAtOnce)}
		c.voices[vat] = v
	}
	if !v.entries.AllowN(now, 1) {
		v.leftOut++
		return 0, false
	}
	leftOut, v.leftOut = v.leftOut, 0
	return leftOut, true
}

// Log writes values: strings as they are, others as JSON, with spaces between them.
func (c *console) Log(ctx context.Context, values ...any) { c.write(ctx, slog.LevelInfo, values) }

// Info is Log.
func (c *console) Info(ctx context.Context, values ...any) { c.write(ctx, slog.LevelInfo, values) }

// Warn is Log with the level of warnings.
func (c *console) Warn(ctx context.Context, values ...any) { c.write(ctx, slog.LevelWarn, values) }

// Error is Log with the level of errors.
func (c *console) Error(ctx context.Context, values ...any) { c.write(ctx, slog.LevelError, values) }

const maxConsoleBytes = limits.ConsoleBytes

func (c *console) write(ctx context.Context, level slog.Level, values []any) {
	who, _ := Caller(ctx)
	leftOut, ok := c.allow(who.Vat, time.Now())
	if !ok {
		return
	}
	var text strings.Builder
	for i, v := range values {
		if text.Len() > maxConsoleBytes {
			break
		}
		if i > 0 {
			text.WriteByte(' ')
		}
		if s, ok := v.(string); ok {
			text.WriteString(clip(s, maxConsoleBytes))
			continue
		}
		s, err := json.Marshal(v)
		if err != nil {
			s = []byte(err.Error())
		}
		text.WriteString(clip(string(s), maxConsoleBytes))
	}
	keys := []any{"vat", who.Vat, "subcluster", who.Subcluster, "text", printable(text.String(), maxConsoleBytes)}
	if who.Again {
		keys = append(keys, "again", true)
	}
	if leftOut > 0 {
		keys = append(keys, "leftOut", leftOut)
	}
	c.log.Log(ctx, level, "vat says", keys...)
}

// printable returns text, cut to about n bytes. Each character that could move the cursor, change colours or
// the direction of text is an escape, and so is a newline.
func printable(s string, n int) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= n {
			b.WriteString("…")
			break
		}
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
