package ioservice_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/internal/scripttest"
	"ocapkernel.dev/ioservice"
)

// fileKernel has a channel to a file with the text.
func fileKernel(t *testing.T, cfg ioservice.Config, text string) *kernel {
	t.Helper()
	cfg.Type = ioservice.File
	k := newKernel(t, cfg)
	k.cfg.Path = filepath.Join(k.dir, "f")
	k.put(text)
	return k
}

func (k *kernel) put(text string) {
	k.t.Helper()
	if err := os.WriteFile(k.cfg.Path, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// places are the states that were stored, without their mark of the file itself.
func (k *kernel) places() (places []string) {
	for _, state := range k.stored() {
		at, _, _ := strings.Cut(state, " of ")
		places = append(places, at)
	}
	return places
}

func TestFileGoesOnWhereItWasAfterADeath(t *testing.T) {
	k := fileKernel(t, ioservice.Config{Direction: ioservice.In}, "one\r\ntwo\nthree")
	v := k.open()
	v.read().want("one")
	_ = v.Close()
	v = k.open()
	v.read().want("two")
	_ = v.Close()
	v = k.open()
	v.read().want("three")
	_ = v.Close()
	k.open().read().wantEnd()
	if diff := cmp.Diff([]string{"at 5", "at 9", "at 14"}, k.places()); diff != "" {
		t.Errorf("stored states (-want +got):\n%s", diff)
	}
}

// A unit whose state was not stored comes again.
func TestFileUnitThatWasNotStoredComesAgain(t *testing.T) {
	k := fileKernel(t, ioservice.Config{Direction: ioservice.In}, "one\ntwo\n")
	v := k.open()
	lost := make(chan string, 1)
	v.Read(func(u ioservice.Unit, _ error) { lost <- u.Value })
	if got := receive(t, lost); got != "one" {
		t.Fatalf("got %q", got)
	}
	_ = v.Close()
	k.open().read().want("one")
}

func TestBadUnitsOfAFileDoNotComeAgainAfterADeath(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	k := fileKernel(t, ioservice.Config{Direction: ioservice.In, MaxUnitBytes: 10}, "\xff\n"+long+"\nend\n")
	v := k.open()
	v.read().wantError(ioservice.ErrInvalidText)
	_ = v.Close()
	v = k.open()
	v.read().wantError(ioservice.ErrTooLong)
	_ = v.Close()
	v = k.open() // inside the long line
	v.read().want("end")
	v.read().wantEnd()
}

func TestFileThatGrowsIsReadOn(t *testing.T) {
	k := fileKernel(t, ioservice.Config{}, "")
	v := k.open()
	v.read().wantEnd()
	v.wrote("mine")
	v.read().want("mine")
	v.read().wantEnd()
	f, err := os.OpenFile(k.cfg.Path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("theirs\n"); err != nil {
		t.Fatal(err)
	}
	v.wrote("mine again")
	v.read().want("theirs")
	v.read().want("mine again")
}

func TestFileThatShrankIsReadFromItsStart(t *testing.T) {
	k := fileKernel(t, ioservice.Config{Direction: ioservice.In}, "one\ntwo\n")
	v := k.open()
	v.read().want("one")
	v.read().want("two")
	k.put("new\n")
	v.read().wantError(ioservice.ErrConnectionLost)
	v.read().want("new")
	_ = v.Close()

	k.put("x\n")
	v = k.open()
	v.read().wantError(ioservice.ErrConnectionLost)
	v.read().want("x")
	v.read().wantEnd()
	if diff := cmp.Diff([]string{"at 4", "at 8", "at 0", "at 4", "at 0", "at 2"}, k.places()); diff != "" {
		t.Errorf("stored states (-want +got):\n%s", diff)
	}
}

func TestFileIsMadeForItsUserIfItIsWritten(t *testing.T) {
	for _, direction := range []ioservice.Direction{ioservice.Out, ioservice.InOut} {
		k := newKernel(t, ioservice.Config{Type: ioservice.File, Direction: direction})
		k.cfg.Path = filepath.Join(k.dir, "new")
		v := k.open()
		v.wrote("x")
		info, err := os.Lstat(k.cfg.Path)
		if err != nil || info.Mode() != 0o600 || info.Size() != 2 {
			t.Errorf("%s: got %v, %v, want a file with 0600 and two bytes", direction, info, err)
		}
	}
}

func TestOnlyRegularFilesAreOpened(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"nothing":   func(string) error { return nil },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"socket":    func(path string) error { deadSocket(t, path); return nil },
		"link": func(path string) error {
			_ = os.WriteFile(path+"2", nil, 0o600)
			return os.Symlink(path+"2", path)
		},
		"device": nil, // one that is there
	} {
		t.Run(name, func(t *testing.T) {
			for _, direction := range []ioservice.Direction{ioservice.In, ioservice.Out, ioservice.InOut} {
				if name == "nothing" && direction != ioservice.In {
					continue // it is made
				}
				dir, err := os.MkdirTemp("", "io")
				if err != nil {
					t.Fatal(err)
				}
				defer os.RemoveAll(dir)
				path := filepath.Join(dir, "f")
				if name == "device" {
					path = os.DevNull
				} else if err := make(path); err != nil {
					t.Fatal(err)
				}
				c, err := ioservice.Open(ioservice.Config{Name: "c", Type: ioservice.File, Path: path, Direction: direction}, ioservice.Options{})
				if err == nil {
					_ = c.Close()
					t.Fatalf("%s: it was opened", direction)
				}
				if !strings.Contains(err.Error(), path) {
					t.Errorf("%s: %q does not name %s", direction, err, path)
				}
			}
		})
	}
}

// A write that the disk takes in part leaves nothing of itself, and those after it are whole.
func TestWriteThatTheDiskDoesNotTake(t *testing.T) {
	if !scripttest.Alone(t) {
		return
	}
	for _, cfg := range []ioservice.Config{
		{Direction: ioservice.Out},
		{Direction: ioservice.InOut},
		{Direction: ioservice.Out, Unit: ioservice.String},
		{Direction: ioservice.InOut, Unit: ioservice.Bytes},
	} {
		t.Run(string(cfg.Direction)+string(cfg.Unit), func(t *testing.T) {
			k := fileKernel(t, cfg, "one\n")
			v := k.open()
			if cfg.Direction == ioservice.InOut {
				v.read() // looks at the file while it is written
				v.read()
			}
			again := scripttest.SmallFiles(t, 8)
			err := receive(t, v.write("dG9vIG11Y2g="))
			again()
			wantKind(t, err, syscall.EFBIG)
			t.Log(err)
			if got, err := os.ReadFile(k.cfg.Path); err != nil || string(got) != "one\n" {
				t.Fatalf("the file has %q, %v, want what was in it", got, err)
			}
			v.wrote("dHdv")
			want := map[ioservice.UnitKind]string{"": "one\ndHdv\n", ioservice.String: "one\ndHdv", ioservice.Bytes: "one\ntwo"}[cfg.Unit]
			if got, err := os.ReadFile(k.cfg.Path); err != nil || string(got) != want {
				t.Errorf("the file has %q, %v, want %q", got, err, want)
			}
		})
	}
	// The console may be a file, which is not ours to cut: the next line is a line of its own.
	stdout, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	k := newKernel(t, ioservice.Config{Type: ioservice.Console, Direction: ioservice.Out})
	k.opts.Stdout = stdout
	v := k.open()
	v.wrote("one")
	again := scripttest.SmallFiles(t, 8)
	wantKind(t, receive(t, v.write("too much")), syscall.EFBIG)
	again()
	v.wrote("two")
	if got, err := os.ReadFile(stdout.Name()); err != nil || string(got) != "one\ntoo \ntwo\n" {
		t.Errorf("the console has %q, %v", got, err)
	}
}
