package ioservice_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/ioservice"
)

// replace puts another file in the place of the one that a channel reads.
var replacements = map[string]func(t *testing.T, path, text string){
	"renamed": func(t *testing.T, path, text string) { // as logrotate does
		t.Helper()
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		write(t, path, text)
	},
	"renamed over": func(t *testing.T, path, text string) { // as an editor does
		t.Helper()
		write(t, path+".new", text)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	},
	"truncated": write, // as copytruncate does, and a writer after it
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherFileIsToldOnceAndReadFromItsStart(t *testing.T) {
	for how, replace := range replacements {
		for _, running := range []bool{false, true} {
			// The new content is shorter than the part that was read, as long, and longer.
			for _, text := range []string{"1\n2\n", "first\nsecond\n", strings.Repeat("first line of the new file\n", 200)} {
				name := how + " while the kernel is stopped"
				if running {
					name = how + " while the kernel runs"
				}
				t.Run(name, func(t *testing.T) {
					k := fileKernel(t, ioservice.Config{Direction: ioservice.In}, "one\ntwo\nthree\n")
					v := k.open()
					v.read().want("one")
					v.read().want("two")
					v.read().want("three")
					if !running {
						_ = v.Close()
					}
					replace(t, k.cfg.Path, text)
					if !running {
						v = k.open()
					}
					told := v.read()
					for { // while the old file may still be written, it is at its end
						r := receive(t, told.ch)
						if r.err != nil {
							wantKind(t, r.err, ioservice.ErrConnectionLost)
							break
						}
						if !r.unit.End {
							t.Fatalf("read %q, want that the file is another one", r.unit.Value)
						}
						told = v.read()
					}
					for line := range strings.Lines(text) {
						v.read().want(strings.TrimSuffix(line, "\n"))
					}
					v.read().wantEnd()
					_ = v.Close()
					k.open().read().wantEnd() // it is the same file as before
				})
			}
		}
	}
}

func TestALineOfTheOldFileIsReadBeforeTheNewOne(t *testing.T) {
	k := fileKernel(t, ioservice.Config{Direction: ioservice.In}, "one\n")
	v := k.open()
	v.read().want("one")
	replacements["renamed"](t, k.cfg.Path, "new\n")
	appendTo(t, k.cfg.Path+".1", "two\nthree without an end") // its writer has not noticed
	v.read().want("two")
	v.read().want("three without an end")
	v.read().wantError(ioservice.ErrConnectionLost)
	v.read().want("new")
}

func TestALastLineWithoutItsEndWaitsForItsWriter(t *testing.T) {
	k := fileKernel(t, ioservice.Config{Direction: ioservice.In}, "one\ntw")
	v := k.open()
	v.read().want("one")
	appendTo(t, k.cfg.Path, "o") // the file is written now
	read := v.read()
	appendTo(t, k.cfg.Path, " and more\n")
	read.want("two and more")
	begin := time.Now()
	appendTo(t, k.cfg.Path, "the last")
	v.read().want("the last")
	if took := time.Since(begin); took < 500*time.Millisecond {
		t.Errorf("a line without its end was given after %v", took)
	}
	v.read().wantEnd()
}

func TestHalfACharacterWaitsForItsWriter(t *testing.T) {
	k := fileKernel(t, ioservice.Config{Direction: ioservice.In, Unit: ioservice.String}, "")
	v := k.open()
	v.read().wantEnd()
	appendTo(t, k.cfg.Path, "\xe2\x82")
	read := v.read()
	appendTo(t, k.cfg.Path, "\xac")
	read.want("€")
}

func TestAStateOfAnOffsetAloneIsBelieved(t *testing.T) {
	k := fileKernel(t, ioservice.Config{Direction: ioservice.In}, "one\ntwo\n")
	k.store([]byte("at 4"))
	v := k.open()
	v.read().want("two")
	_ = v.Close()
	k.put("other\nlines\n") // of which the state knows now
	v = k.open()
	v.read().wantError(ioservice.ErrConnectionLost)
	v.read().want("other")

	k = fileKernel(t, ioservice.Config{Direction: ioservice.In}, "one\n")
	k.store([]byte("at 100"))
	k.open().read().wantError(ioservice.ErrConnectionLost)
}

func TestStatesOfFilesAreParsedWhole(t *testing.T) {
	for _, state := range []string{
		"at 4 of ", "at 4 of 1:2:3", "at 4 of 1:2:3:abc", "at 4 of 1:2:5:0123456789abcdef01234567", "at 4 of 1:2:-1:0123456789abcdef01234567",
		"at 9999 of 1:2:1025:0123456789abcdef01234567", "at -1", "at", "connected",
	} {
		k := fileKernel(t, ioservice.Config{Direction: ioservice.In}, "one\n")
		if c, err := ioservice.Open(k.cfg, ioservice.Options{State: []byte(state)}); err == nil {
			_ = c.Close()
			t.Errorf("the state %q was taken", state)
		}
	}
}

func TestAFileThatIsWrittenFollowsItsPath(t *testing.T) {
	ways := maps.Clone(replacements)
	ways["removed"] = func(t *testing.T, path, _ string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for how, replace := range ways {
		for _, direction := range []ioservice.Direction{ioservice.Out, ioservice.InOut} {
			t.Run(how+" "+string(direction), func(t *testing.T) {
				t.Parallel()
				k := fileKernel(t, ioservice.Config{Direction: direction}, "")
				v := k.open()
				v.wrote("one")
				replace(t, k.cfg.Path, "")
				v.wrote("two")
				if got, err := os.ReadFile(k.cfg.Path); err != nil || string(got) != "two\n" {
					t.Errorf("the file at the path has %q, %v, want the second line", got, err)
				}
				if direction == ioservice.Out {
					return
				}
				// The reader gets all that was written, and is told once that the second is another file.
				if how != "truncated" {
					v.read().want("one")
					v.readUntilOther()
				}
				v.read().want("two")
				v.wrote("three")
				v.read().want("three")
				_ = v.Close()
				v = k.open()
				v.wrote("four")
				v.read().want("four")
			})
		}
	}
}

// readUntilOther reads until the channel tells that its file is another one. Until then it has no units.
func (v *vat) readUntilOther() {
	v.t.Helper()
	for {
		u, err := v.read().wait()
		if err != nil {
			wantKind(v.t, err, ioservice.ErrConnectionLost)
			return
		}
		if !u.End {
			v.t.Fatalf("read %q, want that the file is another one", u.Value)
		}
	}
}

// Nothing is written to a file that no longer has its path.
func TestAFileThatCannotFollowItsPathRejectsItsWrites(t *testing.T) {
	ways := map[string]func(dir, path string) error{
		"its directory is gone": func(dir, _ string) error { return os.Rename(dir, dir+".old") },
		"its directory is another file": func(dir, _ string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.WriteFile(dir, nil, 0o600))
		},
		"a directory has its path": func(_, path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"a link has its path": func(_, path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.Symlink(path+".old", path))
		},
		"a pipe has its path": func(_, path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) },
	}
	for how, spoil := range ways {
		for _, direction := range []ioservice.Direction{ioservice.Out, ioservice.InOut} {
			t.Run(how+" "+string(direction), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "d")
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				v := openChannel(t, ioservice.Config{Type: ioservice.File, Direction: direction, Path: filepath.Join(dir, "f")})
				v.wrote("one")
				if err := spoil(dir, v.k.cfg.Path); err != nil {
					t.Fatal(err)
				}
				err := receive(t, v.write("two"))
				if err == nil || strings.Count(err.Error(), "channel c") != 1 {
					t.Fatalf("a write gives %v, want an error that names the channel once", err)
				}
				t.Log(err)
				// It goes on when there can be a file.
				_ = os.Remove(dir)
				if err := errors.Join(os.RemoveAll(v.k.cfg.Path), os.MkdirAll(dir, 0o700)); err != nil {
					t.Fatal(err)
				}
				v.wrote("three")
				if got, err := os.ReadFile(v.k.cfg.Path); err != nil || string(got) != "three\n" {
					t.Errorf("the file at the path has %q, %v, want the third line", got, err)
				}
			})
		}
	}
}

