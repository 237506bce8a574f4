package vattest

import (
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// logger returns the log of a vat: its lines are lines of the test's log.
func (k *Kernel) logger(p *process) hclog.Logger {
	log := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Trace})
	log.RegisterSink(logSink{p})
	return log
}

type logSink struct{ p *process }

// Accept is part of hclog.SinkAdapter. A turn may log on a goroutine of its own, while the test waits for it.
func (s logSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	p := s.p
	if p.again {
		return // the line was logged when it happened
	}
	var b strings.Builder
	fmt.Fprintf(&b, "vat %s: %s: %s", p.start.Name, level, msg)
	for i := 0; i+1 < len(args); i += 2 {
		value := fmt.Sprint(args[i+1])
		if strings.Contains(value, "\n") { // a stack
			value = "\n\t" + strings.ReplaceAll(strings.TrimSpace(value), "\n", "\n\t")
		}
		fmt.Fprintf(&b, " %v=%s", args[i], value)
	}
	p.k.tb.Log(b.String())
}
