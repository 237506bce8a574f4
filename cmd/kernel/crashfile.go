package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	// crashName is the name of the crash file. A kernel appends to it the output that does not go to its log: Go's output
	// when the process crashes, and the error with which a kernel in the background ends. The file is never rotated. A
	// kernel that starts moves the contents of the file into the log, so that the file holds the output of the last kernel.
	crashName = "kernel.err"
	// lastCrashName is the name of a file with the output of the last crash. The log has that output, too, but is rotated
	// away. The file has the name unjudgedName until a kernel has judged the crash: a start that fails or is killed judges
	// none.
	lastCrashName = "kernel.crash"
	unjudgedName  = "kernel.crash.new"
	// maxCrashEntry bounds the bytes of a crash's output that go to the log, maxCrashLines the lines that are shown. The
	// reason and the goroutine that crashed come first; hundreds of other goroutines may follow.
	maxCrashEntry = 16 << 10
	maxCrashLines = 60
	// maxCrashFile bounds the bytes of a crash's output that are kept in the file of the last crash, and shown.
	maxCrashFile = 1 << 20
)

// openCrashFile opens the crash file of a state directory for appending.
func openCrashFile(dir string) (*os.File, error) {
	name := filepath.Join(dir, crashName)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// moveCrash moves what an earlier kernel has printed past its log into the log, and if that is of a crash also into a file
// of its own. It reports whether there is a crash that no kernel has judged; [judgedCrash] says that one has. The caller
// holds the state's lock.
func moveCrash(dir string, f *os.File, log *slog.Logger) (crashed bool) {
	unjudged := filepath.Join(dir, unjudgedName)
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxCrashFile))
	if err == nil && len(text) > 0 {
		crashed = slices.ContainsFunc(strings.Split(string(text), "\n"), beginsCrash)
		entry := string(text)
		if len(entry) > maxCrashEntry {
			entry = entry[:maxCrashEntry] + "…"
		}
		log.Error("an earlier kernel has printed this, probably as its last", "text", entry)
		if crashed {
			err = os.WriteFile(unjudged, text, 0o600)
		}
		if err == nil {
			_ = f.Truncate(0) // if this fails, the next start logs the same output again
		}
	}
	_, err = os.Lstat(unjudged)
	return crashed || err == nil
}

// judgedCrash records that this kernel has judged the last crash, if there was one.
func judgedCrash(dir string) {
	// If the renaming fails, the next kernel judges the crash again: better twice than not at all.
	_ = os.Rename(filepath.Join(dir, unjudgedName), filepath.Join(dir, lastCrashName))
}

// beginsCrash returns whether a line is the first line of Go's output about a crash.
func beginsCrash(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
}

// readCrash returns the contents of the crash file of a state, at most 1 MiB, and an empty text if it cannot be read.
func readCrash(dir string) string {
	f, err := os.OpenFile(filepath.Join(dir, crashName), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	text, _ := io.ReadAll(io.NewSectionReader(f, 0, maxCrashFile))
	return string(text)
}

// crashLines splits a text from readCrash into lines. It returns the first most of them, and if there are more, one that
// says how many.
func crashLines(dir, text string, most int) []string {
	if text = strings.TrimRight(text, "\n"); text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	if most >= 0 && len(lines) > most {
		more := len(lines) - most
		lines = append(lines[:most:most], fmt.Sprintf("… and %d lines more, in %s", more, filepath.Join(dir, crashName)))
	}
	return lines
}
