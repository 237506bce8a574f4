package statedir_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/control"
	"ocapkernel.dev/control/controltest"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/descriptors"
	"ocapkernel.dev/internal/statedir"
)

// holderDir makes the test binary be a process that holds the lock of that directory until it is killed.
const holderDir = "STATEDIR_TEST_HOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holderDir); dir != "" {
		if _, err := statedir.Open(dir); err != nil {
			panic(err)
		}
		os.Stdout.WriteString("held\n")
		select {}
	}
	os.Exit(m.Run())
}

// hold starts a process that holds the lock.
func hold(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it was killed already, mostly
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func open(t *testing.T, dir string) *statedir.Lock {
	t.Helper()
	lock, err := statedir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() }) // some tests did
	return lock
}

func TestHolderTellsKernelsFromReaders(t *testing.T) {
	dir := t.TempDir()
	check := func(what, dir string, want statedir.Held) {
		t.Helper()
		if got, err := statedir.Holder(dir); got != want || err != nil {
			t.Errorf("%s: %+v, %v, want %+v", what, got, err, want)
		}
	}
	check("a directory without a lock", dir, statedir.Held{})
	check("no directory", filepath.Join(dir, "none"), statedir.Held{})
	lock := open(t, dir)
	check("a lock that is held", dir, statedir.Held{Kernel: true, PID: strconv.Itoa(os.Getpid())})
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	check("a lock that was given back", dir, statedir.Held{})
	// The file still says which kernel was the last.
	for range 2 {
		reader, err := statedir.LockForReading(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		check("a state that is read", dir, statedir.Held{Read: true})
	}
	// Files that cannot be read: a file in the place of the directory, and a link in that of the lock.
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := statedir.Holder(file); err == nil {
		t.Error("the state directory is a file, and no kernel runs there")
	}
	linked := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "kernel.lock"), filepath.Join(linked, "kernel.lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := statedir.Holder(linked); err == nil {
		t.Error("the lock is a link, and no kernel runs there")
	}
}

// Logs, JSON and stored text would alter it.
func TestPathsThatAreNotUTF8AreRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b\xffd", "state")
	_, err := statedir.Open(dir)
	if use := (*statedir.UseError)(nil); !errors.As(err, &use) || !strings.Contains(err.Error(), `b\xffd/state", is not UTF-8`) {
		t.Errorf("it is opened, or refused with %v", err)
	}
	if _, err := os.Lstat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is made: %v", err)
	}
}

