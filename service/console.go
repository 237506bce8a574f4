package service

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"

	"github.com/hashicorp/go-hclog"
)

// Console returns the service "console", which writes to a log: one entry for each call, with who called and
// at most 4 KiB of what it said, made safe to show on a terminal. Entries come in the order of the calls.
//
// Its methods may be done again after the kernel's death: an entry may then stand in the log twice.
func Console(log hclog.Logger) Object {
	return builtIn("console", console{log}, Serial(), Logger(log), IdempotentMethods("error", "info", "log", "warn"))
}

type console struct{ log hclog.Logger }

// Log writes values: strings as they are, others as JSON, with spaces between them.
func (c console) Log(ctx context.Context, values ...any) { c.write(ctx, hclog.Info, values) }

// Info is Log.
func (c console) Info(ctx context.Context, values ...any) { c.write(ctx, hclog.Info, values) }

// Warn is Log with the level of warnings.
func (c console) Warn(ctx context.Context, values ...any) { c.write(ctx, hclog.Warn, values) }

// Error is Log with the level of errors.
func (c console) Error(ctx context.Context, values ...any) { c.write(ctx, hclog.Error, values) }

const maxConsoleBytes = 4 << 10

func (c console) write(ctx context.Context, level hclog.Level, values []any) {
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
	who, _ := Caller(ctx)
	keys := []any{"vat", who.Vat, "subcluster", who.Subcluster, "text", printable(text.String(), maxConsoleBytes)}
	if who.Again {
		keys = append(keys, "again", true)
	}
	c.log.Log(level, "vat says", keys...)
}

// printable returns text, cut to about n bytes, in which whatever could move the cursor, change colours or the
// direction of text is an escape, and so is a newline.
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
