package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

const (
	// defaultLogLines is how many lines logs shows unless told otherwise, allLogLines stands for all.
	defaultLogLines = "100"
	allLogLines     = -1
	// logPoll is how often logs -f looks whether there is more.
	logPoll = 200 * time.Millisecond
)

func (a *app) logsCommand() *cobra.Command {
	var follow bool
	var vat, count string
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Show the log of this state's kernel",
		Long: `Show the end of what the kernel of this state has logged, in this run and before, also when no kernel runs.

With --follow, go on with what it logs from now on, through rotation of the log and restarts of the kernel, until
Ctrl-C. With --vat, only the lines about one vat, among them what it logged itself.`,
		Example: `  kernel logs -f --vat v3
  kernel logs -n all | grep WARN`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := strconv.Atoi(count)
			switch {
			case count == "all":
				n = allLogLines
			case err != nil || n < 0:
				return usagef("--lines is a number or all, not %q", count)
			}
			if vat, err = a.vatID(cmd.Context(), vat); err != nil {
				return err
			}
			ctx, unhandle := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer unhandle()
			return a.logs(ctx, n, vat, follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is logged from now on")
	cmd.Flags().StringVar(&vat, "vat", "", "only the lines about this `VAT`")
	cmd.Flags().StringVarP(&count, "lines", "n", defaultLogLines, "how many `LINES` of the past are shown, or all")
	a.completeFlag(cmd, "vat", vatIDs, vatNames)
	return cmd
}

// logs shows the last lines of the log, and with follow what comes.
func (a *app) logs(ctx context.Context, lines int, vat string, follow bool) (err error) {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	files, err := openLogs(dir)
	if err != nil {
		return err
	}
	defer func() { closeLogs(files) }()
	if len(files) == 0 && !follow {
		return &hinted{control.Errorf(control.CodeNotFound, "there is no log at %s", dir), "a kernel writes one: " + a.typed() + " start CONFIG"}
	}
	first, skip, err := whereLast(files, lines, vat)
	if err != nil {
		return err
	}
	out := &logWriter{out: bufio.NewWriter(a.stdout), filter: logFilter{vat: vat}, skip: skip}
	for i, f := range files[first:] {
		if ctx.Err() != nil {
			break
		}
		if err := out.copy(f, !follow || first+i < len(files)-1); err != nil {
			return err
		}
	}
	if !follow || ctx.Err() != nil {
		return out.out.Flush()
	}
	var last *logFile
	if len(files) > 0 {
		last, files = files[len(files)-1], files[:len(files)-1]
	}
	return out.follow(ctx, dir, last)
}

// whereLast finds the last lines that are to be shown: they begin in a file, after some that would be shown as
// well. It reads no more files than it has to.
func whereLast(files []*logFile, lines int, vat string) (first, skip int, err error) {
	if lines == allLogLines {
		return 0, 0, nil
	}
	found := 0
	for first = len(files); first > 0 && found < lines; {
		first--
		filter := logFilter{vat: vat}
		for {
			line, err := files[first].next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return 0, 0, err
			}
			if filter.keeps(line) {
				found++
			}
		}
		if rest := files[first].rest(); rest != "" && filter.keeps(rest) {
			found++
		}
		if err := files[first].rewind(); err != nil {
			return 0, 0, err
		}
	}
	if lines == 0 && len(files) > 0 {
		// What is in the newest file is past.
		first = len(files) - 1
		_, err := files[first].file.Seek(0, io.SeekEnd)
		return first, 0, err
	}
	return first, max(found-lines, 0), nil
}

// logWriter shows the lines of a log that pass a filter, but for the first few.
type logWriter struct {
	out    *bufio.Writer
	filter logFilter
	skip   int
}

func (w *logWriter) line(text string) error {
	if !w.filter.keeps(text) {
		return nil
	}
	if w.skip > 0 {
		w.skip--
		return nil
	}
	_, err := w.out.WriteString(printable(strings.ReplaceAll(text, "\t", "    ")) + "\n")
	return err
}

// copy shows what is in a file, and if it is complete also a last line without an end.
func (w *logWriter) copy(f *logFile, complete bool) error {
	for {
		text, err := f.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = w.line(text)
		}
		if err != nil {
			return err
		}
	}
	if complete {
		if rest := f.rest(); rest != "" {
			return w.line(rest)
		}
	}
	return nil
}

// follow shows what is written to a file, and to those after it, until ctx ends. Without a file it waits for
// one. It closes the file.
func (w *logWriter) follow(ctx context.Context, dir string, f *logFile) (err error) {
	defer func() {
		if f != nil {
			_ = f.Close() // only read
		}
		err = errors.Join(err, w.out.Flush())
	}()
	tick := time.NewTicker(logPoll)
	defer tick.Stop()
	for {
		var next *logFile
		if f == nil {
			files, err := openLogs(dir)
			if err != nil {
				return err
			}
			if len(files) > 0 {
				closeLogs(files[1:])
				next = files[0]
			}
		} else if next, err = f.successor(dir); err != nil {
			return err
		}
		if f != nil { // read after the successor was looked for: what is there is all, if there is one
			if err := w.copy(f, next != nil); err != nil {
				return errors.Join(err, closeIf(next))
			}
		}
		if next != nil {
			_ = closeIf(f) // only read
			f = next
			continue
		}
		if err := w.out.Flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func closeIf(f *logFile) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// logFilter keeps the lines about one vat; the zero filter keeps all.
type logFilter struct {
	vat string
	// on is whether the last entry was kept: lines that belong to one begin with two spaces.
	on bool
}

func (f *logFilter) keeps(line string) bool {
	if f.vat == "" {
		return true
	}
	if !strings.HasPrefix(line, "  ") {
		f.on = vatOf(line) == f.vat
	}
	return f.on
}

// vatOf returns the id of the vat that an entry is about. It reads the entry from its end, because what a
// vat may choose, its message, comes first, and its values are quoted: so no vat can pass for another.
func vatOf(line string) string {
	for line != "" {
		if body, quoted := strings.CutSuffix(line, `"`); quoted { // quotes in a value are escaped
			i := strings.LastIndexByte(body, '"')
			for i > 0 && body[i-1] == '\\' {
				i = strings.LastIndexByte(body[:i], '"')
			}
			if i < 0 {
				return ""
			}
			line = body[:i]
		}
		i := strings.LastIndexByte(line, ' ')
		if vat, ok := strings.CutPrefix(line[i+1:], "vat="); ok {
			return vat
		}
		line = strings.TrimRight(line[:max(i, 0)], " ")
	}
	return ""
}
