package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/internal/scripttest"
)

// written is a writer that can be read meanwhile.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// Every line is shown once and in order, however the log is rotated while it is followed.
func TestFollowedLogLosesNothing(t *testing.T) {
	dir := t.TempDir()
	log, err := openRotating(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	log.limit = 500 // fifty lines
	ctx, cancel := context.WithCancel(context.Background())
	out := new(written)
	done := make(chan error)
	go func() {
		w := &logWriter{out: bufio.NewWriter(out), dir: dir}
		done <- w.follow(ctx, nil)
	}()
	var want strings.Builder
	for i := range 300 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		if _, err := io.WriteString(log, line); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 {
			if err := scripttest.Within(patience, func() error {
				if strings.HasSuffix(out.String(), line) {
					return nil
				}
				return fmt.Errorf("line %d was not shown", i)
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), out.String()); diff != "" {
		t.Errorf("what was shown (-want +got):\n%s", diff)
	}
}

// A follower that was busy elsewhere goes on with the file after the one that it knows, not with the newest.
func TestSuccessorIsTheNextFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("kernel-1.log", "one\n")
	write("kernel-2.log", "two\n")
	write("kernel-3.log", "three\nunfinished")
	write(logName, "four\n")
	f, err := os.Open(filepath.Join(dir, "kernel-1.log"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := &logWriter{out: bufio.NewWriter(&out), dir: dir}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // it stops when it would have to wait
	if err := w.follow(ctx, newLogFile(f)); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "one\ntwo\nthree\nunfinished\nfour\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A clock that is set back neither has a rotated log taken for the oldest and removed, nor shown before older ones.
func TestRotatedLogsAreInOrderThoughTheClockWasSetBack(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("kernel-notes.log") // somebody else's, which would be the newest
	for i := range keptLogs {
		write(fmt.Sprintf("kernel-2999-12-31T23-59-59.%03d.log", 995+i))
	}
	log, err := openRotating(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	log.limit = 10
	for i := range 4 {
		if _, err := fmt.Fprintf(log, "line %d....\n", i); err != nil {
			t.Fatal(err)
		}
	}
	got, err := log.rotated()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"kernel-2999-12-31T23-59-59.998.log", "kernel-2999-12-31T23-59-59.999.log",
		"kernel-3000-01-01T00-00-00.000.log", "kernel-3000-01-01T00-00-00.001.log", "kernel-3000-01-01T00-00-00.002.log",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is kept (-want +got):\n%s", diff)
	}
	for i, name := range append(want[2:], logName) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if line := fmt.Sprintf("line %d....\n", i); err != nil || string(text) != line {
			t.Errorf("%s holds %q, %v, want %q", name, text, err, line)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "kernel-notes.log")); err != nil {
		t.Error(err)
	}
}

// The entries of a kernel that failed to start are found, even if that kernel has rotated the log, or logged much.
func TestWhatAFailedStartLoggedIsFoundAcrossRotations(t *testing.T) {
	for _, before := range []int{0, 3} {
		dir := t.TempDir()
		log, err := openRotating(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		say := func(text string, n int) {
			t.Helper()
			for i := range n {
				if _, err := fmt.Fprintf(log, "%s %d\n", text, i); err != nil {
					t.Fatal(err)
				}
			}
		}
		say("before", before)
		mark := markStart(dir)
		say("one", 2)
		if got, want := mark.loggedSince(dir, 3), []string{"one 0", "one 1"}; !cmp.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		log.limit = 1 // rotated at each line
		if before > 0 {
			say("two", 1)
			if got, want := mark.loggedSince(dir, 10), []string{"one 0", "one 1", "two 0"}; !cmp.Equal(got, want) {
				t.Errorf("after a rotation: got %q, want %q", got, want)
			}
		}
		log.limit = 4 << 20
		say(strings.Repeat("much", 1<<8), 3000) // more than a MiB
		say("last", 2)
		if got, want := mark.loggedSince(dir, 2), []string{"last 0", "last 1"}; !cmp.Equal(got, want) {
			t.Errorf("after much: got %q, want %q", got, want)
		}
	}
}

// If the followed file is removed, the next one is followed, and never an older one, even if the times of the files mislead.
func TestSuccessorOfARemovedFileIsNewer(t *testing.T) {
	late := time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC) // before the clock was set back
	for _, removed := range []string{logName, "kernel-2999-01-01T00-00-02.000.log"} {
		dir := t.TempDir()
		write := func(name string, at time.Time) {
			t.Helper()
			path := filepath.Join(dir, name)
			if err := errors.Join(os.WriteFile(path, []byte(name+"\n"), 0o600), os.Chtimes(path, at, at)); err != nil {
				t.Fatal(err)
			}
		}
		write("kernel-2999-01-01T00-00-00.000.log", late.Add(time.Hour))
		write("kernel-2999-01-01T00-00-01.000.log", late.Add(2*time.Hour))
		write(logName, late)
		f, err := os.Open(filepath.Join(dir, logName))
		if err != nil {
			t.Fatal(err)
		}
		l := newLogFile(f)
		defer l.Close()
		if next, err := l.successor(dir); next != nil || err != nil {
			t.Fatalf("what is written to has a successor, %v", err)
		}
		if removed != logName { // it is rotated first
			if err := os.Rename(filepath.Join(dir, logName), filepath.Join(dir, removed)); err != nil {
				t.Fatal(err)
			}
			if next, err := l.successor(dir); next != nil || err != nil {
				t.Fatalf("there is a successor before one is begun, %v", err)
			}
		}
		if err := os.Remove(filepath.Join(dir, removed)); err != nil {
			t.Fatal(err)
		}
		write("kernel-2999-01-01T00-00-03.000.log", late.Add(-time.Hour))
		write(logName, time.Now())
		for _, want := range []string{"kernel-2999-01-01T00-00-03.000.log", logName} {
			next, err := l.successor(dir)
			if err != nil || next == nil {
				t.Fatalf("%s: no successor, %v, want %s", removed, err, want)
			}
			defer next.Close()
			if line, err := next.next(); line != want || err != nil {
				t.Errorf("%s: the successor is %q, %v, want %s", removed, line, err, want)
			}
			l = next
		}
	}
}

func TestLongLineIsCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, logName)
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 3*maxLogLine)+"\nnext\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := openLogs(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("got %d files, %v, want one", len(files), err)
	}
	defer closeLogs(files)
	first, err := files[0].next()
	if err != nil || len(first) != maxLogLine {
		t.Errorf("got %d bytes, %v, want %d", len(first), err, maxLogLine)
	}
	if second, err := files[0].next(); err != nil || second != "next" {
		t.Errorf("got %q, %v, want the next line", second, err)
	}
	if _, err := files[0].next(); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
}

