package main

import (
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"ocapkernel.dev/internal/logging"
)

// courtesyTime is how long the end of a kernel waits for what is still to be printed on standard error.
const courtesyTime = time.Second

// logger returns the log of the kernel at dir: JSON lines in a file there, and in the foreground the same as text on
// standard error, beside it. The file comes first: nothing that becomes of standard error delays it. closeLog is to
// be called last.
//
// From then on what Go prints when the process crashes is in the crash file. What an earlier kernel has left there is
// moved into the log; crashed says that there was a crash that no kernel has judged. The caller holds the state's lock.
func (a *app) logger(f *runFlags, dir string) (log *slog.Logger, crashed bool, closeLog func(), err error) {
	file, err := openRotating(dir)
	if err != nil {
		return nil, false, nil, err
	}
	level, _ := logging.ParseLevel(f.logLevel) // it was checked
	sink := &logSink{file: file}
	if !f.background {
		sink.text = a.courteous()
	}
	log = newSinkLogger(level, sink)
	crash, err := openCrashFile(dir)
	if err != nil {
		log.Warn("no file for what is printed if this kernel crashes", "err", err)
	} else {
		crashed = moveCrash(dir, crash, log)
		if !f.background { // there standard error is that file
			_ = debug.SetCrashOutput(crash, debug.CrashOptions{}) // it keeps a duplicate; without, only the terminal has it
		}
		_ = crash.Close()
	}
	return log, crashed, func() {
		if a.courtesy != nil {
			if n := a.courtesy.dropped(); n > 0 {
				log.Warn("lines were not printed on standard error, because nobody read it in time", "lines", n)
			}
		}
		_ = file.Close() // nowhere to tell it
	}, nil
}

// courteous makes standard error an output that delays nobody, for the rest of the process, and returns it.
func (a *app) courteous() io.Writer {
	if a.courtesy == nil {
		a.courtesy = newCourtesy(a.stderr)
		a.stderr = a.courtesy
	}
	return a.courtesy
}

// newLogger returns a logger of text alone.
func newLogger(out io.Writer, level slog.Level) *slog.Logger {
	return newSinkLogger(level, &logSink{text: out})
}

// newSinkLogger returns a logger of which a sink gets all.
func newSinkLogger(level slog.Level, sink *logSink) *slog.Logger {
	return logging.Named(logging.New(level, sink.write), "kernel")
}

// logSink writes entries to a file, and as text to another output; either may be missing.
type logSink struct {
	file io.Writer
	text io.Writer
}

func (s *logSink) write(l logging.Line) {
	line, e := newEntry(l.Time, l.Level, l.Component, l.Message, l.Args)
	// A full disk must not silence the terminal, nor a closed terminal the file.
	var err error
	if s.file != nil {
		_, err = s.file.Write(line)
	}
	if s.text == nil {
		return
	}
	if err != nil {
		_, _ = io.WriteString(s.text, "kernel: the log file: "+printable(err.Error())+"\n")
	}
	_, _ = io.WriteString(s.text, printableLines(e.String())+"\n")
}