// A vat that only heard of ends would wait for lines that are written to a file which the channel cannot read.
func TestANextFileThatCannotBeReadIsTold(t *testing.T) {
	ways := map[string]func(path string) error{
		"a directory":    func(path string) error { return os.Mkdir(path, 0o700) },
		"a link":         func(path string) error { return os.Symlink(path+".1", path) },
		"a pipe":         func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"not searchable": nil, // the directory is a file
	}
	if os.Getuid() != 0 { // root may read everything
		ways["unreadable"] = func(path string) error { return os.WriteFile(path, []byte("secret\n"), 0) }
	}
	for how, make := range ways {
		for _, direction := range []ioservice.Direction{ioservice.In, ioservice.InOut} {
			t.Run(how+" "+string(direction), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "d")
				path := filepath.Join(dir, "f")
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				write(t, path, "one\nlast")
				v := openChannel(t, ioservice.Config{Type: ioservice.File, Direction: direction, Path: path})
				v.read().want("one")
				var err error
				if make == nil {
					err = errors.Join(os.Rename(dir, dir+".1"), os.WriteFile(dir, nil, 0o600))
				} else {
					err = errors.Join(os.Rename(path, path+".1"), make(path))
				}
				if err != nil {
					t.Fatal(err)
				}
				v.read().want("last")
				for deadline := time.Now().Add(patience); ; {
					u, err := v.read().wait()
					if err != nil {
						if errors.Is(err, ioservice.ErrConnectionLost) || !strings.Contains(err.Error(), path) {
							t.Errorf("told %v, want what is wrong with %s", err, path)
						}
						break
					}
					if !u.End || time.Now().After(deadline) {
						t.Fatalf("read %q, want what is wrong with %s", u.Value, path)
					}
				}
				// It is told at growing intervals, and the channel goes on when the path has a file.
				_ = os.Remove(dir)
				if err := errors.Join(os.RemoveAll(path), os.MkdirAll(dir, 0o700)); err != nil {
					t.Fatal(err)
				}
				write(t, path, "next\n")
				for told := false; !told; {
					u, err := v.read().wait()
					if told = errors.Is(err, ioservice.ErrConnectionLost); err == nil && !u.End {
						t.Fatalf("read %q, want that the file is another one", u.Value)
					}
				}
				v.read().want("next")
			})
		}
	}
}