// A text that a vat puts into an entry cannot make the entry another vat's, nor look like a second entry, nor steer a
// terminal.
func TestLogEntryHoldsWhatItWasGiven(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.FixedZone("", 3600))
	for _, test := range []struct {
		message        string
		args           []any
		vat, text, has string
	}{
		{"kernel stopped", nil, "", "2026-01-02T02:04:05.678Z [WARN]  kernel: kernel stopped", `"@message":"kernel stopped"}`},
		{"vat started", []any{"vat", "v3", "pid", 7}, "v3", "[WARN]  kernel: vat started: vat=v3 pid=7", `,"vat":"v3","pid":7}`},
		{"x vat=v9", []any{"vat", "v3", "vat", "v9"}, "v3", "kernel: x vat=v9: vat=v3", `"vat":"v3"}`},
		{"x", []any{"vat", "v3", "@text", "forged", "", 1}, "v3", "x: vat=v3 _@text=forged _=1", `"_@text":"forged"`},
		{"x", []any{"a", `b " vat=v9`}, "", `x: a="b \" vat=v9"`, `"a":"b \" vat=v9"`},
		{"x", []any{"took", 1500 * time.Millisecond, "err", errors.New("oh"), "n", nil, "odd"}, "", `x: took=1.5s err=oh n=null odd="(no value)"`, `"took":"1.5s"`},
		{"x", []any{"list", []string{"a", "b"}}, "", `x: list="[\"a\",\"b\"]"`, `"list":["a","b"]`},
		{"x", []any{"stack", "one\ntwo\n", "a", 1}, "", "x:\n  stack=\n  | one\n  | two\n  a=1", `"stack":"one\ntwo\n"`},
		{"x", []any{"t", "\x1b[31m\u202e\u0085\U000e0001\xff"}, "", `x: t="\x1b[31m\u202e\u0085\U000e0001\xff"`, `"t":"\u001b[31m\u202e\u0085\udb40\udc01`},
	} {
		line, _ := newEntry(at, slog.LevelWarn, "kernel", test.message, test.args)
		text, whole := strings.CutSuffix(string(line), "\n")
		if !whole || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is not one line that is harmless", line)
		}
		e, ok := parseEntry(text)
		switch {
		case !ok:
			t.Errorf("%s is not an entry", text)
		case e.Vat != test.vat:
			t.Errorf("%s is about %q, want %q", text, e.Vat, test.vat)
		case !strings.HasSuffix(e.String(), test.text):
			t.Errorf("got %q, want it to end in %q", e.String(), test.text)
		case !strings.Contains(text, test.has):
			t.Errorf("got %s, want it to contain %s", text, test.has)
		}
	}
	long, _ := newEntry(at, slog.LevelInfo, "kernel", strings.Repeat("m", 1<<20), []any{"v", strings.Repeat("\n", 1<<20)})
	if e, ok := parseEntry(strings.TrimSuffix(string(long), "\n")); !ok || len(long) > maxLogLine {
		t.Errorf("a long entry is %v, of %d bytes", ok, len(e.Message))
	}
	for _, line := range []string{"", "{", `{"@message":1}`, "2026-01-02T03:04:05.678Z [INFO]  kernel: of an earlier version: vat=v3", `{"vat":"v3"}`, `{"@level":"info"}`} {
		if _, ok := parseEntry(line); ok || keeps(line, "v3") || !keeps(line, "") {
			t.Errorf("%q is an entry", line)
		}
	}
}

