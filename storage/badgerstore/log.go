package badgerstore

import (
	"fmt"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// badgerLog gives Badger's lines to hclog. Lines that Badger finds informative are about its tables and its
// compactions; for a kernel that is detail, so they go one level down.
type badgerLog struct {
	log hclog.Logger
	// dir is the path of the database, and name its name in the log, if not empty.
	dir, name string
}

func (l badgerLog) Errorf(format string, args ...any)   { l.write(hclog.Error, format, args) }
func (l badgerLog) Warningf(format string, args ...any) { l.write(hclog.Warn, format, args) }
func (l badgerLog) Infof(format string, args ...any)    { l.write(hclog.Debug, format, args) }
func (l badgerLog) Debugf(format string, args ...any)   { l.write(hclog.Trace, format, args) }

func (l badgerLog) write(level hclog.Level, format string, args []any) {
	// Rendering costs more than this check.
	if level < l.log.GetLevel() {
		return
	}
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	if l.name != "" {
		text = strings.ReplaceAll(text, l.dir, l.name)
	}
	l.log.Log(level, "badger", "message", text)
}
