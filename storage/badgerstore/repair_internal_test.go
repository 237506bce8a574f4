package badgerstore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/storage"
)

// The environment of a child: where it commits, and what fills a log there.
const (
	pauseDir  = "BADGERSTORE_TEST_PAUSE_DIR"
	pauseKind = "BADGERSTORE_TEST_PAUSE_KIND"
)

// fillers are what fills a log: commits of rows that lie in the log of the memory table, or in a value log, or, with one
// commit, in both.
var fillers = map[string]func(i int) []storage.Write{
	"log":       func(i int) []storage.Write { return rowsOf(i, 450_000, 500_000) },
	"value log": func(i int) []storage.Write { return rowsOf(i, 100, 4<<20) },
	"both":      func(i int) []storage.Write { return rowsOf(i, 990_000, 990_000, 990_000, 990_000, 4_050_000) },
}

func rowsOf(i int, sizes ...int) (writes []storage.Write) {
	for row, size := range sizes {
		writes = append(writes, storage.Write{Key: fmt.Sprintf("%04d.%d", i, row), Value: bytes.Repeat([]byte{byte(i)}, size)})
	}
	return writes
}

// hasRows returns an error unless exactly the rows of the commits 0 to n-1 are there, as they were written.
func hasRows(r storage.Reader, kind string, n int) error {
	after := ""
	for i := range n {
		for _, w := range fillers[kind](i) {
			key, value, found, err := r.Next("", after)
			if err != nil || !found || key != w.Key || !bytes.Equal(value, w.Value) {
				return fmt.Errorf("after row %q of %d commits: row %q with %d bytes, %t, %w", after, n, key, len(value), found, err)
			}
			if value, found, err = r.Get(key); err != nil || !found || !bytes.Equal(value, w.Value) {
				return fmt.Errorf("row %q of %d commits: %d bytes, %t, %w", key, n, len(value), found, err)
			}
			after = key
		}
	}
	if key, _, found, err := r.Next("", after); found || err != nil {
		return fmt.Errorf("behind %d commits there is row %q, %w", n, key, err)
	}
	return nil
}

// descriptors lets this process open files, or none.
func descriptors(some bool) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur = 3; some {
		limit.Cur = limit.Max
	}
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