// A log that somebody empties while it is followed is followed on, and so is one that is removed or replaced.
func TestFollowedLogMayBeEmptied(t *testing.T) {
	dir := t.TempDir()
	log, err := openRotating(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ctx, cancel := context.WithCancel(context.Background())
	out := new(written)
	done := make(chan error)
	go func() {
		w := &logWriter{out: bufio.NewWriter(out), dir: dir}
		done <- w.follow(ctx, nil)
	}()
	path := filepath.Join(dir, logName)
	for i, disturb := range []func() error{
		func() error { return nil },
		func() error { return os.Truncate(path, 0) },
		func() error { return os.Remove(path) },
		func() error { return errors.Join(os.Rename(path, path+".1"), os.WriteFile(path, nil, 0o600)) },
	} {
		if err := disturb(); err != nil {
			t.Fatal(err)
		}
		log.looked = time.Time{} // as if a second had passed
		line := fmt.Sprintf("line %d%s\n", i, strings.Repeat(".", 20-5*i))
		if _, err := io.WriteString(log, line); err != nil {
			t.Fatal(err)
		}
		if err := scripttest.Within(patience, func() error {
			if strings.HasSuffix(out.String(), line) {
				return nil
			}
			return fmt.Errorf("line %d was not shown", i)
		}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// The log is of the directory in which it was opened: another one at that path is left alone.
func TestLogOfARemovedStateTouchesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := openRotating(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	log.limit = 100
	if _, err := io.WriteString(log, "the first\n"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, logName), []byte("another kernel's\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		log.looked = time.Time{}
		_, _ = io.WriteString(log, "of a kernel whose directory has gone\n") // may fail: there is no place for it
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil || len(entries) != 1 || string(text) != "another kernel's\n" {
		t.Errorf("got %v and %q, %v", entries, text, err)
	}
}

// If the file with the log's name is no regular file, it is not written to, and opening it does not block.
func TestLogIsARegularFile(t *testing.T) {
	target := filepath.Join(t.TempDir(), "precious")
	for name, make := range map[string]func(path string) error{
		"link": func(path string) error {
			return errors.Join(os.WriteFile(target, nil, 0o600), os.Symlink(target, path))
		},
		"fifo":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		for _, file := range []string{logName, crashName} {
			dir := t.TempDir()
			if err := make(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
			var err error
			if file == crashName {
				_, err = openCrashFile(dir)
			} else {
				log, openErr := openRotating(dir)
				if openErr != nil {
					t.Fatal(openErr)
				}
				_, err = io.WriteString(log, "x")
				_ = log.Close()
			}
			if err == nil {
				t.Errorf("%s: a %s is written to", file, name)
			}
			_ = os.Remove(target)
		}
	}
}

// While no file can be opened, lines go to the file that is open, up to twice its limit.
func TestTheLogGoesOnWithoutDescriptors(t *testing.T) {
	dir := t.TempDir()
	log, err := openRotating(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	log.limit = 500
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 3
	written := 0
	write := func() error {
		_, err := fmt.Fprintf(log, "line %03d.\n", written) // of ten bytes
		if err == nil {
			written++
		}
		return err
	}
	if err := errors.Join(write(), syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none)); err != nil {
		t.Fatal(err)
	}
	var refused error
	for range 500 {
		if refused = write(); refused != nil {
			break
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if refused == nil || written < 100 || written > 102 {
		t.Errorf("%d lines, then %v", written, refused)
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	names, err := log.rotated()
	if err != nil || len(names) != 1 {
		t.Fatalf("rotated: %q, %v", names, err)
	}
	for name, lines := range map[string]int{names[0]: written - 1, logName: 1} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || bytes.Count(text, []byte("\n")) != lines {
			t.Errorf("%s has %d bytes, want %d lines: %v", name, len(text), lines, err)
		}
	}
}
