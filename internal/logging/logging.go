// Package logging has what log/slog leaves open: a level below debug, the names of levels, the component that a line is
// from, loggers whose lines a function gets, and the lines by which a worker process logs.
package logging

import (
	"context"
	"log/slog"
	"math"
	"strings"
)

// Levels beside those of log/slog.
const (
	// Trace is for each syscall and its like.
	Trace = slog.LevelDebug - 4
	// Off is above all levels: a logger of that level logs nothing.
	Off = slog.Level(math.MaxInt32)
)

var levels = []struct {
	name  string
	level slog.Level
}{
	{"trace", Trace}, {"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError}, {"off", Off},
}

// ParseLevel returns the level of a name: trace, debug, info, warn, error or off, in any case.
func ParseLevel(name string) (level slog.Level, ok bool) {
	name = strings.ToLower(strings.TrimSpace(name))
	for _, l := range levels {
		if l.name == name {
			return l.level, true
		}
	}
	return 0, false
}

// LevelName returns the name of a level, in lower case. A level between two has the name of the lower one.
func LevelName(level slog.Level) string {
	name := levels[0].name
	for _, l := range levels {
		if level >= l.level {
			name = l.name
		}
	}
	return name
}

// LevelOf returns the least level that log logs.
func LevelOf(log *slog.Logger) slog.Level {
	for _, l := range levels {
		if log.Enabled(context.Background(), l.level) {
			return l.level
		}
	}
	return Off
}

// ComponentKey is the key of the attribute that names the component which a line is from.
const ComponentKey = "component"

// Named returns a logger whose lines are from the component of that name.
func Named(log *slog.Logger, component string) *slog.Logger { return log.With(ComponentKey, component) }
