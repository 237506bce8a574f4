package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A file that could not be written leaves nothing, and says why and nothing else.
func TestAFileThatIsNotWrittenLeavesNothing(t *testing.T) {
	bad := errors.New("a bad disk")
	for name, test := range map[string]struct {
		write func(path string) error
		want  string
		left  int
	}{
		"the content fails":          {func(string) error { return bad }, "a bad disk", 0},
		"somebody takes the name":    {func(path string) error { return os.WriteFile(path, nil, 0o600) }, "is there already", 1},
		"somebody puts a link there": {func(path string) error { return os.Symlink("/dev/null", path) }, "is no file", 1},
		"somebody removes all of it": {func(path string) error { return os.RemoveAll(filepath.Dir(path)) }, "no such file", 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dir", "file")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			err := writeNewFile(path, false, func(io.Writer) error { return test.write(path) })
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, test.want)
			}
			entries, _ := os.ReadDir(filepath.Dir(path)) // it may be gone
			if len(entries) != test.left {
				t.Errorf("left: %v", entries)
			}
		})
	}
}

// A file that has its name is written, whatever fails afterwards: the error says so, and only if there is something to say.
func TestAWrittenFileIsSaidToBeWritten(t *testing.T) {
	for _, err := range []error{nil, unix.EINVAL, unix.EOPNOTSUPP} {
		if got := unsynced("file", err); got != nil {
			t.Errorf("%v: got %v", err, got)
		}
	}
	if got := unsynced("file", unix.EIO); !errors.Is(got, unix.EIO) || !strings.Contains(got.Error(), "file is written and whole") {
		t.Errorf("got %v", got)
	}
}

// Whether a file is in the state directory does not depend on how it is named.
func TestIsInside(t *testing.T) {
	root := t.TempDir()
	state := filepath.Join(root, "state")
	join := func(parts ...string) string { return filepath.Join(append([]string{root}, parts...)...) }
	if err := errors.Join(
		os.MkdirAll(join("state", "db", "deep"), 0o700), os.Mkdir(join("other"), 0o700), os.Mkdir(join("state2"), 0o700),
		os.Symlink(join("state", "db"), join("link")), os.Symlink(state, join("other", "state")),
		os.WriteFile(join("state", "file"), nil, 0o600), os.Symlink(join("state", "file"), join("linked")),
	); err != nil {
		t.Fatal(err)
	}
	t.Chdir(state)
	for path, want := range map[string]bool{
		join("state", "f"):                      true,
		join("state", "db", "f"):                true,
		join("state", "db", "deep", "f"):        true,
		join("link", "f"):                       true,
		join("link", "deep", "f"):               true,
		join("other", "state", "f"):             true,
		join("other", "..", "state", "db", "f"): true,
		join("linked"):                          true,
		"f":                                     true,
		"db/f":                                  true,
		"../f":                                  false,
		join("f"):                               false,
		join("state2", "f"):                     false,
		join("other", "f"):                      false,
	} {
		for _, dir := range []string{state, join("other", "state")} {
			if got, err := isInside(path, dir); got != want || err != nil {
				t.Errorf("%s in %s: got %t, %v", path, dir, got, err)
			}
		}
	}
	if got, err := isInside(join("f"), join("none")); got || err != nil {
		t.Errorf("a directory that is missing: %t, %v", got, err)
	}
}