// The operating system says of such a file that it has no bytes, and gives some.
func TestAFileOfProcIsReadThoughItsSizeIsNothing(t *testing.T) {
	const path = "/proc/self/limits"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Skip(err)
	}
	k := newKernel(t, ioservice.Config{Type: ioservice.File, Direction: ioservice.In, Path: path})
	v := k.open()
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	for i, line := range lines {
		v.read().want(strings.TrimSuffix(line, "\n"))
		if i == len(lines)/2 {
			_ = v.Close() // the next kernel goes on in it
			v = k.open()
		}
	}
	v.read().wantEnd()
}

// Each read of such a file finds another content.
func TestAFileThatIsAlwaysAnotherOneIsToldSoOnceASecond(t *testing.T) {
	count := func(t *testing.T, k *kernel) {
		v := k.open()
		units, lost, begin := 0, 0, time.Now()
		for time.Since(begin) < 2500*time.Millisecond {
			u, err := v.read().wait()
			switch {
			case err != nil:
				wantKind(t, err, ioservice.ErrConnectionLost)
				lost++
			case !u.End:
				units++
			}
		}
		if most := 2 + int(time.Since(begin)/time.Second); units == 0 || lost == 0 || lost > most {
			t.Errorf("got %d units, and %d times that it is another file, want at most %d", units, lost, most)
		}
	}
	for _, unit := range []ioservice.UnitKind{ioservice.Line, ioservice.Bytes} {
		for _, path := range []string{"/proc/uptime", "/proc/sys/kernel/random/uuid"} {
			t.Run(path+" "+string(unit), func(t *testing.T) {
				t.Parallel()
				if _, err := os.Stat(path); err != nil {
					t.Skip(err)
				}
				count(t, newKernel(t, ioservice.Config{Type: ioservice.File, Direction: ioservice.In, Unit: unit, Path: path}))
			})
		}
	}
	for how, replace := range replacements {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			k := fileKernel(t, ioservice.Config{Direction: ioservice.In}, "the first line\n")
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for tick := time.NewTicker(20 * time.Millisecond); ; {
					select {
					case <-stop:
						return
					case at := <-tick.C:
						replace(t, k.cfg.Path, at.String()+"\n")
					}
				}
			}()
			defer func() { close(stop); <-done }()
			count(t, k)
		})
	}
}
