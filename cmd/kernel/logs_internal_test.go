package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/natefinch/lumberjack.v2"

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
	log := &lumberjack.Logger{Filename: filepath.Join(dir, logName), MaxSize: 1}
	defer log.Close()
	ctx, cancel := context.WithCancel(context.Background())
	out := new(written)
	done := make(chan error)
	go func() {
		w := &logWriter{out: bufio.NewWriter(out)}
		done <- w.follow(ctx, dir, nil)
	}()
	var want strings.Builder
	for i := range 300 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		if _, err := io.WriteString(log, line); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 {
			// A rotated file is named after the millisecond, so that the next must be another.
			if err := log.Rotate(); err != nil {
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
	w := &logWriter{out: bufio.NewWriter(&out)}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // it stops when it would have to wait
	if err := w.follow(ctx, dir, newLogFile(f)); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "one\ntwo\nthree\nunfinished\nfour\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
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

// What a vat can put into an entry does not make the entry another vat's.
func TestVatOfALogEntry(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{`T [INFO]  kernel: vat started: vat=v3 pid=7`, "v3"},
		{`T [INFO]  kernel: vat started: pid=7 vat=v3`, "v3"},
		{`T [INFO]  kernel: kernel stopped`, ""},
		{`T [INFO]  kernel: x vat=v9: vat=v3 a=b`, "v3"},
		{`T [INFO]  kernel: x=": vat=v3 a=" vat=v9"`, "v3"},
		{`T [INFO]  kernel: x: vat=v3 a="b \" vat=v9"`, "v3"},
		{`T [INFO]  kernel: x: vat=v3 a="b \" vat=v9 \\" b=""`, "v3"},
		{`T [INFO]  kernel: x: vat=v3 a="" b="`, "v3"},
		{`"`, ""},
		{`\"`, ""},
		{` `, ""},
		{``, ""},
		{`vat=v3`, "v3"},
		{`a"`, ""},
		{`\""`, ""},
	} {
		if got := vatOf(test.line); got != test.want {
			t.Errorf("%s: got %q, want %q", test.line, got, test.want)
		}
	}
}
