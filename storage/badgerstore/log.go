package badgerstore

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"ocapkernel.dev/internal/logging"
)

// badgerLog gives Badger's lines to a logger. Lines that Badger finds informative are about its tables and its
// compactions; for a kernel that is detail, so they go one level down.
type badgerLog struct {
	log *slog.Logger
	// dir is the path of the database, and name its name in the log, if not empty.
	dir, name string
	// unsynced is set when Badger could not sync a value log. Badger logs that, and the commit succeeds.
	unsynced *atomic.Bool
}

// returned are the beginnings of Badger's formats of errors that the call which meets them returns to the store: of reads in a
// value log that is missing, which happens when the log was removed meanwhile, and of commits.
var returned = []string{
	"Unable to read: Key", "Key: %v, Version", "Invalid read: vp",
	"writeRequests: ", "Got error: %v for id",
}

// notSynced is the beginning of Badger's format of an error of the sync of a value log, by a commit.
const notSynced = "Error while curlf sync"

// Errorf logs an error of Badger. An error that the store returns, or that goes away when a read is made again, is a detail.
func (l badgerLog) Errorf(format string, args ...any) {
	if strings.HasPrefix(format, notSynced) {
		l.unsynced.Store(true)
	}
	level := slog.LevelError
	if slices.ContainsFunc(returned, func(begin string) bool { return strings.HasPrefix(format, begin) }) {
		level = slog.LevelDebug
	}
	l.write(level, format, args)
}

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
