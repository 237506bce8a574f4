package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxLogLine is the length at which a line of the log is cut when it is shown.
const maxLogLine = 1 << 20

// logFile reads one file of a kernel's log, which may grow meanwhile and be renamed.
type logFile struct {
	file *os.File
	in   *bufio.Reader
	// line is the beginning of a line whose end was not written yet.
	line []byte
	// after is the path of a rotated file: the files with later names were begun after this one.
	after string
}

func newLogFile(f *os.File) *logFile { return &logFile{file: f, in: bufio.NewReaderSize(f, 64<<10)} }

func (l *logFile) Close() error { return l.file.Close() }

// next returns the next line without its newline, cut if it is very long, and io.EOF if none is complete. A
// later call may find more.
func (l *logFile) next() (string, error) {
	for {
		part, err := l.in.ReadSlice('\n')
		l.line = append(l.line, part[:min(len(part), maxLogLine-len(l.line))]...)
		switch {
		case err == nil:
			line := string(bytes.TrimSuffix(l.line, []byte("\n")))
			l.line = l.line[:0]
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", err
		}
	}
}

// rest returns a last line without its end, or "", once no more will be written.
func (l *logFile) rest() string {
	line := string(l.line)
	l.line = nil
	return line
}

func (l *logFile) rewind() error {
	_, err := l.file.Seek(0, io.SeekStart)
	l.in.Reset(l.file)
	l.line = nil
	return err
}

// rewindIfCut begins anew in a file that has become shorter than the part that was read: the file was emptied,
// and its content is new.
func (l *logFile) rewindIfCut() error {
	at, err := l.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if info, err := l.file.Stat(); err != nil || info.Size() >= at {
		return err
	}
	return l.rewind()
}

// logNames returns the paths of the rotated log files in dir, oldest first, which is the order of their names.
func logNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if isRotatedLog(e.Name()) && e.Type().IsRegular() {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(names)
	return names, nil
}

func isRotatedLog(name string) bool {
	return strings.HasPrefix(name, logPrefix) && strings.HasSuffix(name, ".log")
}

// openLogs opens the files of the log in dir, oldest first. The caller closes them.
func openLogs(dir string) (files []*logFile, err error) {
	defer func() {
		if err != nil {
			closeLogs(files)
			files = nil
		}
	}()
	// The newest first: if it is rotated in this moment, it is met again under its new name, and known.
	newest, err := os.Open(filepath.Join(dir, logName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var newestInfo os.FileInfo
	var names []string
	if err == nil {
		defer func() {
			l := newLogFile(newest)
			l.after = last(names)
			files = append(files, l)
		}()
		if newestInfo, err = newest.Stat(); err != nil {
			return nil, err
		}
	}
	if names, err = logNames(dir); err != nil {
		return nil, err
	}
	for _, name := range names {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // it was deleted as the oldest
		}
		if err != nil {
			return files, err
		}
		if info, err := f.Stat(); err != nil || newestInfo != nil && os.SameFile(info, newestInfo) {
			_ = f.Close() // only read
			continue
		}
		l := newLogFile(f)
		l.after = name
		files = append(files, l)
	}
	return files, nil
}

func closeLogs(files []*logFile) {
	for _, f := range files {
		_ = f.Close() // only read
	}
}

// last returns the last of the names, "" if there is none.
func last(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}

// successor opens the file that was begun when this one was full; nil if this one is still written to, or the
// next one does not exist yet. It does not compare times, because the clock may have been set back.
func (l *logFile) successor(dir string) (*logFile, error) {
	current := filepath.Join(dir, logName)
	own, err := l.file.Stat()
	if err != nil {
		return nil, err
	}
	names, err := logNames(dir)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(current); err == nil && os.SameFile(info, own) {
		l.after = last(names) // they existed while this one was written to
		return nil, nil
	}
	// The file was renamed or removed before. If it was renamed it is listed now, unless it was deleted since.
	if names, err = logNames(dir); err != nil {
		return nil, err
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && os.SameFile(info, own) {
			l.after = name
		}
	}
	for _, name := range append(names, current) {
		if name != current && name <= l.after {
			continue
		}
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			if name == current {
				return nil, nil // renamed in this moment, or not begun yet: the next call finds out
			}
			continue // it was deleted as the oldest
		}
		if err != nil {
			return nil, err
		}
		next := newLogFile(f)
		if next.after = name; name == current {
			next.after = last(names)
			// The opened file may be the next but one, if it was rotated since the names were listed.
			if now, err := logNames(dir); err != nil || last(now) != next.after {
				return nil, errors.Join(err, f.Close())
			}
		}
		return next, nil
	}
	return nil, nil
}
