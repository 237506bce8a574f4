package supervisor

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/internal/logging"
)

// reader is a reader of a worker's output, with the log that it writes.
func reader(level slog.Level) (*logReader, *bytes.Buffer) {
	var out bytes.Buffer
	return newLogReader(logging.NewText(&out, level)), &out
}

func (l *logReader) readText(text string) {
	l.read(bufio.NewReaderSize(strings.NewReader(text), maxLine))
}

func TestLinesOfAWorkerInTheLog(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "\n\r\n\n", ""},
		{"plain", "hello\r\nlast", "[INFO]  worker says: text=hello\n[INFO]  worker says: text=last\n"},
		{"a panic", "panic: oh\n", "[ERROR] worker says: text=\"panic: oh\"\n"},
		{"a fatal error", "fatal error: out of memory\n", "[ERROR] worker says: text=\"fatal error: out of memory\"\n"},
		{"no panic", "a panic: oh\n", "[INFO]  worker says: text=\"a panic: oh\"\n"},
		// Of a line that is too long the rest is no line of its own.
		{"long", long + "tail\nnext\n", "[INFO]  worker says: text=\"" + long[:maxLogText] + "…\"\n[INFO]  worker says: text=next\n"},
		{"longer", long + long + long + "\nnext\n", "[INFO]  worker says: text=\"" + long[:maxLogText] + "…\"\n[INFO]  worker says: text=next\n"},
		{"as long as is shown", long[:maxLogText] + "\n", "[INFO]  worker says: text=" + long[:maxLogText] + "\n"},
		{"of our own", `{"@level":"warn","@message":"m","b":2,"a":"x","@timestamp":"t"}` + "\n", "[WARN]  m: a=x b=2\n"},
		{"below the level", `{"@level":"debug","@message":"m"}` + "\n", ""},
		{"of no level", `{"@message":"m"}` + "\n", `[INFO]  worker says: text="{"@message":"m"}"` + "\n"},
		{"of level off", `{"@level":"off","@message":"m"}` + "\n", `[INFO]  worker says: text="{"@level":"off","@message":"m"}"` + "\n"},
		{"of no message", `{"@level":"info"}` + "\n", `[INFO]  worker says: text="{"@level":"info"}"` + "\n"},
		{"no JSON", `{"@level"` + "\n", `[INFO]  worker says: text="{"@level""` + "\n"},
	} {
		l, out := reader(slog.LevelInfo)
		l.readText(c.text)
		if diff := cmp.Diff(strings.ReplaceAll(c.want, `\"`, `"`), strings.ReplaceAll(out.String(), `\"`, `"`)); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
	var fields, shown []string
	for i := range maxLogFields + 3 {
		fields = append(fields, fmt.Sprintf(`"f%02d":%d`, i, i))
		if i < maxLogFields {
			shown = append(shown, fmt.Sprintf("f%02d=%d", i, i))
		}
	}
	l, out := reader(slog.LevelInfo)
	l.readText(`{"@level":"info","@message":"m",` + strings.Join(fields, ",") + "}\n")
	if want := "[INFO]  m: " + strings.Join(shown, " ") + "\n"; out.String() != want {
		t.Errorf("got %s, want %s", out, want)
	}
}

// A worker that floods its log is slowed down, and its surplus lines are left out and counted.
func TestTooManyLinesAreLeftOutAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, out := reader(slog.LevelInfo)
		say := func(n int) (said, notices int) {
			out.Reset()
			l.readText(strings.Repeat("again\n", n))
			return strings.Count(out.String(), "worker says"), strings.Count(out.String(), droppedNotice)
		}
		if said, notices := say(1500); said != 1000 || notices != 0 {
			t.Errorf("of 1500 lines at once %d are logged, with %d notices, want 1000 and none yet", said, notices)
		}
		<-time.After(500 * time.Millisecond)
		if said, notices := say(60); said != 50 || notices != 1 || !strings.HasPrefix(out.String(), "[WARN]  "+droppedNotice+": lines=500\n") {
			t.Errorf("half a second later %d of 60 lines are logged, with %d notices: %s", said, notices, out)
		}
		<-time.After(500 * time.Millisecond)
		if said, notices := say(1); said != 1 || notices != 0 {
			t.Errorf("within a second of a notice there are %d more (%d lines)", notices, said)
		}
		<-time.After(500 * time.Millisecond)
		if _, notices := say(1); notices != 1 || !strings.Contains(out.String(), droppedNotice+": lines=10\n") {
			t.Errorf("a second after a notice there are %d more: %s", notices, out)
		}
		<-time.After(time.Minute)
		say(1001)
		out.Reset()
		l.report(true)
		l.report(true)
		if want := "[WARN]  " + droppedNotice + ": lines=1\n"; out.String() != want {
			t.Errorf("at the end the log has %q, want %q", out, want)
		}
	})
}

func TestAFloodIsReadNoFasterThanItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := reader(slog.LevelError)
		begin := time.Now()
		l.read(bufio.NewReaderSize(io.LimitReader(zeros{}, 3*bytesPerSec), maxLine))
		if took := time.Since(begin); took < 1900*time.Millisecond || took > 2100*time.Millisecond {
			t.Errorf("three seconds' worth, the first of which is free, took %v", took)
		}
	})
}

// zeros is a worker that writes no line, for ever.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestLastWordsSayWhyAWorkerDied(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"none", "", ""},
		{"the last line", "one\ntwo\n", "two"},
		{"a panic, and not its stack", "one\npanic: oh\n\ngoroutine 1:\nmain.go:7\n", "panic: oh"},
		{"a fatal error", "fatal error: oh\ngoroutine 1:\n", "fatal error: oh"},
		{"what the SDK says", "worker: cannot\nmore\n", "worker: cannot"},
		{"the last of several", "panic: one\nstack\nfatal error: two\nstack\n", "fatal error: two"},
		{"no structured line", "plain\n" + `{"@level":"info","@message":"m"}` + "\n", "plain"},
		{"its beginning", strings.Repeat("x", 400), strings.Repeat("x", maxLastWords)},
	} {
		l, _ := reader(logging.Off)
		l.readText(c.text)
		if got := l.lastWords(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	// Also when so much was printed that it is not logged.
	l, _ := reader(logging.Off)
	l.readText(strings.Repeat("again\n", 5000) + "panic: oh\n")
	if got := l.lastWords(); got != "panic: oh" {
		t.Errorf("after a flood: got %q", got)
	}
}

func TestCleanShowsWhatItCannotPrint(t *testing.T) {
	for s, want := range map[string]string{
		"a\nb": `a\nb`, "\xffx": `\xffx`, "\u202e": `\u202e`, "\ufffd": `\xef`, strings.Repeat("é", 50): strings.Repeat("é", 50),
		strings.Repeat("x", 101): strings.Repeat("x", 100) + "…", "a" + strings.Repeat("é", 50): "a" + strings.Repeat("é", 49) + `\xc3…`,
	} {
		if got := clean(s, 100); got != want {
			t.Errorf("%q becomes %q, want %q", s, got, want)
		}
	}
	for key, want := range map[string]string{
		strings.Repeat("k", 32): strings.Repeat("k", 32), strings.Repeat("k", 33): strings.Repeat("k", 32), "a.b-c": "a.b-c", "9": "9",
		"pid": "its_pid", "crank": "its_crank", "service": "its_service", "cause": "its_cause", "vats": "vats",
	} {
		if got := fieldName(key); got != want {
			t.Errorf("the field %q becomes %q, want %q", key, got, want)
		}
	}
}
