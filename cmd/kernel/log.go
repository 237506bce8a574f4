package main

import (
	"io"

	"github.com/hashicorp/go-hclog"
	"gopkg.in/natefinch/lumberjack.v2"
)

// logger returns the kernel's log: stderr, or a file that is rotated. closeLog is to be called last.
func (a *app) logger(f *runFlags) (log hclog.Logger, closeLog func()) {
	var out io.Writer = a.stderr
	closeLog = func() {}
	if f.logFile != "" {
		file := &lumberjack.Logger{Filename: f.logFile, MaxSize: 10, MaxBackups: 5} // MaxSize is in MiB
		out, closeLog = file, func() { _ = file.Close() }                           // nowhere to tell it
	}
	return hclog.New(&hclog.LoggerOptions{Name: "kernel", Level: hclog.LevelFromString(f.logLevel), Output: out}), closeLog
}
