package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

const (
	// defaultLogLines is how many lines logs shows by default, allLogLines stands for all.
	defaultLogLines = "100"
	allLogLines     = -1
	// logPoll is the interval at which logs -f reads the log for more.
	logPoll = 200 * time.Millisecond
)

func (a *app) logsCommand() *cobra.Command {
	var follow bool
	var vat, count string
	cmd := a.withJSON(&cobra.Command{
		Use:   "logs",
		Short: "Show the log of this state's kernel",
		Long: `Show the end of what the kernel of this state has logged, in this run and before, also when no kernel runs.

With --follow, go on with what it logs from now on, through rotation of the log and restarts of the kernel, until
Ctrl-C. With --vat, only the entries about one vat, among them what it logged itself. Behind the last entry stands what
the kernel has printed past its log, such as the reason of a crash.`,
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
			ctx, unhandle := signal.NotifyContext(cmd.Context(), heeded(os.Interrupt, syscall.SIGTERM)...)
			defer unhandle()
			return a.logs(ctx, n, vat, follow)
		},
	})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is logged from now on")
	cmd.Flags().StringVar(&vat, "vat", "", "only the lines about this `VAT`")
	cmd.Flags().StringVarP(&count, "lines", "n", defaultLogLines, "how many `LINES` of the past are shown, or all")
	a.completeFlag(cmd, "vat", vatIDs, vatNames)
	return cmd
}

// logs shows the last lines of the log, and with follow also later ones.
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
		return &hinted{control.Errorf(errcode.NotFound, "there is no log at %s", dir), "a kernel writes one: " + a.typed() + " start CONFIG"}
	}
	if vat != "" {
		if err := a.logsUnknown(ctx, dir, files, vat); err != nil {
			return err
		}
	}
	first, skip, err := whereLast(files, lines, vat)
	if err != nil {
		return err
	}
	out := &logWriter{out: bufio.NewWriter(a.stdout), vat: vat, json: a.json, skip: skip, dir: dir}
	for i, f := range files[first:] {
		if ctx.Err() != nil {
			break
		}
		if err := out.copy(f, !follow || first+i < len(files)-1); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return out.out.Flush()
	}
	most := maxCrashLines
	switch lines {
	case 0:
		most = 0
	case allLogLines:
		most = -1
	}
	if most == 0 {
		out.crash = len(readCrash(dir)) // past, too
	} else if err := out.printed(most); err != nil {
		return err
	}
	if !follow {
		return out.out.Flush()
	}
	var last *logFile
	if len(files) > 0 {
		last, files = files[len(files)-1], files[:len(files)-1]
	}
	return out.follow(ctx, last)
}

// logsUnknown checks a vat of which the log has no entry: it is an error if a kernel runs that has no such vat.
// A vat that has ended is in the log, unless that is long ago.
func (a *app) logsUnknown(ctx context.Context, dir string, files []*logFile, vat string) error {
	found := false
	for _, f := range files {
		for !found {
			line, err := f.next()
			if err != nil {
				break // the error is reported when the file is to be shown
			}
			found = keeps(line, vat)
		}
		if err := f.rewind(); err != nil {
			return err
		}
	}
	if found {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	client, err := control.Dial(ctx, dir)
	if err != nil {
		return nil // no kernel runs that would know
	}
	defer client.Close()
	vats, err := client.PS(ctx)
	if err != nil || slices.ContainsFunc(vats, func(v control.Vat) bool { return v.ID == vat }) {
		return nil
	}
	return &hinted{
		control.Errorf(errcode.NotFound, "there is no vat %s, and the log has nothing about one", vat),
		"list them with: " + a.typed() + " ps",
	}
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
		for {
			line, err := files[first].next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return 0, 0, err
			}
			if keeps(line, vat) {
				found++
			}
		}
		if rest := files[first].rest(); rest != "" && keeps(rest, vat) {
			found++
		}
		if err := files[first].rewind(); err != nil {
			return 0, 0, err
		}
	}
	if lines == 0 && len(files) > 0 {
		// The content of the newest file is past.
		first = len(files) - 1
		_, err := files[first].file.Seek(0, io.SeekEnd)
		return first, 0, err
	}
	return first, max(found-lines, 0), nil
}

// logWriter shows the lines of a log that pass a filter, but for the first few.
type logWriter struct {
	out  *bufio.Writer
	vat  string
	json bool
	skip int
	// dir is the state directory, crash the length of the part of its crash file that was shown.
	dir   string
	crash int
}

func (w *logWriter) line(text string) error {
	if !keeps(text, w.vat) {
		return nil
	}
	if w.skip > 0 {
		w.skip--
		return nil
	}
	shown := shownEntry
	if w.json {
		shown = shownJSON
	}
	_, err := w.out.WriteString(shown(text) + "\n")
	return err
}

// printed shows the output of a kernel beside its log since the last call, at most that many lines: it is newer
// than all entries, and about no vat.
func (w *logWriter) printed(most int) error {
	text := readCrash(w.dir)
	if len(text) < w.crash {
		w.crash = 0 // moved into the log, by the next kernel
	}
	fresh := text[w.crash:]
	w.crash = len(text)
	if w.vat != "" {
		return nil
	}
	for _, line := range crashLines(w.dir, fresh, most) {
		w.skip = 0
		if err := w.line(line); err != nil {
			return err
		}
	}
	return nil
}

// copy shows the content of a file, and if the file is complete also a last line without an end.
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

// follow shows later lines of a file, and of the files after it, until ctx ends. Without a file it waits for
// one. It closes the file.
func (w *logWriter) follow(ctx context.Context, f *logFile) (err error) {
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
			files, err := openLogs(w.dir)
			if err != nil {
				return err
			}
			if len(files) > 0 {
				closeLogs(files[1:])
				next = files[0]
			}
		} else if next, err = f.successor(w.dir); err != nil {
			return err
		}
		if f != nil { // read after the successor was found: then the content is complete
			err := f.rewindIfCut()
			if err == nil {
				err = w.copy(f, next != nil)
			}
			if err != nil {
				return errors.Join(err, closeIf(next))
			}
		}
		if next != nil {
			_ = closeIf(f) // only read
			f = next
			continue
		}
		if err := w.printed(maxCrashLines); err != nil {
			return err
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

// keeps reports whether a line of the log is about a vat; no vat stands for all lines. Only entries are about a
// vat: a line that is no entry was printed by the kernel itself, beside its log, or logged by an earlier
// version.
func keeps(line, vat string) bool {
	if vat == "" {
		return true
	}
	e, ok := parseEntry(line)
	return ok && e.Vat == vat
}

// shownEntry returns a line of the log for people.
func shownEntry(line string) string {
	if e, ok := parseEntry(line); ok {
		line = e.String()
	}
	return printableLines(line)
}

// shownJSON returns a line of the log for programs: an entry as it is, any other line as the message of an
// entry.
func shownJSON(line string) string {
	if _, ok := parseEntry(line); ok {
		return line
	}
	return string(append(appendQuoted([]byte(`{"@message":`), line), '}'))
}
