package main

import (
	"io"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"gopkg.in/natefinch/lumberjack.v2"
)

// logger returns the log of the kernel at dir: a file there that is rotated, and stderr beside it. If a file
// is named in the flags it is that file alone: stderr is then the same file. closeLog is to be called last.
func (a *app) logger(f *runFlags, dir string) (log hclog.Logger, closeLog func()) {
	name := f.logFile
	if name == "" {
		name = filepath.Join(dir, logName)
	}
	file := &lumberjack.Logger{Filename: name, MaxSize: 10, MaxBackups: 5} // MaxSize is in MiB
	var out io.Writer = file
	if f.logFile == "" {
		out = both{file, a.stderr}
	}
	closeLog = func() { _ = file.Close() } // nowhere to tell it
	return newLogger(out, f.logLevel), closeLog
}

func newLogger(out io.Writer, level string) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "kernel", Level: hclog.LevelFromString(level), Output: out})
}

// both writes to two writers: also to the second where the first fails, unlike io.MultiWriter. A full disk
// must not silence the terminal, nor a closed terminal the file.
type both struct{ first, second io.Writer }

func (b both) Write(p []byte) (int, error) {
	n, err := b.first.Write(p)
	if m, secondErr := b.second.Write(p); err == nil {
		n, err = m, secondErr
	}
	return n, err
}
