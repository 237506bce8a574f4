package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/internal/scripttest"
)

// A transport is the way of the frames of the workers of a site.
type transport string

const (
	descriptor transport = "descriptor"
	overGRPC   transport = "gRPC"
)

// program is the name of the built program that stands in a site for one of the commands. Over gRPC testplugin stands for each
// worker program, under its name, so that a test and its configurations are the same.
func (over transport) program(command string) string {
	if over == overGRPC && command != "kernel" {
		return "testplugin"
	}
	return command
}

// overEach runs a test over each transport, at the same time.
func overEach(t *testing.T, test func(t *testing.T, over transport)) {
	t.Parallel()
	for _, over := range []transport{descriptor, overGRPC} {
		t.Run(string(over), func(t *testing.T) {
			t.Parallel()
			test(t, over)
		})
	}
}

// A site is the place of one test: a directory with the programs, a state directory, and a directory for
// temporary files. The programs are links of its own, so that each process tells by its executable which
// test it belongs to, and none can be overlooked at the end.
type site struct {
	dir   string
	state string
	// stdin and stdout, if not nil, are those of the kernels of the site; of stdout, the part behind the line
	// which says that one runs.
	stdin  *os.File
	stdout io.Writer
	// also are further variables of the programs' environment.
	also []string
}

// newSite is newSiteOver the descriptor.
func newSite(t testing.TB) *site {
	t.Helper()
	return newSiteOver(t, descriptor)
}

// newSiteOver makes a site. At the end of the test it ends the processes that still run there, and fails the test
// for a file that no orderly stop leaves.
func newSiteOver(t testing.TB, over transport) *site {
	t.Helper()
	return newSiteOf(t, built, over)
}

// newSiteOf is newSiteOver with the programs in a directory.
func newSiteOf(t testing.TB, programs string, over transport) *site {
	t.Helper()
	dir, err := os.MkdirTemp(root, "t")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSiteIn(dir, programs, over)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if !t.Failed() {
			_ = os.RemoveAll(dir) // all of it goes with root anyway
		}
	})
	return s
}

// newSiteIn makes a site of a directory that exists, with the programs in another one.
func newSiteIn(dir, programs string, over transport) (*site, error) {
	s := &site{dir: dir, state: filepath.Join(dir, "state")}
	for _, sub := range []string{s.bin(), s.tmp(), filepath.Join(dir, "home")} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return nil, err
		}
	}
	for _, p := range commands {
		name := filepath.Base(p)
		if err := os.Link(filepath.Join(programs, over.program(name)), filepath.Join(s.bin(), name)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *site) bin() string { return filepath.Join(s.dir, "bin") }
func (s *site) tmp() string { return filepath.Join(s.dir, "tmp") }

// env is the environment of the programs.
func (s *site) env() []string {
	env := []string{
		"PATH=" + s.bin() + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + filepath.Join(s.dir, "home"),
		"TMPDIR=" + s.tmp(),
		"OCAPKERNEL_STATE=" + s.state,
	}
	if mode, ok := os.LookupEnv("OCAPKERNEL_SANDBOX"); ok { // all tests with workers that are confined
		env = append(env, "OCAPKERNEL_SANDBOX="+mode)
	}
	if dir, ok := os.LookupEnv("GOCOVERDIR"); ok {
		env = append(env, "GOCOVERDIR="+dir)
	}
	return append(env, s.also...)
}

// file writes a file into the site and returns its path.
func (s *site) file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// A process is one that runs a program of the site.
type process struct {
	pid     int
	program string
	args    string
}

// processes lists the live processes of the site that run the program of that name; of all, if it is empty.
func (s *site) processes(program string) []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		panic("e2e: " + err.Error())
	}
	var list []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)) // fails for a process that is gone, or of another user
		exe = strings.TrimSuffix(exe, " (deleted)")
		if err != nil || filepath.Dir(exe) != s.bin() || program != "" && filepath.Base(exe) != program {
			continue
		}
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // it may be gone by now
		list = append(list, process{pid, filepath.Base(exe), strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))})
	}
	return list
}

// workers lists the worker processes of the site.
func (s *site) workers() []process {
	return slices.Concat(s.processes("vatworker"), s.processes("testworker"), s.processes("testplugin"))
}

// close ends every process of the site by force, and says which there were, and which files were left
// that an orderly stop of the kernel removes.
func (s *site) close() error {
	var errs []error
	// Workers leave a moment after a kernel that was killed.
	if err := scripttest.Within(patience, func() error { return none("processes", s.processes("")) }); err != nil {
		errs = append(errs, err)
		for _, p := range s.processes("") {
			_ = syscall.Kill(p.pid, syscall.SIGKILL) // it may be gone by now
		}
	}
	entries, err := os.ReadDir(s.tmp())
	if err != nil {
		return err
	}
	for _, e := range entries {
		errs = append(errs, fmt.Errorf("left behind: %s", filepath.Join(s.tmp(), e.Name())))
	}
	return errors.Join(errs...)
}

// none is an error if there is anything in the list.
func none[T any](what string, list []T) error {
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("there are %s: %+v", what, list)
}

// runtimeFiles lists the remains in the state directory of a kernel that ran: its socket, its run directory.
// After an orderly stop there is nothing.
func (s *site) runtimeFiles() []string {
	var list []string
	err := filepath.WalkDir(s.state, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(s.state, path)
		if e.Type() == fs.ModeSocket || name == "run" || strings.HasPrefix(name, "run/") {
			list = append(list, name)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic("e2e: " + err.Error())
	}
	return slices.Compact(list)
}

// eventually is scripttest.Within, for a condition that must come true and may take long on a machine that is
// busy.
func eventually(t testing.TB, ask func() error) {
	t.Helper()
	if err := scripttest.Within(30*time.Second, ask); err != nil {
		t.Fatal(err)
	}
}
