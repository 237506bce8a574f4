package ioservice_test

import (
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/ioservice"
)

// socketsIn returns a directory of sockets that is not there yet, and one for the sockets that a configuration puts elsewhere.
func socketsIn(t *testing.T) (s ioservice.Sockets, elsewhere string) {
	t.Helper()
	return ioservice.Sockets(filepath.Join(t.TempDir(), "io")), t.TempDir()
}

// tree lists what is below a directory, links with where they lead; it is empty if the directory is not there.
func tree(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if to, err := os.Readlink(path); err == nil {
			name += " -> " + filepath.Base(to)
		}
		list = append(list, name)
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return list
}

func wantTree(t *testing.T, what, dir string, want ...string) {
	t.Helper()
	if got := tree(t, dir); strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("%s there is %q, want %q", what, got, want)
	}
}

func openIn(t *testing.T, s ioservice.Sockets, name string, cfg ioservice.Config) *ioservice.Object {
	t.Helper()
	o, err := s.Open(name, cfg, ioservice.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func TestEachSubclusterHasADirectoryForItsSockets(t *testing.T) {
	s, elsewhere := socketsIn(t)
	bell := filepath.Join(elsewhere, "bell.socket")
	door := openIn(t, s, "io:s1:door", ioservice.Config{Name: "door", Type: ioservice.Socket})
	far := openIn(t, s, "io:s1:bell", ioservice.Config{Name: "bell", Type: ioservice.Socket, Path: bell})
	other := openIn(t, s, "io:s2:door", ioservice.Config{Name: "door", Type: ioservice.Socket})
	file := openIn(t, s, "io:s3:log", ioservice.Config{Name: "log", Type: ioservice.File, Direction: ioservice.Out, Path: filepath.Join(elsewhere, "log")})
	wantTree(t, "while the channels are open", string(s), "s1", "s1/bell.sock -> bell.socket", "s1/door.sock", "s2", "s2/door.sock")
	for _, dir := range []string{string(s), filepath.Join(string(s), "s1")} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s is %v, %v, and is to be for its user alone", dir, info.Mode(), err)
		}
	}
	for _, path := range []string{bell, door.Where(), other.Where()} {
		if conn, err := net.Dial("unix", path); err != nil {
			t.Error(err)
		} else {
			_ = conn.Close()
		}
	}
	for _, o := range []*ioservice.Object{file, far, other} {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	wantTree(t, "when one is left", string(s), "s1", "s1/door.sock")
	if err := door.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(string(s)); !os.IsNotExist(err) {
		t.Errorf("the directory of all sockets outlives the last one: %v", err)
	}
	if _, err := os.Lstat(bell); !os.IsNotExist(err) {
		t.Errorf("the socket elsewhere outlives its channel: %v", err)
	}
}

func TestAChannelThatCannotBeOpenedLeavesNothing(t *testing.T) {
	s, elsewhere := socketsIn(t)
	taken := filepath.Join(elsewhere, "taken")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open("io:s1:door", ioservice.Config{Name: "door", Type: ioservice.Socket, Path: taken}, ioservice.Options{}); err == nil {
		t.Error("a file that is no socket was replaced by one")
	}
	wantTree(t, "after the attempt", filepath.Dir(string(s)))
	openIn(t, s, "io:s1:bell", ioservice.Config{Name: "bell", Type: ioservice.Socket})
	if _, err := s.Open("io:s1:door", ioservice.Config{Name: "door", Type: ioservice.Socket, Path: taken}, ioservice.Options{}); err == nil {
		t.Error("a file that is no socket was replaced by one")
	}
	wantTree(t, "beside another channel", string(s), "s1", "s1/bell.sock")
}

func TestSocketsAreInADirectoryOfThisUserAlone(t *testing.T) {
	for what, make := range map[string]func(path string) error{
		"a directory that a group may enter": func(path string) error { return os.Mkdir(path, 0o750) },
		"a file":                             func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a link":                             func(path string) error { return os.Symlink(t.TempDir(), path) },
	} {
		s, _ := socketsIn(t)
		if err := make(string(s)); err != nil {
			t.Fatal(err)
		}
		_, err := s.Open("io:s1:door", ioservice.Config{Name: "door", Type: ioservice.Socket}, ioservice.Options{})
		if err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: got %v, want what is to be done", what, err)
		}
	}
}

func TestWhatAKilledKernelHasLeftIsSwept(t *testing.T) {
	s, elsewhere := socketsIn(t)
	s.Sweep(slog.New(slog.DiscardHandler)) // nothing is there
	for _, sub := range []string{"s1", "s2", "s3"} {
		if err := os.MkdirAll(filepath.Join(string(s), sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	deadSocket(t, filepath.Join(string(s), "s1", "door.sock"))
	for name, leave := range map[string]func(*testing.T, string){"left": deadSocket, "used": func(t *testing.T, path string) { liveSocket(t, path) }} {
		leave(t, filepath.Join(elsewhere, name))
		if err := os.Symlink(filepath.Join(elsewhere, name), filepath.Join(string(s), "s2", name+".sock")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(elsewhere, "nowhere"), filepath.Join(string(s), "s2", "early.sock")); err != nil {
		t.Fatal(err) // it was killed between the link and the socket
	}
	if err := os.WriteFile(filepath.Join(string(s), "s3", "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s.Sweep(logging.NewText(&log, slog.LevelInfo))
	wantTree(t, "of the sockets", string(s), "s3", "s3/notes")
	wantTree(t, "elsewhere", elsewhere, "used")
	if n := strings.Count(log.String(), "is still there"); n != 1 || !strings.Contains(log.String(), "service=used") {
		t.Errorf("the log says %q, want a warning of the socket that is used", log.String())
	}
}

func TestWhatIsLeftOfAChannelThatIsNotOpenedAgainIsRemoved(t *testing.T) {
	s, elsewhere := socketsIn(t)
	far := ioservice.Config{Name: "bell", Type: ioservice.Socket, Path: filepath.Join(elsewhere, "bell")}
	if err := os.MkdirAll(filepath.Join(string(s), "s1"), 0o700); err != nil {
		t.Fatal(err)
	}
	deadSocket(t, far.Path)
	if err := os.Symlink(far.Path, filepath.Join(string(s), "s1", "bell.sock")); err != nil {
		t.Fatal(err)
	}
	deadSocket(t, filepath.Join(string(s), "s1", "door.sock"))
	if err := s.Remove("io:s1:bell", far); err != nil {
		t.Error(err)
	}
	wantTree(t, "elsewhere", elsewhere)
	wantTree(t, "of the sockets", string(s), "s1", "s1/door.sock")
	if err := s.Remove("io:s1:door", ioservice.Config{Name: "door", Type: ioservice.Socket}); err != nil {
		t.Error(err)
	}
	wantTree(t, "after the last", filepath.Dir(string(s)))
}
