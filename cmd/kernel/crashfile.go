package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
)

const (
	// crashName is the file for what a kernel prints past its log: what Go prints when the process crashes, and the
	// error with which a kernel in the background ends. It is never rotated. A kernel that starts moves what it finds
	// there into the log, so that the file holds what the last one has printed.
	crashName = "kernel.err"
	// lastCrashName is the file for what the last crash has printed: the log, to which it goes as well, is rotated away.
	// Under unjudgedName it is until a kernel has judged that crash, which a start that fails or is killed has not.
	lastCrashName = "kernel.crash"
	unjudgedName  = "kernel.crash.new"
	// maxCrashEntry is how much of it goes to the log, maxCrashLines how many lines of it are shown. The reason comes
	// first, and the goroutine that crashed; hundreds of others may follow.
	maxCrashEntry = 16 << 10
	maxCrashLines = 60
	// maxCrashFile is how much of it is kept in the file of the last crash, and shown at most.
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
func moveCrash(dir string, f *os.File, log hclog.Logger) (crashed bool) {
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
			_ = f.Truncate(0) // else it is told again
		}
	}
	_, err = os.Lstat(unjudged)
	return crashed || err == nil
}

// judgedCrash notes that this kernel has judged the last crash, if there was one.
func judgedCrash(dir string) {
	// If it fails the crash is judged again: better than not at all.
	_ = os.Rename(filepath.Join(dir, unjudgedName), filepath.Join(dir, lastCrashName))
}

// beginsCrash says whether Go begins to tell of a crash with a line.
func beginsCrash(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
}

// readCrash returns what the crash file of a state holds, at most 1 MiB. What cannot be read is as if it were not there.
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

// crashLines returns the lines of what readCrash gave, at most that many, with a last one that says how many more
// there are.
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
