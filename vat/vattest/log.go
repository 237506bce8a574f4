package vattest

import (
	"fmt"
	"log/slog"
	"strings"

	"ocapkernel.dev/internal/logging"
)

// logger returns the log of a vat: its lines are lines of the test's log.
func (k *Kernel) logger(p *process) *slog.Logger {
	return logging.New(logging.Trace, p.logged)
}

// logged logs a line of a vat. A turn may log on a goroutine of its own, while the test waits for it.
func (p *process) logged(l logging.Line) {
	if p.again {
		return // the line was logged when it happened
	}
	args := l.Args
	var b strings.Builder
	fmt.Fprintf(&b, "vat %s: %s: %s", p.start.Name, logging.LevelName(l.Level), l.Message)
	for i := 0; i+1 < len(args); i += 2 {
		value := fmt.Sprint(args[i+1])
		if strings.Contains(value, "\n") { // a stack
			value = "\n\t" + strings.ReplaceAll(strings.TrimSpace(value), "\n", "\n\t")
		}
		fmt.Fprintf(&b, " %v=%s", args[i], value)
	}
	p.k.tb.Log(b.String())
}
