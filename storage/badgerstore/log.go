package badgerstore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"ocapkernel.dev/internal/logging"
)

// badgerLog gives Badger's lines to a logger. Lines that Badger finds informative are about its tables and its
// compactions; for a kernel that is detail, so they go one level down.
type badgerLog struct {
	log *slog.Logger
	// dir is the path of the database, and name its name in the log, if not empty.
	dir, name string
}

func (l badgerLog) Errorf(format string, args ...any)   { l.write(slog.LevelError, format, args) }
func (l badgerLog) Warningf(format string, args ...any) { l.write(slog.LevelWarn, format, args) }
func (l badgerLog) Infof(format string, args ...any)    { l.write(slog.LevelDebug, format, args) }
func (l badgerLog) Debugf(format string, args ...any)   { l.write(logging.Trace, format, args) }

func (l badgerLog) write(level slog.Level, format string, args []any) {
	// Rendering costs more than this check.
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	if l.name != "" {
		text = strings.ReplaceAll(text, l.dir, l.name)
	}
	l.log.Log(context.Background(), level, "badger", "message", text)
}