// The lock of a process that was killed is free when the process is gone; until then its socket takes connections.
func TestLockOfADyingProcessIsWaitedFor(t *testing.T) {
	for range 5 {
		dir := t.TempDir()
		cmd := hold(t, dir)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		lock, err := statedir.LockState(dir)
		if err != nil {
			t.Fatalf("right after the kill: %v", err)
		}
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLockOfAKernelThatAnswersIsRefused(t *testing.T) {
	dir := t.TempDir()
	cmd := hold(t, dir)
	listener, err := control.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- control.NewServer(listener, controltest.New(), control.ServerOptions{}).Run(ctx) }()
	_, err = statedir.LockState(dir)
	if control.CodeOf(err) != errcode.AlreadyRunning || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("got %v", err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// Readers share a state, keep kernels out, and leave no trace.
func TestLockForReading(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	path := statedir.LockFile(dir)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, err := statedir.LockForReading(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := statedir.LockForReading(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := statedir.LockState(dir); control.CodeOf(err) != errcode.Conflict || !strings.Contains(err.Error(), "is being read") {
		t.Errorf("a kernel beside readers: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the lock file was %q, is %q, %v", before, after, err)
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if _, err := statedir.LockForReading(dir); control.CodeOf(err) != errcode.AlreadyRunning {
		t.Errorf("a reader beside a kernel: %v", err)
	}
}

// However the directory at the path comes to be another one, the lock tells, and files that are opened by its
// path are still in the one that was locked.
func TestAReplacedDirectoryIsNotOurs(t *testing.T) {
	for name, replace := range map[string]func(dir string) error{
		"removed":      os.RemoveAll,
		"lock removed": func(dir string) error { return os.Remove(statedir.LockFile(dir)) },
		"moved away":   func(dir string) error { return os.Rename(dir, dir+".away") },
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o700), os.WriteFile(statedir.LockFile(dir), nil, 0o600))
		},
	} {
		dir := filepath.Join(t.TempDir(), "state")
		lock := open(t, dir)
		if err := lock.Owned(); err != nil {
			t.Fatal(err)
		}
		if err := replace(dir); err != nil {
			t.Fatal(err)
		}
		if err := lock.Owned(); !errors.Is(err, statedir.ErrNotOurs) {
			t.Errorf("%s: got %v", name, err)
		}
		_ = os.WriteFile(lock.Path("file"), nil, 0o600) // which fails in a directory that is gone
		if _, err := os.Lstat(filepath.Join(dir, "file")); err == nil && name != "lock removed" {
			t.Errorf("%s: the file is in the directory that has the path now", name)
		}
	}
}

func TestErrorsNameTheDirectoryByItsPath(t *testing.T) {
	dir := t.TempDir()
	lock := open(t, dir)
	_, err := os.Open(lock.Path("none"))
	explained := lock.Explain(err)
	if want := "open " + dir + "/none: no such file or directory"; explained.Error() != want || !errors.Is(explained, os.ErrNotExist) {
		t.Errorf("got %q, want %q", explained, want)
	}
	if err := errors.New("another one"); lock.Explain(err) != err || lock.Explain(nil) != nil {
		t.Error("an error that names no file of it has changed")
	}
}

// Files that were opened below a lost directory go on there: its path comes to mean no other directory, as long
// as the process lives.
func TestPathOfALostStateMeansNoOther(t *testing.T) {
	for _, lose := range []func(dir string) error{
		os.RemoveAll,
		func(dir string) error { return os.Rename(dir, dir+".away") },
	} {
		dir := filepath.Join(t.TempDir(), "state")
		lock, err := statedir.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		path := lock.Path("")
		if err := lose(dir); err != nil {
			t.Fatal(err)
		}
		if err := lock.Owned(); !errors.Is(err, statedir.ErrNotOurs) {
			t.Fatalf("got %v, want ErrNotOurs", err)
		}
		was, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
		runtime.GC() // closes the files without references
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		var others []*os.File // of which one gets each number that is free
		for range 100 {
			f, err := os.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			others = append(others, f)
		}
		is, err := os.Stat(path)
		if err != nil || !os.SameFile(was, is) {
			t.Errorf("the path of the lock leads elsewhere, %v", err)
		}
		for _, f := range others {
			_ = f.Close()
		}
	}
}

func TestLinksInTheDirectoryAreRefused(t *testing.T) {
	for _, name := range []string{"db", "witness", "kernel.log", "kernel.reset", "run"} {
		dir := t.TempDir()
		if err := open(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/nowhere", filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		var use *statedir.UseError
		if _, err := statedir.Open(dir); !errors.As(err, &use) || !strings.Contains(use.Problem, name+" is a symbolic link") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// A declaration is only read.
	dir := t.TempDir()
	if err := errors.Join(open(t, dir).Close(), os.Symlink("/nowhere", filepath.Join(dir, statedir.DeclarationName))); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestRoom(t *testing.T) {
	dir := t.TempDir()
	room := &statedir.Room{Dir: "the state", At: dir, Reserve: statedir.LeastReserve, Descriptors: descriptors.New()}
	if what, full := room.Lacks(); what != "" || full || room.Check() != nil {
		t.Skipf("this machine has no room: %s", what)
	}
	room.Reserve = 1 << 60
	what, full := room.Lacks()
	if !full || !strings.HasPrefix(what, "the disk of the state has ") {
		t.Errorf("got %q, %v", what, full)
	}
	if err := room.Check(); control.CodeOf(err) != errcode.DiskFull {
		t.Errorf("got %v", err)
	}
	room.At = filepath.Join(dir, "none")
	if what, full := room.Lacks(); what != "" || full {
		t.Errorf("a disk that cannot be asked: %q, %v", what, full)
	}
}

// A disk that the state itself has filled is no reason not to wipe the state, or to go on doing so.
func TestRoomForAReset(t *testing.T) {
	dir := t.TempDir()
	ballast(t, filepath.Join(dir, "db", "rows.sst"))
	ballast(t, filepath.Join(dir, "kernel.log"))
	room := &statedir.Room{Dir: "the state", At: dir, Reserve: free(t, dir) + ballastBytes/2, Descriptors: descriptors.New()}
	keepLog := func(name string) bool { return name == "kernel.log" }
	if err := room.Check(); control.CodeOf(err) != errcode.DiskFull {
		t.Errorf("got %v, want that the disk is full", err)
	}
	if err := room.CheckReset(keepLog); err != nil {
		t.Error(err)
	}
	if err := room.CheckReset(func(string) bool { return true }); control.CodeOf(err) != errcode.DiskFull {
		t.Errorf("what outlives the reset counts as free: %v", err)
	}
	if err := os.Link(filepath.Join(dir, "db", "rows.sst"), filepath.Join(t.TempDir(), "copy")); err != nil {
		t.Fatal(err)
	}
	if err := room.CheckReset(keepLog); control.CodeOf(err) != errcode.DiskFull {
		t.Errorf("a file that has another name counts as free: %v", err)
	}
}

// What an interrupted compaction has left is removed by the next start, whose disk it may have filled. Nothing else counts as free.
func TestRoomBesideAnInterruptedCompaction(t *testing.T) {
	dir := t.TempDir()
	ballast(t, filepath.Join(statedir.NextDatabase(dir), "rows.sst"))
	ballast(t, filepath.Join(dir, "db", "rows.sst"))
	room := &statedir.Room{Dir: "the state", At: dir, Reserve: free(t, dir) + ballastBytes/2, Descriptors: descriptors.New()}
	if err := room.Check(); err != nil {
		t.Error(err)
	}
	if what, full := room.Lacks(); !full {
		t.Errorf("while a kernel runs, nothing is removed: %q", what)
	}
	if err := statedir.RemoveNextDatabase(dir); err != nil {
		t.Fatal(err)
	}
	room.Reserve = free(t, dir) + ballastBytes/2
	if err := room.Check(); control.CodeOf(err) != errcode.DiskFull {
		t.Errorf("got %v, want that the disk is full", err)
	}
}

const ballastBytes = 1 << 30

// ballast makes a file that takes ballastBytes of the disk.
func ballast(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, ballastBytes); err != nil {
		t.Skipf("this machine has no room for a large file: %v", err)
	}
}

// free returns how much of the disk is free.
func free(t *testing.T, dir string) uint64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Bavail * uint64(st.Bsize)
}

// A directory that a kernel would refuse is refused by whoever works on a state that has to be there, too; and where there is no
// state, none is made.
func TestOpenStateRefusesWhatOpenRefuses(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"open to everybody": func(dir string) error { return os.Chmod(dir, 0o777) },
		"a link to a log":   func(dir string) error { return os.Symlink("/dev/null", filepath.Join(dir, "kernel.log")) },
		"a linked database": func(dir string) error { return os.Symlink(t.TempDir(), filepath.Join(dir, "db")) },
		"a lock of another": func(dir string) error {
			return os.WriteFile(statedir.LockFile(dir), []byte("another program's"), 0o600)
		},
	} {
		dir := t.TempDir()
		if err := open(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		for what, open := range map[string]func(string) (*statedir.Lock, error){"Open": statedir.Open, "OpenState": statedir.OpenState} {
			lock, err := open(dir)
			if use := (*statedir.UseError)(nil); !errors.As(err, &use) {
				t.Errorf("%s of a directory with %s: %v", what, name, err)
			}
			if err == nil {
				_ = lock.Close()
			}
		}
	}
	for name, dir := range map[string]string{"an empty directory": t.TempDir(), "no directory": filepath.Join(t.TempDir(), "none"), "a file": "/dev/null"} {
		before, _ := os.ReadDir(filepath.Dir(dir)) // of the missing one
		if _, err := statedir.OpenState(dir); control.CodeOf(err) != errcode.NotFound {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.ReadDir(filepath.Dir(dir)); len(after) != len(before) && dir != "/dev/null" {
			t.Errorf("%s: something was made", name)
		}
		if made, _ := os.ReadDir(dir); len(made) > 0 {
			t.Errorf("%s: made %v", name, made)
		}
	}
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	lock, err := statedir.OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}