// childPauses commits until Badger cannot begin a log, since no file can be opened from the end of the search for room on.
// It prints how many commits there are, waits for a line, and goes on for some commits.
func childPauses(dir, kind string) error {
	s, err := Open(dir, Options{Durability: Process})
	if err != nil {
		return err
	}
	allocate := s.reserve.allocate
	s.reserve.allocate = func(f *os.File, offset, length int64) error {
		err := allocate(f, offset, length)
		if f.Name() == dir { // the probe, with which the search ends
			return errors.Join(err, descriptors(false))
		}
		return err
	}
	before := s.Freeze() // of no rows
	var readers sync.WaitGroup
	ends := make(chan struct{})
	failed := make(chan error, 3)
	reads := func(read func() error) {
		readers.Go(func() {
			for {
				select {
				case <-ends:
					return
				case <-time.After(time.Millisecond): // the processors are for the commits
				}
				if err := read(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	reads(func() error { return hasRows(before, kind, 0) })
	reads(func() error { _, _, err := s.Get("0000.0"); return err })
	reads(func() error { _, _, _, _, err := s.Step("", "", 10); return err })
	i, paused := 0, false
	for more := 10; more > 0; i++ {
		s.reserve.log = logEnd{} // so that the commit probes
		err := s.Commit(fillers[kind](i))
		if s.health.repairs.Load() > 0 && !paused {
			if paused = true; !errors.Is(err, storage.ErrNoRoom) || !errors.Is(err, unix.EMFILE) {
				return fmt.Errorf("a commit that cannot begin a log: %w", err)
			}
			if err := pause(s, kind, i); err != nil {
				return err
			}
			s.reserve.allocate = allocate
			err = s.Commit(fillers[kind](i))
		}
		if err != nil {
			return err
		}
		if err := descriptors(true); err != nil {
			return err
		}
		if paused {
			more--
		}
	}
	close(ends)
	readers.Wait()
	close(failed)
	before.Close()
	if err := errors.Join(<-failed, hasRows(s, kind, i)); err != nil {
		return err
	}
	fmt.Println(i)
	if _, err := stdin.ReadString('\n'); err != nil { // it may be killed here
		return err
	}
	return s.Close()
}

// stdin is where a child is told to go on.
var stdin = bufio.NewReader(os.Stdin)

// pause is the pause after i commits: nothing can be committed, or closed, and everything can be read. It ends at a line
// of standard input.
func pause(s *Store, kind string, i int) (err error) {
	for range 3 {
		if err := s.Commit(fillers[kind](i)); !errors.Is(err, storage.ErrNoRoom) {
			return fmt.Errorf("a commit in the pause: %w", err)
		}
	}
	if err := s.Close(); !errors.Is(err, storage.ErrNoRoom) {
		return fmt.Errorf("close in the pause: %w", err)
	}
	now := s.Freeze()
	err = errors.Join(hasRows(now, kind, i), hasRows(s, kind, i))
	now.Close()
	if err != nil {
		return err
	}
	fmt.Println(i)
	if _, err := stdin.ReadString('\n'); err != nil {
		return err
	}
	// Badger fails again, and the search for room does not find it out. What fails takes no more room each time.
	current, _, _ := s.internals.log()
	var before, after unix.Stat_t
	if err := unix.Stat(current.Fd.Name(), &before); err != nil {
		return err
	}
	defer func() {
		if failed := unix.Stat(current.Fd.Name(), &after); err == nil && (failed != nil || after.Blocks > before.Blocks) {
			err = fmt.Errorf("the full log took %d blocks and takes %d after commits that failed, %w", before.Blocks, after.Blocks, failed)
		}
	}()
	for range 2 {
		if err := descriptors(true); err != nil {
			return err
		}
		if err := s.Commit(fillers[kind](i)); !errors.Is(err, storage.ErrNoRoom) {
			return fmt.Errorf("a second pause: %w", err)
		}
		if err := hasRows(s, kind, i); err != nil {
			return err
		}
	}
	return descriptors(true)
}

// No file can be opened at the moment when Badger begins another log, which nothing can be kept back for, as other
// programs may take the system's last one: nothing of the commit has happened, what was committed can be read, and the
// commit succeeds when files can be opened. A kill in the pause, or soon after it, loses nothing.
func TestACommitThatCannotBeginALogIsMadeAgain(t *testing.T) {
	if dir := os.Getenv(pauseDir); dir != "" {
		if err := childPauses(dir, os.Getenv(pauseKind)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if testing.Short() || raceDetector {
		t.Skip("writes 1 GB, which takes minutes under the race detector")
	}
	for kind := range fillers {
		for _, killed := range []string{"never", "in the pause", "after the pause"} {
			t.Run(fmt.Sprintf("%s, killed %s", kind, killed), func(t *testing.T) {
				dir := t.TempDir()
				child := exec.Command(os.Args[0], "-test.run=^"+t.Name()[:strings.Index(t.Name(), "/")]+"$")
				child.Env = append(os.Environ(), pauseDir+"="+dir, pauseKind+"="+kind)
				child.Stderr = os.Stderr
				stdin, err := child.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				stdout, err := child.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := child.Start(); err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewScanner(stdout)
				number := func() int {
					lines.Scan()
					n, err := strconv.Atoi(lines.Text())
					if err != nil {
						t.Errorf("the child says %q", lines.Text())
					}
					return n
				}
				commits := number()
				goOn := func() {
					if _, err := io.WriteString(stdin, "\n"); err != nil {
						t.Error(err)
					}
				}
				kill := func() {
					if err := child.Process.Kill(); err != nil {
						t.Error(err)
					}
				}
				switch killed {
				case "in the pause":
					kill()
				case "after the pause":
					goOn()
					commits = number()
					kill()
				default:
					goOn()
					commits = number()
					goOn()
				}
				if err := child.Wait(); (err == nil) == (killed != "never") {
					t.Fatalf("the child ended with %v", err)
				}
				s, err := Open(dir, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(hasRows(s, kind, commits), s.Close()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Badger's errors lose what caused them; the cause is told by its text.
func TestShortagesInTheErrorsOfBadger(t *testing.T) {
	for _, e := range shortages {
		if got, ok := shortageIn(fmt.Errorf("cannot create new mem table err: %v", &os.PathError{Op: "open", Path: "00002.mem", Err: e})); !ok || got != e {
			t.Errorf("%v: got %v, %t", e, got, ok)
		}
	}
	for _, e := range []error{unix.EIO, unix.EROFS, unix.EEXIST} {
		if got, ok := shortageIn(e); ok {
			t.Errorf("%v: got %v", e, got)
		}
	}
}

// Badger does not replace its MANIFEST while the database is open: it would make no more tables if it could not open the new file.
func TestTheManifestIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{Durability: Process})
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		t.Fatal(err)
	}
	manifest := variable(variable(reflect.ValueOf(s.db).Elem(), "manifest").Elem(), "manifest")
	variable(manifest, "Deletions").SetInt(1 << 20)
	if err := errors.Join(s.Commit(rowsOf(0, 1)), s.Close()); err != nil { // which makes a table
		t.Fatal(err)
	}
	if after, err := os.Stat(filepath.Join(dir, badger.ManifestFilename)); err != nil || !os.SameFile(before, after) {
		t.Errorf("another file, or %v", err)
	}
}
