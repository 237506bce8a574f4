// Package scripttest has the commands that the scripts of cmd/kernel and of e2e share, for testscript.
package scripttest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for a condition, on a machine that is busy.
const patience = 30 * time.Second

// Exits runs a command and compares its exit status: exits STATUS COMMAND….
func Exits(ts *testscript.TestScript, neg bool, args []string) {
	Usage(ts, neg || len(args) < 2, "exits STATUS COMMAND…")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// Says waits until a file has text that matches a pattern: says FILE PATTERN. A background command writes it.
func Says(ts *testscript.TestScript, neg bool, args []string) {
	Usage(ts, neg || len(args) != 2, "says FILE PATTERN")
	re := Pattern(ts, args[1])
	ts.Check(Within(patience, func() error {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil || re.Match(text) {
			return err
		}
		return fmt.Errorf("%s does not match %s:\n%s", args[0], args[1], text[max(0, len(text)-4096):])
	}))
}

// Until runs a command again and again until its output matches a pattern: until PATTERN COMMAND….
func Until(ts *testscript.TestScript, neg bool, args []string) {
	Usage(ts, neg || len(args) < 2, "until PATTERN COMMAND…")
	re := Pattern(ts, args[0])
	ts.Check(Within(patience, func() error {
		_ = ts.Exec(args[1], args[2:]...) // its output shows the failure
		if out := ts.ReadFile("stdout"); !re.MatchString(out) {
			return fmt.Errorf("output does not match %s:\n%s", args[0], out)
		}
		return nil
	}))
}

// Usage fails the script when its line is wrong.
func Usage(ts *testscript.TestScript, wrong bool, text string) {
	if wrong {
		ts.Fatalf("usage: %s", text)
	}
}

// Pattern compiles a regular expression in which ^ and $ match at each line, or fails the script.
func Pattern(ts *testscript.TestScript, text string) *regexp.Regexp {
	re, err := regexp.Compile("(?m)" + text)
	ts.Check(err)
	return re
}

// Within calls ask again and again until it returns nil. When the limit has passed, it returns the last error
// of ask.
func Within(limit time.Duration, ask func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-deadline.C:
			return fmt.Errorf("still after %v: %w", limit, err)
		case <-tick.C:
		}
	}
}

// HearSignals makes SIGHUP and SIGINT end the programs that a test starts, also if the test itself was started
// with the signals ignored: nohup ignores the one, and a script ignores the other for commands that it starts
// with "&". A program inherits signals that are ignored, and not signals that are caught.
func HearSignals() {
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}
